"""The blocking client's calls, against a proxy in memory; tests/e2e/test_sync.py has real ones."""

import asyncio
import contextlib
import gc
import socket
from typing import Final

import pytest

import socks6
import socks6.sync
from socks6.errors import ConfigurationError, ConnectionRefused, ProxyTimedOut
from socks6.net.stream import ByteStream
from socks6.sync.loop_thread import loop_thread
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_exactly
from tests.kit.session_proxy import SessionProxy

URL: Final = "socks6://alice:secret@proxy.example"


class Scene:
    """A proxy in memory, and a blocking client of it."""

    def __init__(self) -> None:
        self.proxy = SessionProxy()
        self.client = socks6.sync.Client(URL, dial=self._dial, timeout=5)

    async def _dial(self) -> ByteStream:
        ours, theirs = memory_stream_pair()
        self._serving = asyncio.get_running_loop().create_task(self.proxy.serve(theirs))
        return ours


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_connects_with_a_socket_that_blocks(scene: Scene) -> None:
    with scene.client as client, client.connect("example.com", 80, initial_data=b"first") as sock:
        assert isinstance(sock, socket.socket)
        assert sock.gettimeout() is None
        sock.sendall(b"hello")
        end = scene.proxy.ends[0]
        assert loop_thread().run(receive_exactly(end, 10)) == b"firsthello"
        loop_thread().run(end.send(b"back"))
        assert sock.recv(10) == b"back"
    assert (scene.proxy.asked[0].host, scene.proxy.asked[0].port) == ("example.com", 80)


def test_a_socket_outlives_the_block_of_its_client(scene: Scene) -> None:
    with scene.client as client:
        sock = client.connect("example.com", 80)
    with sock:
        loop_thread().run(scene.proxy.ends[0].send(b"still"))
        assert sock.recv(10) == b"still"


def test_create_connection_is_called_as_that_of_the_standard_library(scene: Scene) -> None:
    with scene.client.create_connection(("example.com", 80), 3.5) as sock:
        assert sock.gettimeout() == 3.5
    with scene.client.create_connection(("example.com", 80), timeout=None, source_address=("", 0)) as sock:
        assert sock.gettimeout() is None
    default = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # as http.client passes it
    with scene.client.create_connection(("example.com", 80), default, None, all_errors=True) as sock:
        assert sock.gettimeout() is None
    with pytest.raises(ConfigurationError, match="no source address"):
        scene.client.create_connection(("example.com", 80), source_address=("10.0.0.1", 0))


def test_errors_and_time_outs_are_those_of_the_other_client(scene: Scene) -> None:
    scene.proxy.code = 5
    with pytest.raises(ConnectionRefused):
        scene.client.connect("example.com", 80)
    scene.proxy.crowd = 1_000
    scene.proxy._crowded.clear()
    with pytest.raises(ProxyTimedOut):
        scene.client.connect("example.com", 80, timeout=0.05)
    with pytest.raises(ValueError, match="port"):
        scene.client.connect("example.com", 70_000)
    with pytest.raises(ConfigurationError):
        socks6.sync.Client("ftp://nowhere")


def test_sessions_and_checks(scene: Scene) -> None:
    with scene.client as client:
        assert client.open_session()
        assert client.noop() < 5
        assert client.check().encryption == ""
        client.close_idle()
        assert client.noop() < 5
        assert client.upstreams == ()
    assert len(scene.proxy.torn_down) == 1


def test_a_client_that_is_collected_ends_its_session(scene: Scene) -> None:
    scene.client.open_session()
    del scene.client
    gc.collect()
    for _ in range(200):
        loop_thread().run(asyncio.sleep(0.005))
        if scene.proxy.torn_down:
            break
    assert len(scene.proxy.torn_down) == 1


def test_one_shot_takes_its_socket_and_leaves_nothing_else() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        url = f"socks6://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ProxyTimedOut):
            socks6.connect(url, "example.com", 80, timeout=0.05)
    assert socks6.sync.connect is socks6.connect


def test_it_shows_no_password(scene: Scene) -> None:
    assert repr(scene.client).startswith("<sync.Client socks6://alice")
    assert "secret" not in repr(scene.client)
