"""Requests that arrive in pieces, slowly, in part, or far too long."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.kit.origins import PAGE, Place, echo, web_site
from tests.kit.proxies import Proxy, curl, server
from tests.kit.unharmed import read_to_the_end, reset, unharmed, warm_up

AT_ONCE: Final = 3.0  # seconds that "at once" may take on a busy machine
HANDSHAKE: Final = 1.0
FIRST_DATA: Final = b"the first data"

REQUESTS: Final[dict[str, Callable[[int], bytes]]] = {
    "socks6": lambda port: bytes.fromhex(f"06 01 0000 {port:04x} 00 01 7f000001"),
    "socks6, name": lambda port: bytes.fromhex(f"06 01 0000 {port:04x} 00 03 0b") + b"localhost\0\0",
    "socks6, option": lambda port: bytes.fromhex(
        f"06 01 0014 {port:04x} 00 01 7f000001  0004 0014 02 01 05 616c696365 06 313233343536 00"
    ),
    "socks4": lambda port: bytes.fromhex(f"04 01 {port:04x} 7f000001") + b"me\0",
    "socks4a": lambda port: bytes.fromhex(f"04 01 {port:04x} 00000001") + b"me\0localhost\0",
    "socks5": lambda port: bytes.fromhex(f"05 02 00 02  05 01 00 01 7f000001 {port:04x}"),
    "socks5, name": lambda port: (
        bytes.fromhex("05 01 00  05 01 00 03 09") + b"localhost" + port.to_bytes(2, "big")
    ),
    "connect": lambda port: f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
}

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def mixed() -> Iterator[Proxy]:
    """Give a server that speaks everything and soon gives up waiting."""
    with server("--listen", "mixed://127.0.0.1:0", "--handshake-timeout", str(HANDSHAKE)) as running:
        warm_up(running)
        yield running


@pytest.fixture(scope="module")
def patient() -> Iterator[Proxy]:
    """Give a server that speaks everything and does not give up waiting."""
    with server("--listen", "mixed://127.0.0.1:0", "--handshake-timeout", "60") as running:
        warm_up(running)
        yield running


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with echo() as running:
        yield running


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_may_be_cut_anywhere(mixed: Proxy, place: Place, kind: str) -> None:
    stream = REQUESTS[kind](place.port) + FIRST_DATA
    with unharmed(mixed), contextlib.ExitStack() as held:
        socks = [held.enter_context(mixed.place.connected()) for _ in range(1, len(stream))]
        for cut, sock in enumerate(socks, 1):
            sock.sendall(stream[:cut])
        time.sleep(0.05)
        for cut, sock in enumerate(socks, 1):
            sock.sendall(stream[cut:])
            sock.shutdown(socket.SHUT_WR)
        assert all(read_to_the_end(sock).endswith(FIRST_DATA) for sock in socks)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_may_come_byte_by_byte(mixed: Proxy, place: Place, kind: str) -> None:
    with mixed.place.connected() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUESTS[kind](place.port) + FIRST_DATA:
            sock.sendall(bytes((byte,)))
        sock.shutdown(socket.SHUT_WR)
        assert read_to_the_end(sock).endswith(FIRST_DATA)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_ends_anywhere_is_the_end_at_once(patient: Proxy, place: Place, kind: str) -> None:
    request = REQUESTS[kind](place.port)
    with unharmed(patient), contextlib.ExitStack() as held:
        socks = [held.enter_context(patient.place.connected()) for _ in range(len(request))]
        for cut, sock in enumerate(socks):
            sock.sendall(request[:cut])
            sock.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        for sock in socks:
            read_to_the_end(sock)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_may_be_reset_anywhere(mixed: Proxy, place: Place, kind: str) -> None:
    stream = REQUESTS[kind](place.port) + FIRST_DATA
    with unharmed(mixed):
        for cut in range(len(stream)):
            sock = mixed.place.connected()
            sock.sendall(stream[:cut])
            reset(sock)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_byte_now_and_then_does_not_put_the_deadline_off(mixed: Proxy, place: Place, kind: str) -> None:
    request = REQUESTS[kind](place.port)
    with unharmed(mixed), mixed.place.connected() as sock:
        began = time.monotonic()
        for byte in request:
            with contextlib.suppress(OSError):
                sock.sendall(bytes((byte,)))
            if select.select([sock], [], [], HANDSHAKE / 4)[0] and not read_some(sock):
                break
        assert HANDSHAKE * 0.9 < time.monotonic() - began < HANDSHAKE + AT_ONCE


def read_some(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1000)
    except ConnectionResetError:
        return b""


def test_silence_is_ended_at_the_deadline(mixed: Proxy) -> None:
    with unharmed(mixed), contextlib.ExitStack() as held:
        began = time.monotonic()
        socks = [held.enter_context(mixed.place.connected()) for _ in range(300)]
        for sock in socks:
            read_to_the_end(sock)
        assert HANDSHAKE * 0.9 < time.monotonic() - began < HANDSHAKE + AT_ONCE


@pytest.mark.parametrize(
    "endless",
    [
        b"GET http://x/" + b"a" * (1 << 20),
        b"GET http://x/ HTTP/1.1\r\n" + b"A: b\r\n" * (1 << 18),
        b"GET http://x/ HTTP/1.1\r\nA: " + b"b" * (1 << 20),
        b"CONNECT " + b"a" * (1 << 20),
        b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"a" * (1 << 20),
        b"\x06\x01\xff\xff" + bytes(1 << 20),
        b"\x05\xff" + bytes(1 << 20),
        bytes(1 << 20),
        b"\n" * (1 << 20),
    ],
    ids=["target", "fields", "field", "connect", "socks4", "socks6", "socks5", "zeros", "lines"],
)
def test_what_has_no_end_is_cut_off(mixed: Proxy, endless: bytes) -> None:
    with unharmed(mixed), mixed.place.connected() as sock:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(endless)
        assert len(read_to_the_end(sock)) < 2000


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x00", b"SSH-2.0-x\r\n"]
)
def test_what_is_not_for_a_proxy_gets_an_answer_or_an_end(mixed: Proxy, data: bytes) -> None:
    with unharmed(mixed), mixed.place.connected() as sock:
        sock.sendall(data)
        began = time.monotonic()
        read_to_the_end(sock)
        assert time.monotonic() - began < HANDSHAKE + AT_ONCE


def test_a_browser_that_takes_the_proxy_for_a_site_is_told(mixed: Proxy) -> None:
    assert curl(f"http://{mixed.authority}/page").status == 400


def test_an_old_client_without_a_host_field_is_served(mixed: Proxy) -> None:
    with web_site() as site, mixed.place.connected() as sock:
        sock.sendall(f"GET {site.url}/ HTTP/1.0\r\n\r\n".encode())
        assert read_to_the_end(sock).endswith(PAGE)
