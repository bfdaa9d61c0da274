"""What really goes over the wire for a CONNECT with a password and first data, seen from outside."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.net.sockets import SocketStream
from socks6.policy.rules import Policy
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from tests.kit.capture import Recording, capture, recording_relay
from tests.kit.loops import Run
from tests.kit.origins import PAGE, Place, echo, web_site
from tests.kit.proxies import Proxy, converter, curl, server

VECTORS: Final = {
    entry["name"]: bytes.fromhex(entry["hex"])
    for entry in json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())
}
LOGIN: Final = VECTORS["password in the request, no advertisement (0-RTT)"]  # CONNECT 127.0.0.1:80, alice
ACCEPTED: Final = VECTORS["password accepted"]
SUCCESS: Final = VECTORS["success bound to 127.0.0.1:54321"]
FIRST_DATA: Final = b"the first data of a stream"

Watch = Callable[[Place], contextlib.AbstractContextManager[Recording]]

pytestmark = pytest.mark.e2e


def with_port(message: bytes, port: int) -> bytes:
    """Return a request or an Operation Reply of the vectors with another port."""
    return message[:4] + port.to_bytes(2, "big") + message[6:]


def relayed(place: Place) -> contextlib.AbstractContextManager[Recording]:
    """Watch what is read from sockets."""
    return recording_relay(place.host, place.port)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Proxy]:
    with server("--user", "alice:123456") as running:
        yield running


@pytest.fixture(params=[relayed, capture], ids=["sockets", "tshark"])
def watch(request: pytest.FixtureRequest) -> Watch:
    """Give a way to see the bytes: reads of sockets, or segments on the wire."""
    chosen: Watch = request.param
    return chosen


def exchange(proxy: Place, destination: Place) -> bytes:
    """Have a client of the library say its first data to an echo; return the proxy's end of its connection."""

    async def scene() -> int:
        client = Client(f"socks6://alice:123456@{proxy.host}:{proxy.port}", session=False)
        stream = await client.connect(destination.host, destination.port, initial_data=FIRST_DATA)
        async with stream:
            assert await stream.receive() == FIRST_DATA
            return stream.bound.port

    return with_port(SUCCESS, asyncio.run(scene()))


def test_a_client_says_everything_at_once_and_nothing_else(guarded: Proxy, watch: Watch) -> None:
    with echo() as destination:
        with watch(guarded.place) as recording:
            exchange(recording.place, destination)
        assert recording.sent == [with_port(LOGIN, destination.port) + FIRST_DATA]


def test_a_server_answers_as_the_vectors_say(guarded: Proxy, watch: Watch) -> None:
    with echo() as destination:
        with watch(guarded.place) as recording:
            success = exchange(recording.place, destination)
        assert b"".join(recording.received) == ACCEPTED + success + FIRST_DATA


def test_a_wrong_password_is_answered_as_the_vectors_say(guarded: Proxy, watch: Watch) -> None:
    with watch(guarded.place) as recording, recording.place.connected() as sock:
        sock.sendall(LOGIN.replace(b"123456", b"654321"))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1000) == VECTORS["password refused"]
        assert sock.recv(1000) == b""
    assert recording.received == [VECTORS["password refused"]]


def test_a_converter_passes_on_what_its_client_said_at_once(guarded: Proxy, watch: Watch) -> None:
    """A SOCKS 5 client that waits for nothing costs one round trip to the server."""
    with echo() as destination:
        socks5 = bytes.fromhex(f"05 01 00  05 01 00 01 7f000001 {destination.port:04x}")
        with (
            watch(guarded.place) as recording,
            converter(
                f"socks6://alice:123456@{recording.place.host}:{recording.place.port}", "--no-via-session"
            ) as near,
            near.place.connected() as sock,
        ):
            sock.sendall(socks5 + FIRST_DATA)
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(1000), b""))
        assert answer[:4] == bytes.fromhex("05 00 05 00")
        assert answer[-len(FIRST_DATA) :] == FIRST_DATA
        assert recording.sent == [with_port(LOGIN, destination.port) + FIRST_DATA]


def test_a_request_for_plain_http_leaves_with_the_connect(guarded: Proxy, watch: Watch) -> None:
    with web_site() as site:
        with (
            watch(guarded.place) as recording,
            converter(
                f"socks6://alice:123456@{recording.place.host}:{recording.place.port}", "--no-via-session"
            ) as near,
        ):
            assert curl("--proxy", f"http://{near.authority}", site.url).body == PAGE
        connect = with_port(LOGIN, site.port)
        assert len(recording.sent) == 1
        assert recording.sent[0].startswith(connect + b"GET / HTTP/1.1\r\n")


class CountingStream(SocketStream):
    """Keeps what each read returned."""

    __slots__ = ("reads",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.reads: list[bytes | None] = []

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        self.reads.append(data := super().receive_nowait(max_bytes))
        return data


def test_a_server_needs_one_read(run: Run) -> None:
    with echo() as destination, socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        request = with_port(LOGIN, destination.port) + FIRST_DATA
        client.sendall(request)

        async def scene() -> None:
            stream = CountingStream(listener.accept()[0])
            users = UserTable.from_plain({"alice": "123456"})
            worker = ServerWorker(authenticator=users, policy=Policy(allow_private=True))
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.serve_stream(stream))
                client.setblocking(False)
                answer = b""
                while not answer.endswith(FIRST_DATA):
                    answer += await asyncio.get_running_loop().sock_recv(client, 1000)
                client.close()
            await worker.aclose()
            assert stream.reads == [request]  # what follows is the relay's

        run(scene())
