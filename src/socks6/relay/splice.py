"""Joining two sockets in the kernel: bulk goes from one to the other without entering this process.

Small pieces go by plain recv and send, which costs less for them and needs no pipe. A direction turns to
splicing when a piece fills its buffer, and back when pieces are small again.
"""

import asyncio
import errno
import os
import select
import socket
from typing import Final

from socks6.relay.pipes import Pipe, Pipes
from socks6.relay.poller import LAST, WRITABLE, Poller
from socks6.telemetry import Ending

# CPU time on 2 cores, Linux 6.18 (benchmarks/load, suites bulk and messages). Bulk: 0.21 s/GB spliced, 0.75
# copied, 2.9 in microsocks. Messages to and fro: 20 µs copied, as in microsocks, 25 spliced.
PIECE: Final = 65536  # what recv takes at a time, and is held at most for a side that takes nothing. Messages
# a little longer cost twice as much (with 16 KiB: 41 µs for 20 kB, not 23); from 128 KiB on malloc maps memory
SMALL: Final = 16384  # a shorter transfer ends splicing; from here on it costs no more than copying
TRANSFER: Final = 1 << 20  # what one splice asks for
ROUNDS: Final = 4  # pieces or transfers moved before it is others' turn; 1 to 16 cost the same
NOTHING: Final = -1
FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class SendingFailed(OSError):
    """The side that bytes go to broke, not the one that they come from."""


class Kernel:
    """What all splices of one event loop share."""

    def __init__(self, most_pipes: int) -> None:
        self.poller: Final = Poller()
        self.pipes: Final = Pipes(most_pipes)

    def close(self) -> None:
        """Free it. Idempotent."""
        self.poller.close()
        self.pipes.close()


class Splice:
    """Two joined sockets. Both must not block, and belong to the caller, who closes them after `stop`."""

    __slots__ = (
        "done", "down", "ending", "kernel", "quiet_since", "reason", "seen", "splicing", "thorough", "up",
    )  # fmt: skip

    def __init__(self, client: socket.socket, remote: socket.socket, kernel: Kernel) -> None:
        self.kernel = kernel
        self.up = Direction(self, client, remote)
        self.down = Direction(self, remote, client)
        self.up.back, self.down.back = self.down, self.up
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ending = Ending.STOPPED
        self.reason = ""
        self.splicing = True
        # TCP alone is known to give a short piece only when it has no more
        self.thorough = not (client.proto == remote.proto == socket.IPPROTO_TCP)
        self.seen = 0
        self.quiet_since = 0.0

    def run(self, first: bytes) -> asyncio.Future[None]:
        """Begin; `first` goes to the remote before anything else. The result is there when all has ended."""
        try:
            for direction in (self.up, self.down):
                self.kernel.poller.add(direction.source_fd, direction)
            if first:
                self.up.put(first)
        except OSError as error:
            self.up.fail(error)
        return self.done

    def stop(self) -> None:
        """Touch the sockets no more. Idempotent."""
        for direction in (self.up, self.down):
            self.kernel.poller.remove(direction.source_fd, direction)
            direction.drop()

    def end(self, ending: Ending, reason: str = "") -> None:
        """Say how it ended; the first word counts."""
        if not self.done.done():
            self.ending = ending
            self.reason = reason
            self.done.set_result(None)
            self.stop()

    def activity(self) -> int:
        """See Watched."""
        return self.up.count + self.down.count + self.up.ended + self.down.ended

    def half_closed(self) -> bool:
        """See Watched."""
        return self.up.ended or self.down.ended

    def expire(self, reason: str) -> None:
        """See Watched."""
        self.end(Ending.IDLE, reason)


class Direction:
    """The way from one socket, the source, to the other, the sink. A Pump for what happens to its source."""

    __slots__ = (
        "back", "bulk", "count", "ended", "joined", "pipe", "piped", "rest", "sink", "source", "source_fd",
        "waiting",
    )  # fmt: skip

    back: "Direction"  # the other way

    def __init__(self, joined: Splice, source: socket.socket, sink: socket.socket) -> None:
        self.joined = joined
        self.source = source
        self.source_fd = source.fileno()
        self.sink = sink
        self.count = 0  # bytes that the sink took
        self.rest: bytes | None = None  # what it did not take yet
        self.pipe: Pipe | None = None  # the same, of spliced bytes
        self.piped = 0
        self.bulk = False
        self.waiting = False  # for another turn
        self.ended = False

    def on_events(self, events: int) -> None:
        """See Pump. What happened to our source is what happened to the other way's sink."""
        back = self.back
        if events & WRITABLE and (back.rest is not None or back.pipe is not None):
            try:
                back.resume()
            except OSError as error:
                back.fail(error)
                return
        if self.ended or self.rest is not None or self.pipe is not None:
            if events & select.EPOLLERR:
                self._raise_error()
        elif events & ~WRITABLE and not self.waiting:
            self._move(to_the_end=self.joined.thorough or bool(events & LAST))

    def go_on(self) -> None:
        """See Pump."""
        self.waiting = False
        if not self.joined.done.done():
            self._move(to_the_end=True)

    def fail(self, error: Exception) -> None:
        """See Pump."""
        if isinstance(error, OSError):
            broken = self.back if isinstance(error, SendingFailed) else self
            side = "client" if broken is self.joined.up else "remote"
            self.joined.end(Ending.RESET, f"{side}: {error.strerror}")
        else:
            self.joined.end(Ending.ERROR, repr(error))

    def resume(self) -> None:
        """Go on after the sink took nothing."""
        if self.rest is not None:
            self.put(self.rest)
        elif self.pipe is not None:
            self._empty(self.pipe)
        if self.rest is None and self.pipe is None:
            self._move(to_the_end=True)

    def put(self, data: bytes) -> None:
        """Send to the sink, keep what it does not take."""
        try:
            sent = self.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise SendingFailed(error.errno, error.strerror) from error
        self.count += sent
        if sent == len(data):
            self.rest = None
        else:
            self.rest = data[sent:]
            self._wait_for_sink()

    def drop(self) -> None:
        """Forget what the sink did not take."""
        self.rest = None
        if self.pipe is not None:
            self.joined.kernel.pipes.discard(self.pipe)
            self.pipe = None

    def _move(self, *, to_the_end: bool) -> None:
        """Move bytes until the source has none, the sink takes none, or it is others' turn.

        A piece shorter than asked for was the last one, unless `to_the_end`: then something follows it, or
        nobody told us what does.
        """
        for _ in range(ROUNDS):
            size = self._transfer() if self.bulk else self._copy()
            if size <= 0:
                if size == 0:
                    self._finish()
                return
            if self.rest is not None or self.pipe is not None:
                return
            if self.bulk:
                self.bulk = size >= SMALL  # a transfer can be short because the pipe has no more slots
            elif size == PIECE:
                self.bulk = self.joined.splicing
            elif not to_the_end:
                return
        self.waiting = True
        self.joined.kernel.poller.later(self)

    def _copy(self) -> int:
        """Move one piece through this process; return its size, 0 at the end of the stream, or NOTHING."""
        try:
            data = self.source.recv(PIECE)
        except BlockingIOError:
            return NOTHING
        if data:
            self.put(data)
        return len(data)

    def _transfer(self) -> int:
        """Move what there is through a pipe; return its size, 0 at the end of the stream, or NOTHING."""
        pipe = self.joined.kernel.pipes.take()
        if pipe is None:
            return self._copy()
        try:
            size = os.splice(self.source_fd, pipe.write_end, TRANSFER, flags=FLAGS)
        except BlockingIOError:
            size = NOTHING
        except OSError as error:
            self.joined.kernel.pipes.give(pipe)
            if error.errno != errno.EINVAL:
                raise
            self.joined.splicing = self.bulk = False  # a kind of socket that the kernel cannot splice from
            return self._copy()
        if size <= 0:
            self.joined.kernel.pipes.give(pipe)
        else:
            self.pipe, self.piped = pipe, size
            self._empty(pipe)
        return size

    def _empty(self, pipe: Pipe) -> None:
        """Move what the sink takes out of the pipe; give it back once it is empty."""
        while self.piped:
            try:
                size = os.splice(pipe.read_end, self.back.source_fd, self.piped, flags=FLAGS)
            except BlockingIOError:
                self._wait_for_sink()
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise SendingFailed(error.errno, error.strerror) from error
                self._empty_by_hand(pipe)  # a kind of socket that the kernel cannot splice to
                return
            self.piped -= size
            self.count += size
        self.pipe = None
        self.joined.kernel.pipes.give(pipe)

    def _empty_by_hand(self, pipe: Pipe) -> None:
        data = b""
        while len(data) < self.piped:
            data += os.read(pipe.read_end, self.piped)
        self.pipe, self.piped = None, 0
        self.joined.kernel.pipes.give(pipe)
        self.joined.splicing = self.bulk = False
        self.put(data)

    def _finish(self) -> None:
        """Pass the end of the stream on."""
        self.ended = True
        if self.back.ended:
            self.joined.end(Ending.DONE)  # closing the sockets tells the sink, too
            return
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise SendingFailed(error.errno, error.strerror) from error

    def _wait_for_sink(self) -> None:
        self.joined.kernel.poller.add_writable(self.back.source_fd)

    def _raise_error(self) -> None:
        """Raise what befell the source while we do not read from it."""
        if error := self.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
