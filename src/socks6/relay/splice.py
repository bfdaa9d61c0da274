"""Joining two sockets in the kernel: bulk goes from one to the other without entering this process.

Small pieces go by plain recv and send, which costs less for them and needs no pipe. A direction turns to
splicing when a piece fills its buffer, and back when pieces are small again. The state machine is `relay.joined`.
"""

import errno
import os
import select
import socket
from typing import Final

from socks6.compat import override
from socks6.net.poller import READABLE, Poller
from socks6.relay.bandwidth import MAX_PIECE, Meter
from socks6.relay.joined import DROPPING, FINISHED, FLOWING, SendingFailed
from socks6.relay.pipes import Pipe, Pipes
from socks6.relay.polled import LONE_BYTES, PIECE_BYTES, PIECES_PER_TURN, PolledDirection, PolledStreams

# CPU time on 2 cores, Linux 6.18 (benchmarks/load, suites bulk and messages). Bulk: 0.21 s/GB spliced, 0.75
# copied, 2.9 in microsocks. Messages to and fro: 20 µs copied, as in microsocks, 25 spliced.
MIN_SPLICE_BYTES: Final = (
    16384  # a shorter transfer ends splicing; from here on it costs no more than copying
)
SPLICE_BYTES: Final = 1 << 20  # what one splice asks for
NOTHING: Final = -1
UNUSUAL: Final = ~(READABLE | select.EPOLLRDHUP | select.EPOLLHUP)
FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


def splice_streams(
    client: socket.socket, remote: socket.socket, poller: Poller, pipes: Pipes
) -> PolledStreams:
    """Return two joined sockets. Both must not block."""
    return PolledStreams(
        SpliceDirection(client, remote, poller, pipes), SpliceDirection(remote, client, poller, pipes)
    )


class SpliceDirection(PolledDirection):
    """A direction from socket to socket."""

    __slots__ = ("_always_drain", "_copies_only", "_pipes", "_rest", "bulk", "pipe", "piped", "sink")

    def __init__(self, source: socket.socket, sink: socket.socket, poller: Poller, pipes: Pipes) -> None:
        super().__init__(source, poller)
        self.sink = sink
        # TCP alone is known to give a short piece only when it has no more
        self._always_drain = source.proto != socket.IPPROTO_TCP
        self._pipes = pipes
        self._copies_only = False  # the kernel cannot splice between these sockets
        self._rest = b""  # held, or in a pipe:
        self.pipe: Pipe | None = None
        self.piped = 0
        self.bulk = False

    @override
    def limit(self, meter: Meter) -> None:
        super().limit(meter)
        self._always_drain = True  # so that each piece takes the way through `move`, which asks the meter

    @override
    def on_events(self, events: int) -> None:  # noqa: C901 - split, each piece would cost a call more
        """Handle the usual cases at once: a small piece that came alone, the end that came alone."""
        if (
            events & UNUSUAL
            or self.held
            or self.bulk
            or self.scheduled
            or self.state is not FLOWING
            or self._always_drain
        ):
            super().on_events(events)
            return
        try:
            data = self.source_socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        size = len(data)
        if not size:
            self.finish()
            return
        if self.untuned is not None and (self.bytes_moved or size > LONE_BYTES):
            self.tune_sink()
        try:
            sent = self.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise SendingFailed.by(error) from error
        self.bytes_moved += sent
        if sent < size:
            self._hold(data[sent:])
        elif size == PIECE_BYTES or events != READABLE:  # there is more, or the end
            self.bulk = size == PIECE_BYTES and not self._copies_only
            self.move(drain=events != READABLE)

    @override
    def put(self, data: bytes) -> None:
        if self.state is DROPPING:
            return
        if self.untuned is not None and (self.bytes_moved or len(data) > LONE_BYTES):
            self.tune_sink()
        try:
            sent = self.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise SendingFailed.by(error) from error
        self.bytes_moved += sent
        self.held = False
        if sent < len(data):
            self._hold(data[sent:])

    @override
    def resume(self) -> None:
        if self.pipe is not None:
            self._empty(self.pipe)
        else:
            self.put(self._rest)
        if not self.held:
            self._rest = b""
            self.move(drain=True)

    @override
    def discard(self) -> None:
        self.held = self.bulk = False
        self._rest = b""
        if self.pipe is not None:
            self._pipes.discard(self.pipe)
            self.pipe = None

    @override
    def end_sink(self) -> bool:
        if self.reverse.state is not FINISHED:  # else closing the sockets ends it for the sink
            self.sink.shutdown(socket.SHUT_WR)
        return True

    @override
    def move(self, *, drain: bool) -> None:  # noqa: C901 - split, each piece would cost a call more
        meter, most = self.meter, MAX_PIECE
        if meter is not None and not (most := meter.allow(self)):
            self.scheduled = True  # the meter calls `go_on`
            return
        allowed = most
        try:
            for _ in range(PIECES_PER_TURN):
                size = self._splice(most) if self.bulk else self._copy(most)
                if size <= 0:
                    if size == 0:
                        self.finish()
                    return
                if meter is not None:
                    most -= size
                if self.held or most <= 0:
                    break
                if self.bulk:  # a transfer can be short as the pipe has no more slots
                    self.bulk = size >= MIN_SPLICE_BYTES
                elif size == PIECE_BYTES:
                    self.bulk = not self._copies_only and self.state is FLOWING
                elif not (drain or self._always_drain):
                    return
            if not self.held:
                self.wake()
        finally:
            if meter is not None:
                meter.spend(allowed - most)

    def _copy(self, most: int) -> int:
        """Move one piece through this process; return its size, 0 at the end of the stream, or NOTHING."""
        try:
            data = self.source_socket.recv(most if most < PIECE_BYTES else PIECE_BYTES)  # noqa: FURB136 - a call less
        except BlockingIOError:
            return NOTHING
        if data:
            self.put(data)
        return len(data)

    def _splice(self, most: int) -> int:
        """Move what there is through a pipe; return its size, 0 at the end of the stream, or NOTHING."""
        pipe = self._pipes.take()
        if pipe is None:
            return self._copy(most)
        try:
            most = most if most < SPLICE_BYTES else SPLICE_BYTES  # noqa: FURB136 - a call less
            size = os.splice(self.source_fd, pipe.write_end, most, flags=FLAGS)
        except BlockingIOError:
            size = NOTHING
        except OSError as error:
            self._pipes.give(pipe)
            if error.errno != errno.EINVAL:
                raise
            self._copies_only, self.bulk = True, False  # a kind of socket that the kernel cannot splice from
            return self._copy(most)
        if size <= 0:
            self._pipes.give(pipe)
        else:
            self.pipe, self.piped = pipe, size
            self._empty(pipe)
        return size

    def _empty(self, pipe: Pipe) -> None:
        """Move what the sink takes out of the pipe; give it back once it is empty."""
        while self.piped:
            try:
                size = os.splice(pipe.read_end, self.reverse.source_fd, self.piped, flags=FLAGS)
            except BlockingIOError:
                self._wait_for_sink()
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise SendingFailed.by(error) from error
                self._empty_by_hand(pipe)  # a kind of socket that the kernel cannot splice to
                return
            self.piped -= size
            self.bytes_moved += size
        self.held = False
        self.pipe = None
        self._pipes.give(pipe)

    def _empty_by_hand(self, pipe: Pipe) -> None:
        data = b""
        while len(data) < self.piped:
            data += os.read(pipe.read_end, self.piped)
        self.pipe, self.piped = None, 0
        self._pipes.give(pipe)
        self._copies_only, self.bulk = True, False
        self.put(data)

    def _hold(self, rest: bytes) -> None:
        self._rest = rest
        self._wait_for_sink()

    def _wait_for_sink(self) -> None:
        self.held = True
        self.poller.add_writable(self.reverse.source_fd)
