"""Ways out for datagrams that reach nothing but the test."""

from collections.abc import Sequence

from typing_extensions import override

from socks6.message.options import StackOption
from socks6.net.stream import DatagramChannel, DatagramReport, DatagramSink, Endpoint, Packet

BOUND = Endpoint("192.0.2.1", 4711)


class EchoChannel(DatagramChannel):
    """Sends every datagram back from where it was for; a name is at 192.0.2.77."""

    def __init__(self, bound: Endpoint = BOUND, options: tuple[StackOption, ...] = ()) -> None:
        self._bound = bound
        self._options = options
        self.sink: DatagramSink | None = None
        self.sent: list[Packet] = []
        self.closed = 0

    @property
    @override
    def bound(self) -> Endpoint:
        return self._bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        return self._options

    @override
    def start(self, sink: DatagramSink) -> None:
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
