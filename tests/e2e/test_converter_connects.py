"""SOCKS 5 CONNECTs through a converter and a server over TLS, and in the clear: what is unusual goes as what is usual does."""

import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kit.certificates import certificate
from tests.kit.footprint import eventually
from tests.kit.origins import PAGE, Place, echo, refusing_place, silent_place, tcp_host, web_site
from tests.kit.proxies import Proxy, converter, curl, receive_exactly, server

pytestmark = pytest.mark.e2e

GREETING = bytes.fromhex("05 01 00")
EARLY = os.urandom(3_000_000)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Pair:
    """A converter and its server, with the flags of a client of the latter."""

    near: Proxy
    far: Proxy
    via: str  # the server's URL


@pytest.fixture(scope="module", params=["socks6+tls", "socks6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with contextlib.ExitStack() as held:
        files = held.enter_context(certificate("127.0.0.1"))
        keys = f"?cert={files.certificate}&key={files.key}" if "tls" in request.param else ""
        far = held.enter_context(
            server(
                "--listen", f"{request.param}://127.0.0.1:0{keys}", "--allow-private", "--user", "alice:right"
            )
        )
        ca = f"?ca={files.ca}" if "tls" in request.param else ""
        via = f"{request.param}://alice:right@127.0.0.1:{far.place.port}{ca}"
        yield Pair(held.enter_context(converter(via)), far, via)


def connect5(to: Place) -> bytes:
    return bytes.fromhex("05 01 00 01 7f000001") + to.port.to_bytes(2, "big")


def asking(near: Proxy, to: Place, early: bytes = b"", timeout: float = 20.0) -> socket.socket:
    """Return a client that has greeted, and then has sent its request."""
    client = near.place.connected(timeout=timeout)
    client.sendall(GREETING)
    assert receive_exactly(client, 2) == bytes.fromhex("05 00")
    client.sendall(connect5(to) + early)
    return client


def opened(near: Proxy, to: Place) -> socket.socket:
    client = asking(near, to)
    assert receive_exactly(client, 10)[:3] == bytes.fromhex("05 00 00")
    return client


def received(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 18):
        data += piece
    return bytes(data)


@pytest.mark.parametrize("way", ["--socks5", "--socks5-hostname", "--proxy"])
def test_pages_come(pair: Pair, way: str) -> None:
    with web_site() as site:
        for _ in range(3):
            assert curl(way, pair.near.authority, f"{site.url}/").body == PAGE


def test_early_data_of_any_length_arrive_with_the_end_right_behind_them(pair: Pair) -> None:
    def digest(connection: socket.socket) -> None:
        connection.sendall(hashlib.sha256(received(connection)).digest())

    with tcp_host(digest) as host:
        for size in (1, 16_384, len(EARLY)):
            with pair.near.place.connected() as client:
                client.sendall(GREETING)
                assert client.recv(2) == bytes.fromhex("05 00")
                sending = threading.Thread(target=_send, args=(client, connect5(host) + EARLY[:size]))
                sending.start()
                assert receive_exactly(client, 10)[:3] == bytes.fromhex("05 00 00")
                assert received(client) == hashlib.sha256(EARLY[:size]).digest()
                sending.join()


def _send(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def test_a_host_that_ends_first_still_gets_what_the_client_sends(pair: Pair) -> None:
    arrived: list[bytes] = []

    def end_first(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        arrived.append(received(connection))

    with tcp_host(end_first) as host, opened(pair.near, host) as client:
        assert received(client) == b"bye"
        client.sendall(EARLY)
        client.shutdown(socket.SHUT_WR)
        assert eventually(lambda: arrived == [EARLY])


def test_a_client_that_resets_its_request_or_its_relay_is_left_at_once(pair: Pair) -> None:
    broke = threading.Event()

    def wait_for_the_end(connection: socket.socket) -> None:
        try:
            received(connection)
        except ConnectionResetError:
            broke.set()

    with silent_place() as silence, tcp_host(wait_for_the_end) as host:
        before = pair.near.footprint.descriptors
        waiting = asking(pair.near, silence)
        relayed = opened(pair.near, host)
        for client in (waiting, relayed):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            client.close()
        assert broke.wait(5)
        assert eventually(lambda: pair.near.footprint.descriptors <= before + 4)  # spare ones


def test_what_refuses_is_a_reply_code(pair: Pair) -> None:
    with refusing_place() as place, asking(pair.near, place) as client:
        assert receive_exactly(client, 10)[:2] == bytes.fromhex("05 05")
        assert received(client) == b""


def test_a_wrong_password_and_a_server_that_is_gone_are_reply_code_01(pair: Pair) -> None:
    gone = pair.via.replace(f":{pair.far.place.port}", ":1")
    for via, words in ((pair.via.replace("right", "wrong"), "password"), (gone, "refused")):
        with echo() as host, converter(via) as near, asking(near, host) as client:
            assert receive_exactly(client, 10)[:2] == bytes.fromhex("05 01")
            assert received(client) == b""
            assert eventually(lambda near=near, words=words: any(words in line for line in near.said))  # type: ignore[misc]


def test_the_server_may_take_its_time(pair: Pair) -> None:
    """Until its host is connected, nothing is answered; then all is as usual."""
    with (
        silent_place() as silence,
        asking(pair.near, silence, b"early", timeout=0.3) as client,
        pytest.raises(TimeoutError),
    ):
        client.recv(1)
    with echo() as host, opened(pair.near, host) as client:
        client.sendall(b"hello")
        assert receive_exactly(client, 5) == b"hello"
