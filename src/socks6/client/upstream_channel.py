"""An upstream's association as a way out for datagrams."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from socks6.client.association import Association
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram
from socks6.errors import DatagramFailed, Socks6Error
from socks6.message.options import StackOption
from socks6.net.stream import DatagramChannel, DatagramJudge, DatagramReport, DatagramSink, Endpoint, Packet

CLOSE_SECONDS: Final = 2.0  # what the upstream gets to take what is on its way, and to end
MAX_CACHED_VERDICTS: Final = (
    1024  # verdicts that are remembered, of destinations and of sources; forgotten all at once
)


class UpstreamChannel(DatagramChannel):
    """A port at the upstream, which looks up the names; where datagrams may go, we judge as well."""

    def __init__(
        self, association: Association, judge: DatagramJudge, options: tuple[StackOption, ...]
    ) -> None:
        """`options` are those in force on the upstream's far leg."""
        self._association = association
        self._judge = judge
        self._options = options
        self._running: asyncio.Task[None] | None = None  # until `aclose`
        self._destinations: dict[tuple[str, int], bool] = {}

    @property
    @override
    def bound(self) -> Endpoint:
        return self._association.bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        return self._options

    @override
    def start(self, sink: DatagramSink) -> None:
        """See `DatagramChannel.start`."""
        self._association.set_receiver(_SinkReceiver(sink, self._judge))
        self._running = asyncio.create_task(self._association.run(), name="socks6 upstream channel")

    @override
    def send(self, packets: Sequence[Packet]) -> None:
        """See `DatagramChannel.send`."""
        for data, host, port in packets:
            allowed = self._destinations.get((host, port))
            if allowed is None:
                allowed = self._judged(host, port)
            if allowed:
                # too long, for no host at all, or the association is over: as on any network, it is lost
                with contextlib.suppress(OSError, ValueError):
                    self._association.send_nowait(data, (host, port))

    @override
    async def aclose(self) -> None:
        """See `DatagramChannel.aclose`."""
        self._association.set_receiver(NullReceiver())
        running, self._running = self._running, None
        if running is None:
            self._association.abort()
            return
        self._association.finish()
        try:
            await asyncio.wait((running,), timeout=CLOSE_SECONDS)
        finally:
            running.cancel()
            self._association.abort()  # also when the task had no time to begin

    def _judged(self, host: str, port: int) -> bool:
        if len(self._destinations) >= MAX_CACHED_VERDICTS:
            self._destinations.clear()
        allowed = self._destinations[host, port] = self._judge.judge_name(host, port)
        return allowed


class _SinkReceiver(DatagramReceiver):
    """Brings a sink what may come."""

    def __init__(self, sink: DatagramSink, judge: DatagramJudge) -> None:
        self._sink = sink
        self._judge = judge
        self._sources: dict[Endpoint, bool] = {}

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        allowed: list[Packet] = []
        for data, source in packets:
            verdict = self._sources.get(source)
            if verdict is None:
                verdict = self._judged(source)
            if verdict:
                allowed.append((data, source.host, source.port))
        if allowed:
            self._sink.datagrams_received(allowed)

    @override
    def error_received(self, error: DatagramFailed) -> None:
        self._sink.error_reported(DatagramReport(error.host, error.port, error.code, error.reporter))

    @override
    def ended(self, error: Socks6Error) -> None:
        self._sink.channel_closed(str(error))

    def _judged(self, source: Endpoint) -> bool:
        if len(self._sources) >= MAX_CACHED_VERDICTS:
            self._sources.clear()
        allowed = self._sources[source] = self._judge.judge_source(source.host, source.port)
        return allowed


class NullReceiver(DatagramReceiver):
    """Wants nothing any more."""

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        pass

    @override
    def error_received(self, error: DatagramFailed) -> None:
        pass

    @override
    def ended(self, error: Socks6Error) -> None:
        pass
