"""QUIC connections of an application's own, HTTP/3 say, over an association: what aioquic and qh3 need for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from socks6.adapters.base import AdapterClient, AnyProxy
from socks6.compat import override

ProtocolT = TypeVar("ProtocolT", bound=asyncio.DatagramProtocol)

REMOTE: Final = (
    "2001:db8::1",
    443,
    0,
    0,
)  # what QUIC connections take for the remote address, which the proxy alone knows


class _OneAddress(asyncio.DatagramTransport):
    """A transport that sends to its one remote address, whatever a QUIC connection calls that."""

    def __init__(self, beneath: asyncio.BaseTransport) -> None:
        super().__init__()
        self._beneath: asyncio.DatagramTransport = beneath  # type: ignore[assignment]  # of an association

    @override
    def sendto(self, data: bytes | bytearray | memoryview, addr: object = None) -> None:
        self._beneath.sendto(data)

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._beneath.get_extra_info(name, default)

    @override
    def is_closing(self) -> bool:
        return self._beneath.is_closing()

    @override
    def close(self) -> None:
        self._beneath.close()

    @override
    def abort(self) -> None:
        self._beneath.abort()


class _QuicProtocol(asyncio.DatagramProtocol, Generic[ProtocolT]):
    """Gives a QUIC connection what arrives, as if from the address that it was connected to: REMOTE."""

    def __init__(self, protocol: ProtocolT) -> None:
        self.protocol: Final = protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.protocol.connection_made(_OneAddress(transport))

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.protocol.datagram_received(data, REMOTE)


@asynccontextmanager
async def quic_endpoint(
    proxy: AnyProxy, make: Callable[[], ProtocolT], host: str, port: int
) -> AsyncIterator[ProtocolT]:
    """Give the protocol of a QUIC connection whose datagrams travel to a host through a proxy, for as long as the block lasts.

    A `Client` must have been entered. Raises what `Client.create_datagram_endpoint` does.
    """
    client = AdapterClient(proxy)
    try:
        transport, protocol = await (await client.enter()).create_datagram_endpoint(
            lambda: _QuicProtocol(make()), (host, port), errors=False
        )
        try:
            yield protocol.protocol
        finally:
            transport.close()
    finally:
        await client.aclose()
