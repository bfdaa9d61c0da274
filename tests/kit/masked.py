"""A transport of one's own in one file: TCP whose bytes are masked, so that no eye on the wire reads them."""

import socket
from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from socks6.net.datagrams.shared import SharedPorts
from socks6.net.stream import AttributeT, ByteStream, Endpoint, Listener, Protection
from socks6.net.transports.base import (
    Connector,
    ConnectParameters,
    ListenParameters,
    OpenListeners,
    StreamRequest,
    Transport,
    send_first,
)
from socks6.net.transports.tcp import connect_tcp, listen_tcp

MASK: Final = bytes(byte ^ 0x5A for byte in range(256))


class MaskedStream(ByteStream):
    """A stream whose bytes are masked on the way."""

    def __init__(self, wire: ByteStream) -> None:
        self._wire = wire

    @property
    @override
    def local(self) -> Endpoint:
        return self._wire.local

    @property
    @override
    def remote(self) -> Endpoint:
        return self._wire.remote

    @property
    @override
    def protection(self) -> Protection:
        return self._wire.protection

    @property
    @override
    def raw_socket(self) -> socket.socket | None:
        return None  # the kernel must not move these bytes

    @override
    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        return self if isinstance(self, kind) else self._wire.attribute(kind)

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        data = self._wire.receive_nowait(max_bytes)
        return None if data is None else data.translate(MASK)

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        return (await self._wire.receive(max_bytes)).translate(MASK)

    @override
    async def send(self, data: bytes | memoryview) -> None:
        await self._wire.send(bytes(data).translate(MASK))

    @override
    async def send_eof(self) -> None:
        await self._wire.send_eof()

    @override
    async def aclose(self) -> None:
        await self._wire.aclose()

    @override
    def abort(self) -> None:
        self._wire.abort()


class MaskedListener:
    """Accepts masked streams."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.url: Final[str] = listener.url
        self.local: Final[Endpoint] = listener.local

    def accept_nowait(self) -> ByteStream | None:
        wire = self._listener.accept_nowait()
        return None if wire is None else MaskedStream(wire)

    async def wait_readable(self) -> None:
        await self._listener.wait_readable()

    async def aclose(self) -> None:
        await self._listener.aclose()


def listen(parameters: ListenParameters) -> OpenListeners:
    """Return what listens with masked TCP."""

    async def open_listeners(_: SharedPorts) -> Sequence[Listener]:
        return [
            MaskedListener(wire)
            for wire in await listen_tcp(parameters.host, parameters.port, scheme=parameters.scheme)
        ]

    return open_listeners


class MaskedConnector(Connector):
    """Reaches a proxy over masked TCP."""

    def __init__(self, proxy: ConnectParameters) -> None:
        self._proxy = proxy

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        wire = await connect_tcp(self._proxy.host, self._proxy.port, resolver=self._proxy.resolver)
        stream = MaskedStream(wire)
        await send_first(stream, request.early_data)
        return stream


MASKED: Final = Transport(connect=MaskedConnector, listen=listen)
