"""Keeps what goes over streams while their inbounds are at work: the handshakes, byte for byte."""

import asyncio
import socket
import time
from dataclasses import dataclass

from typing_extensions import override

from socks6.net.stream import ByteStream, Endpoint, Protection
from socks6.proxy.inbounds.base import Engine, Inbound, Tunnel
from socks6.telemetry import ConnectionSummary, NullObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that were received or sent at once."""

    time: float  # of time.perf_counter: a loop's own clock may count milliseconds only
    received: bool
    data: bytes


class RecordingStream(ByteStream):
    """A stream that keeps what goes over it."""

    def __init__(self, stream: ByteStream, pieces: list[Piece]) -> None:
        self._stream = stream
        self._pieces = pieces

    @property
    @override
    def local(self) -> Endpoint:
        return self._stream.local

    @property
    @override
    def remote(self) -> Endpoint:
        return self._stream.remote

    @property
    @override
    def protection(self) -> Protection:
        return self._stream.protection

    @property
    @override
    def raw_socket(self) -> socket.socket | None:
        return None  # its bytes would go past the record

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        data = self._stream.receive_nowait(max_bytes)
        self._keep(data or b"", received=True)
        return data

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.receive(max_bytes)
        self._keep(data, received=True)
        return data

    @override
    async def send(self, data: bytes | memoryview) -> None:
        self._keep(bytes(data), received=False)
        await self._stream.send(data)

    @override
    async def send_eof(self) -> None:
        await self._stream.send_eof()

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    @override
    def abort(self) -> None:
        self._stream.abort()

    def _keep(self, data: bytes, *, received: bool) -> None:
        if data:
            self._pieces.append(Piece(time=time.perf_counter(), received=received, data=data))


class RecordingInbound(Inbound):
    """An inbound whose clients' handshakes are kept, one list of pieces for each client.

    What is relayed afterwards is not: the relay has the stream itself, so that the kernel may move the bytes.
    """

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound
        self.clients: list[list[Piece]] = []

    @property
    @override
    def name(self) -> str:
        return self._inbound.name

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Inbound.serve`."""
        pieces: list[Piece] = []
        self.clients.append(pieces)
        return await self._inbound.serve(RecordingStream(stream, pieces), first, engine)


class Ends(NullObserver):
    """Collects what became of connections."""

    def __init__(self) -> None:
        self._summaries: asyncio.Queue[ConnectionSummary] = asyncio.Queue()

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        self._summaries.put_nowait(summary)

    async def next(self) -> ConnectionSummary:
        """Return the next one that nobody has been told of; wait for it."""
        return await self._summaries.get()
