"""How a client asks: one request, and the seconds from `connect()` to the first byte of the answer.

Each client waits for what its protocol has it wait for, and for nothing else: a SOCKS 5 client reads each answer
before it says more, as curl and all common libraries do.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import uvloop

from benchmarks.load.peers import PASSWORD, USER
from benchmarks.load.processes import ProcessError
from benchmarks.load.round_trips.site import Address, Site
from socks6 import Client, ProxiedStream, StackOptions

Attempt = Callable[[], float]
"""Asks once; returns the seconds."""
Way = Callable[[Site], AbstractContextManager[Attempt]]
"""Makes ready to ask, for as long as it is open."""

PATIENCE: Final = 20  # seconds
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: first-byte\r\nAccept: */*\r\n\r\n"


def connecting_to_proxy() -> Way:
    """Connect to the proxy's machine and no more: what one round trip takes."""
    return _plainly(lambda site: _connecting(site.address("socks6")))


def connecting_to_origin() -> Way:
    """Connect from the proxy's machine to the origin, and no more."""

    def once(site: Site) -> float:
        with site.proxy.entered():
            return _connecting(site.origin)

    return _plainly(once)


def direct(*, fast_open: bool = False) -> Way:
    """Ask the origin itself."""

    def once(site: Site) -> float:
        with _socket() as sock:
            started = time.monotonic()
            if fast_open:
                sock.sendto(REQUEST, socket.MSG_FASTOPEN, site.origin)
            else:
                sock.connect(site.origin)
                sock.sendall(REQUEST)
            return _first_byte(sock, started)

    return _plainly(once)


def socks5(proxy: str, *, password: bool = False) -> Way:
    """Ask through a SOCKS 5 proxy."""

    def once(site: Site) -> float:
        with _socket() as sock:
            started = time.monotonic()
            sock.connect(site.address(proxy))
            _exchange(sock, b"\5\1\2" if password else b"\5\1\0", b"\5\2" if password else b"\5\0")
            if password:
                name, word = USER.encode(), PASSWORD.encode()
                _exchange(sock, bytes((1, len(name))) + name + bytes((len(word),)) + word, b"\1\0")
            _exchange(sock, b"\5\1\0\1" + _on_wire(site.origin), b"\5\0\0\1", more=6)
            sock.sendall(REQUEST)
            return _first_byte(sock, started)

    return _plainly(once)


def http(proxy: str) -> Way:
    """Ask an HTTP proxy for an absolute URL."""

    def once(site: Site) -> float:
        url = f"http://{site.origin[0]}:{site.origin[1]}/".encode()
        with _socket() as sock:
            started = time.monotonic()
            sock.connect(site.address(proxy))
            sock.sendall(REQUEST.replace(b" / ", b" " + url + b" ", 1))
            return _first_byte(sock, started)

    return _plainly(once)


def socks6(
    proxy: str,
    *,
    password: bool = False,
    session: bool = False,
    early: bool = False,
    token: bool = False,
    fast_open: bool = False,
    far_fast_open: bool = False,
    anew: bool = False,
    reconnect: bool = False,  # keeps no connection (QUIC), but what was learnt by it
) -> Way:
    """Ask through a SOCKS 6 proxy with the library.

    `early` has the request carry the first bytes; `anew` asks each time as if it were the first.
    """
    options = StackOptions(tfo=0) if far_fast_open else ()

    @contextmanager
    def ready(site: Site) -> Iterator[Attempt]:
        def made() -> Client:
            return Client(site.url(proxy, password=password), session=session, fast_open=fast_open)

        usual = made()

        async def once() -> float:
            client = made() if anew else usual
            started = time.monotonic()
            data = REQUEST if early else b""
            stream = await client.connect(*site.origin, initial_data=data, options=options, idempotent=token)
            try:
                await _answered(stream, b"" if early else REQUEST)
                return time.monotonic() - started
            finally:
                stream.abort()
                if anew:
                    await client.aclose()
                elif reconnect:
                    client.close_idle()
                    await asyncio.sleep(0)  # which tells the proxy

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if session and not runner.run(usual.open_session()):
                raise ProcessError("the proxy grants no session")
            try:
                _ = reconnect and runner.run(once())  # for a ticket, and tokens
                yield lambda: runner.run(once())
            finally:
                runner.run(usual.aclose())

    return ready


async def _answered(stream: ProxiedStream, request: bytes) -> None:
    if request:
        await stream.send(request)
    if not await stream.receive(1):
        raise ProcessError("the answer ended before its first byte")


def _plainly(once: Callable[[Site], float]) -> Way:
    @contextmanager
    def ready(site: Site) -> Iterator[Attempt]:
        yield lambda: once(site)

    return ready


def _socket() -> socket.socket:
    """Return one that blocks, for a limited time: data in a SYN want a socket that blocks."""
    sock = socket.socket()
    for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", PATIENCE, 0))
    return sock


def _connecting(address: Address) -> float:
    with _socket() as sock:
        started = time.monotonic()
        sock.connect(address)
        return time.monotonic() - started


def _first_byte(sock: socket.socket, started: float) -> float:
    byte = sock.recv(1)
    elapsed = time.monotonic() - started
    if byte != b"H":
        raise ProcessError(f"the answer begins with {byte!r}")
    return elapsed


def _exchange(sock: socket.socket, said: bytes, expected: bytes, *, more: int = 0) -> None:
    """Say something, and read the answer to its end."""
    sock.sendall(said)
    answer = b""
    while len(answer) < len(expected) + more:
        piece = sock.recv(len(expected) + more - len(answer))
        if not piece:
            break
        answer += piece
    if not answer.startswith(expected):
        raise ProcessError(f"the proxy answered {answer!r}")


def _on_wire(address: Address) -> bytes:
    return socket.inet_aton(address[0]) + address[1].to_bytes(2, "big")
