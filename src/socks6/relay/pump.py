"""Joining two streams by copying, driven by the relay's epoll: for streams that the kernel cannot join, as TLS.

Unlike in `relay.copy`, no task is woken for a piece, and a side that resets is noticed also while the other one
takes nothing. The state machine is `relay.joined`.
"""

from socks6.compat import override
from socks6.net.poller import LAST, READABLE, WRITABLE, Poller
from socks6.relay.endpoints import RelayEndpoint, StreamEndpoint
from socks6.relay.joined import DROPPING, FINISHED, FINISHING, FLOWING, SendingFailed
from socks6.relay.polled import LONE_BYTES, PIECES_PER_TURN, PolledDirection, PolledStreams


def pump_streams(client: RelayEndpoint, remote: RelayEndpoint, poller: Poller) -> PolledStreams:
    """Return two joined streams. Their sockets must not block."""
    return PolledStreams(_direction(client, remote, poller), _direction(remote, client, poller))


def _direction(source: RelayEndpoint, sink: RelayEndpoint, poller: Poller) -> "PumpDirection":
    if isinstance(source, StreamEndpoint):
        return StreamDirection(source, sink, poller)
    return PumpDirection(source, sink, poller)


class PumpDirection(PolledDirection):
    """A direction from endpoint to endpoint."""

    __slots__ = ("_held_bytes", "sink", "source")
    pieces_per_turn = PIECES_PER_TURN

    def __init__(self, source: RelayEndpoint, sink: RelayEndpoint, poller: Poller) -> None:
        super().__init__(source.socket, poller)
        self.source = source
        self.sink = sink
        self._held_bytes = 0  # of the piece that the sink's socket has not taken wholly yet

    @override
    def watch(self) -> None:
        super().watch()
        if not self.source.drained:
            self.wake()  # the source holds bytes that no socket reports

    @override
    def source_failed(self, error: OSError) -> None:
        if not self.source.announces_end:
            super().source_failed(error)

    @override
    def on_events(self, events: int) -> None:  # noqa: C901 - split, each piece would cost a call more
        """Handle the usual case at once: bytes that came alone, and are taken."""
        if events != READABLE or self.held or self.scheduled or self.state is not FLOWING or self.left:
            super().on_events(events)
            return
        source = self.source
        if self.meter is not None or self.untuned is not None:
            self.move(drain=False)
            return
        plain = self.poller.scratch.plain
        size = source.receive(self.poller.scratch)
        if not size:
            if size is None and source.drained:
                return
            if size is None:
                self.move(drain=False)
            else:
                self.finish()
            return
        try:
            taken = self.sink.put(plain[:size])
        except OSError as error:
            raise SendingFailed.by(error) from error
        if not taken:
            self._hold(size)
            return
        self.bytes_moved += size
        if not source.drained:
            self.move(drain=False)

    @override
    def put(self, data: bytes | memoryview) -> None:
        if self.state is DROPPING:
            return
        if self.untuned is not None and (self.bytes_moved or len(data) > LONE_BYTES):
            self.tune_sink()
        try:
            taken = self.sink.put(data)
        except OSError as error:
            raise SendingFailed.by(error) from error
        if taken:
            self.bytes_moved += len(data)
        else:
            self._hold(len(data))

    @override
    def resume(self) -> None:
        try:
            if not self.sink.flush():
                return
        except OSError as error:
            raise SendingFailed.by(error) from error
        self.bytes_moved += self._held_bytes
        self.held = False
        if self.state is FINISHING:
            self.finished()
        else:
            self.move(drain=True)

    @override
    def discard(self) -> None:
        self.held = False

    @override
    def end_sink(self) -> bool:
        if self.sink.end(last=self.reverse.state is FINISHED):
            return True
        self._hold(0)
        return False

    @override
    def move(self, *, drain: bool) -> None:  # noqa: C901 - split, each piece would cost a call more
        source, scratch, meter, left = self.source, self.poller.scratch, self.meter, 0
        if meter is not None:
            if not (left := meter.allow(self)):
                self.scheduled = True  # the meter calls `go_on`
                return
            if left < len(scratch.plain):
                scratch = scratch.part(left, source.margin)
        allowed = left
        try:
            for _ in range(self.pieces_per_turn):
                size = source.receive(scratch)
                if size is None:
                    if source.drained:
                        return
                    continue  # what came made no byte, and there is more
                if not size:
                    self.finish()
                    return
                left -= size
                self.put(scratch.plain[:size])
                if self.held or (source.drained and not drain):
                    return
                if meter is not None and left < len(scratch.plain):
                    break
            self.wake()
        finally:
            if meter is not None:
                meter.spend(allowed - left)

    def _hold(self, size: int) -> None:
        self.held = True
        self._held_bytes = size
        if self.reverse.source_fd >= 0:  # else the sink reports that without being asked
            self.poller.add_writable(self.reverse.source_fd)


class StreamDirection(PumpDirection):
    """A direction whose source reports its own events."""

    __slots__ = ("_stream",)
    pieces_per_turn = 64  # they are in memory already, and are no more

    def __init__(self, source: StreamEndpoint, sink: RelayEndpoint, poller: Poller) -> None:
        super().__init__(source, sink, poller)
        self._stream = source.stream

    @override
    def watch(self) -> None:
        self._stream.report_to(self._changed)
        if self._stream.readable:
            self.wake()

    @override
    def leave(self) -> None:
        self._stream.report_to(None)
        super().leave()

    def _changed(self) -> None:
        try:
            if self.held or self.reverse.held or self.scheduled or self.state is not FLOWING or self.left:
                self.on_events(READABLE | WRITABLE | LAST)
            else:
                self.move(drain=True)
        except Exception as error:  # noqa: BLE001 - as in `Poller`
            self.fail(error)

    @override
    def take_error(self) -> None:
        error = self._stream.refusal
        if error is not None and not self.reverse.over:
            self.reverse.sink_broke(error)
