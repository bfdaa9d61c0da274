"""An upstream proxy's association as a channel for datagrams."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from socks6.client.association import Association
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram, ReceiveQueue
from socks6.compat import override
from socks6.errors import DatagramFailed, DatagramTooLarge, DecodeError, Socks6Error
from socks6.message.options import StackOption
from socks6.net.datagrams.channel import ROUTE_SECONDS
from socks6.net.stream import (
    DatagramChannel,
    DatagramReport,
    DatagramRoute,
    DatagramSink,
    Packet,
    ReceivedFrom,
    SocketAddress,
)

CLOSE_SECONDS: Final = 2.0  # what the upstream gets to take what is on its way, and to end
MAX_CACHED_VERDICTS: Final = 1024  # about destinations, and about sources; the oldest are forgotten


class UpstreamChannel(DatagramChannel):
    """A port at the upstream, which looks up the names; where datagrams may go, we judge as well."""

    def __init__(
        self,
        association: Association,
        *,
        may_send: Callable[[str, int], bool],
        may_answer: Callable[[str, int], bool],
        options: tuple[StackOption, ...] = (),
    ) -> None:
        """`may_send` judges hosts and ports, `may_answer` sources; `options` are in force on the upstream's other leg."""
        self.bound = association.bound
        self.framing = association.framing
        self._association = association
        self._allows = lru_cache(MAX_CACHED_VERDICTS)(may_send)
        self._allows_source = lru_cache(MAX_CACHED_VERDICTS)(may_answer)
        self.options = options
        self._running: asyncio.Task[None] | None = None  # until `aclose`
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None  # once it is lent to us
        self._warned = False  # that a datagram was too large

    @override
    def start(self, sink: DatagramSink, watch: Callable[[socket.socket], None]) -> None:
        self._association.set_receiver(_SinkReceiver(sink, self._allows_source))
        self._socket = self._association.lend_socket()
        if self._socket is not None:
            watch(self._socket)
        self._running = self._loop.create_task(self._association.run(), name="socks6 upstream channel")

    @override
    def route(self, host: str, port: int) -> DatagramRoute | None:
        if self._socket is None or not self._allows(host, port):
            return None
        try:
            prefix = self.framing.prefix(host, port)
        except ValueError:
            return None
        return DatagramRoute(self._socket, None, self._loop.time() + ROUTE_SECONDS, prefix)

    @override
    def receive(self, data: bytes, source: SocketAddress) -> ReceivedFrom | None:
        header = self.framing.parse(data)
        if header is None:
            self._association.on_packets((data,))
            return None
        key, start, end = header
        try:
            host, port, _ = self.framing.host_of(key)
        except DecodeError:
            return None
        if not self._allows_source(host, port):
            return None
        return ReceivedFrom(data[start:end], host, port, key, self._loop.time() + ROUTE_SECONDS)

    @override
    def send(self, packets: Sequence[Packet]) -> None:
        for data, host, port in packets:
            if not self._allows(host, port):
                continue
            try:
                self._association.send_nowait(data, (host, port))
            except DatagramTooLarge as error:
                self._warn(error)
            except (
                OSError,
                ValueError,
            ):  # for no host at all, or the association is over: as on any network, it is lost
                pass

    def _warn(self, error: DatagramTooLarge) -> None:
        if not self._warned:
            self._warned = True
            logging.getLogger("socks6").warning(
                "datagram dropped path=%s reason=%r", self._association.path, error.strerror
            )

    @override
    async def aclose(self) -> None:
        self._association.set_receiver(ReceiveQueue())  # that is not read
        running, self._running = self._running, None
        try:
            if running is not None:
                self._association.finish()
                await asyncio.wait((running,), timeout=CLOSE_SECONDS)
        finally:
            if running is not None:
                running.cancel()
            self._association.abort()  # also when the task had no time to begin
            if self._socket is not None:
                self._socket.close()


class _SinkReceiver(DatagramReceiver):
    """Gives a sink what an association brings from sources that are allowed."""

    def __init__(self, sink: DatagramSink, allows_source: Callable[[str, int], bool]) -> None:
        self._sink = sink
        self._allows_source = allows_source

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        allowed = [(data, *source) for data, source in packets if self._allows_source(*source)]
        if allowed:
            self._sink.datagrams_received(allowed)

    @override
    def error_received(self, error: DatagramFailed) -> None:
        self._sink.error_reported(DatagramReport(error.host, error.port, error.code, error.reporter))

    @override
    def ended(self, error: Socks6Error) -> None:
        self._sink.channel_closed(str(error))
