"""An association's messages as DATAGRAM frames of its QUIC connection."""

import asyncio
from struct import Struct
from typing import Final

from socks6.client.paths import LINGER_SECONDS, PacketCallback, StreamPath
from socks6.compat import override
from socks6.net.scopes import time_limit
from socks6.net.stream import ByteStream, FrameSink, MultiplexedConnection

HEAD: Final = Struct("!4xQ")  # of a message: version, type, length; association id


class DatagramDemux:
    """Gives frames to the paths that they are for: by connection, and by association."""

    def __init__(self) -> None:
        self._demuxes: dict[MultiplexedConnection, _ConnectionDemux] = {}

    def path(
        self,
        connection: MultiplexedConnection,
        stream: ByteStream,
        association_id: int,
        on_packets: PacketCallback,
    ) -> "QuicPath":
        """Return an association's path; its frames go to `on_packets` from now on, until it is closed.

        `stream` is the association's, and one of the connection's.
        """
        demux = self._demuxes.get(connection)
        if demux is None:
            demux = self._demuxes[connection] = _ConnectionDemux(self._demuxes, connection)
        path = QuicPath(demux, connection, stream, association_id, on_packets)
        demux.paths[association_id] = path
        return path


class _ConnectionDemux(FrameSink):
    """The frames of one connection."""

    def __init__(
        self, demuxes: "dict[MultiplexedConnection, _ConnectionDemux]", connection: MultiplexedConnection
    ) -> None:
        self._demuxes = demuxes
        self._connection = connection
        self.paths: dict[int, QuicPath] = {}
        connection.set_frame_sink(self)

    def forget(self, association_id: int) -> None:
        """Give an association no frames any more. Idempotent."""
        self.paths.pop(association_id, None)
        if not self.paths and self._demuxes.get(self._connection) is self:
            del self._demuxes[self._connection]
            self._connection.set_frame_sink(None)

    @override
    def frame_received(self, data: bytes) -> None:
        path = self.paths.get(HEAD.unpack_from(data)[0]) if len(data) >= HEAD.size else None
        if path is not None:
            path.on_packets((data,))

    @override
    def connection_lost(self) -> None:
        for path in self.paths.values():
            path.finish()


class QuicPath(StreamPath):
    """Frames, which get lost as UDP datagrams do and wait for nothing; what fits in none goes on the association's stream."""

    name = "datagram"

    def __init__(
        self,
        demux: _ConnectionDemux,
        connection: MultiplexedConnection,
        stream: ByteStream,
        association_id: int,
        on_packets: PacketCallback,
    ) -> None:
        super().__init__(stream)
        self.on_packets = on_packets
        self._demux = demux
        self._connection = connection
        self._id = association_id
        self._waits: set[asyncio.Timeout] = set()  # of tasks that send

    @property
    @override
    def unfragmented(self) -> int:
        return self._connection.largest_frame

    @override
    def send_nowait(self, message: bytes) -> None:
        self._check_open()
        if not self._connection.send_frame(message):
            super().send_nowait(message)

    @override
    async def send(self, message: bytes) -> None:
        self._check_open()
        async with time_limit(None) as wait:  # others' frames may keep the room: `close` ends it
            self._waits.add(wait)
            try:
                await self._connection.wait_frame_room()
            finally:
                self._waits.discard(wait)
        await super().send(message)

    @override
    async def run(self) -> None:
        await super().run()
        async with time_limit(LINGER_SECONDS):
            await self._connection.wait_frame_room()

    @override
    def close(self) -> None:
        self._demux.forget(self._id)
        super().close()
        while self._waits:
            self._waits.pop().reschedule(0.0)
