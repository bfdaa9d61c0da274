"""Connecting as a proxy does, and seeing what the other side gets."""

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

from socks6.message.options import StackOption
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import ConnectResult


def knowing(names: Mapping[str, Sequence[str]]) -> Resolver:
    """Return a resolver that knows these names and no others."""

    def look_up(name: bytes, port: int) -> list[ResolvedAddress]:
        return [
            ResolvedAddress(socket.AF_INET6, (host, port, 0, 0))
            if ":" in host
            else ResolvedAddress(socket.AF_INET, (host, port))
            for host in names[name.decode()]
        ]

    return Resolver(lookup=look_up)


@contextlib.asynccontextmanager
async def reached(
    host: str,
    port: int,
    *options: StackOption,
    first_data: bytes = b"",
    outbound: DirectOutbound | None = None,
) -> AsyncIterator[ConnectResult]:
    """Connect to any address, with these options; all is closed in the end."""
    way = outbound or DirectOutbound()
    try:
        connection = await way.connect(
            host, port, judge=lambda _address, _port: True, options=options, first_data=first_data
        )
        try:
            yield connection
        finally:
            await connection.stream.aclose()
    finally:
        await way.aclose()


def port_of(listener: socket.socket) -> int:
    """Return where it listens."""
    port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


def accepted(listener: socket.socket) -> socket.socket:
    """Return the connection that came."""
    sock, _ = listener.accept()
    sock.settimeout(20)
    return sock


def exactly(sock: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data
