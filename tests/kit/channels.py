"""Ways out for datagrams that reach nothing but the test."""

import socket
from collections.abc import Callable, Sequence

from typing_extensions import override

from socks6.message.framing import NoFraming
from socks6.message.options import StackOption
from socks6.net.stream import DatagramChannel, DatagramReport, DatagramSink, Endpoint, Packet, SocketAddress
from socks6.relay.datagrams.association_relay import DatagramRelay, best_forwarder
from socks6.relay.datagrams.forwarder import ClientPath, SlowPath

BOUND = Endpoint("192.0.2.1", 4711)


class EchoChannel(DatagramChannel):
    """Sends every datagram back from where it was for; a name is at 192.0.2.77."""

    def __init__(self, bound: Endpoint = BOUND, options: tuple[StackOption, ...] = ()) -> None:
        self.bound = bound
        self.options = options
        self.sink: DatagramSink | None = None
        self.sent: list[Packet] = []
        self.closed = 0

    @override
    def start(self, sink: DatagramSink, watch: Callable[[socket.socket], None]) -> None:
        self.sink = sink

    @override
    def send(self, packets: Sequence[Packet]) -> None:
        self.sent += packets
        assert self.sink is not None
        self.sink.datagrams_received(
            [(data, "192.0.2.77" if host.endswith("example") else host, port) for data, host, port in packets]
        )

    @override
    async def aclose(self) -> None:
        self.closed += 1


class ListedSink(DatagramSink):
    """Lists what it is told."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.reports: list[DatagramReport] = []
        self.reasons: list[str] = []

    @override
    def datagrams_received(self, packets: Sequence[Packet]) -> None:
        self.packets += packets

    @override
    def error_reported(self, report: DatagramReport) -> None:
        self.reports.append(report)

    @override
    def channel_closed(self, reason: str) -> None:
        self.reasons.append(reason)


class ChannelReader(SlowPath):
    """Gives a sink all that comes to a channel, as an association without table entries would."""

    def __init__(self, channel: DatagramChannel, sink: DatagramSink) -> None:
        self.bound = channel.bound
        self.options = channel.options
        self.send = channel.send
        self._channel = channel
        self._sink = sink
        self._faults: list[Exception] = []
        self._relay = DatagramRelay(on_fault=self._faults.append, forwarder=best_forwarder())
        self._entry = self._relay.forwarder.open(NoFraming(), channel.framing, self)
        self._sockets: list[socket.socket] = []
        channel.start(sink, self._watch)

    def _watch(self, sock: socket.socket) -> None:
        self._sockets.append(sock)
        self._relay.watch_socket(self._relay.forwarder, self._entry, sock, self._channel.read_error_queue)

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        raise AssertionError("there is no client")

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        received = self._channel.receive(data, source)
        if received is not None:
            self._sink.datagrams_received([received[:3]])

    async def aclose(self) -> None:
        """Close the channel. Idempotent."""
        for sock in self._sockets:
            self._relay.forget(sock)
        self._sockets.clear()
        self._entry.close()
        await self._channel.aclose()
        self._relay.close()
        assert not self._faults
