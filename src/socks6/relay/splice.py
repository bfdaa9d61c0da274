"""Joining two sockets in the kernel: bulk goes from one to the other without entering this process.

Small pieces go by plain recv and send, which costs less for them and needs no pipe. A direction turns to
splicing when a piece fills its buffer, and back when pieces are small again.

A direction ends when its source has ended, or when its sink takes no more. Then the other one goes on: a host that
refuses an upload and resets has mostly said why (RFC 9112 §9.5), and that is in our socket's buffer still. What the
source of a direction without a sink goes on sending is dropped.
"""

import asyncio
import errno
import os
import select
import socket
from typing import Final

from socks6.net.sockets import breaks_receiving
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

    def broke(self, source: "Direction", error: OSError) -> None:
        """Note that the side which is the source of this direction broke; the first word counts."""
        side = "client" if source is self.up else "remote"
        self.reason = self.reason or f"{side}: {error.strerror}"

    def settle(self) -> None:
        """Be done if both directions are."""
        if self.up.ended and self.down.ended:
            self.end(Ending.RESET if self.reason else Ending.DONE)

    def end(self, ending: Ending, reason: str = "") -> None:
        """Say how it ended; the first word counts."""
        if not self.done.done():
            self.ending = ending
            self.reason = self.reason or reason
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
        self.end(Ending.RESET if self.reason else Ending.IDLE, reason)


class Direction:
    """The way from one socket, the source, to the other, the sink. A Pump for what happens to its source."""

    __slots__ = (
        "back", "bulk", "clean", "count", "dropping", "ended", "failure", "joined", "pipe", "piped", "rest", "sink",
        "source", "source_fd", "waiting",
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
        self.ended = False  # nothing more goes this way
        self.clean = False  # and the sink was told: the source had said all it had to say
        self.dropping = False  # the sink is gone, what the source sends is dropped
        self.failure: OSError | None = (
            None  # how the source broke, when something else than reading told of it
        )

    @property
    def held(self) -> bool:
        """Whether bytes wait for the sink."""
        return self.rest is not None or self.pipe is not None

    def on_events(self, events: int) -> None:
        """See Pump. What happened to our source is what happened to the other way's sink."""
        back = self.back
        if events & WRITABLE and back.held:
            try:
                back.resume()
            except OSError as error:
                back.fail(error)
        if self.joined.done.done():
            return
        if not self._reading:
            if events & select.EPOLLERR:
                self._take_error()
        elif events & ~WRITABLE and not self.waiting:
            self._move(to_the_end=self.joined.thorough or bool(events & LAST))

    def go_on(self) -> None:
        """See Pump."""
        self.waiting = False
        if self._reading and not self.joined.done.done():
            self._move(to_the_end=True)

    def fail(self, error: Exception) -> None:
        """See Pump."""
        if isinstance(error, SendingFailed):
            self.sink_broke(error)
        elif isinstance(error, OSError):
            self._source_broke(error)
        else:
            self.joined.end(Ending.ERROR, repr(error))

    def sink_broke(self, error: OSError) -> None:
        """End this way, and have what the sink said before it broke still be read and passed on."""
        back = self.back
        self.joined.broke(back, error)
        if breaks_receiving(error):
            back.failure = back.failure or error
        self.drop()
        self.bulk = self.clean = False
        self.ended = self.dropping = True
        self.joined.settle()
        for way in (self, back):
            way.look_again()  # edges that were told already are not told again

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
        if self.dropping:
            return
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
                self.bulk = self.joined.splicing and not self.dropping
            elif not to_the_end:
                return
        self.look_again()

    @property
    def _reading(self) -> bool:
        """Whether the source is to be read as soon as it has something."""
        return not self.held and (self.dropping or not self.ended)

    def look_again(self) -> None:
        """Read the source when the others had their turn."""
        if not self.waiting and not self.joined.done.done():
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
        if self.failure is not None:
            self._source_broke(self.failure)
            return
        if self.dropping:
            return
        self.ended = self.clean = True
        if not self.back.clean:  # else closing the sockets tells the sink
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise SendingFailed(error.errno, error.strerror) from error
        self.joined.settle()

    def _source_broke(self, error: OSError) -> None:
        """End both ways: all that the source had sent is with the sink, and nothing reaches the source any more."""
        self.joined.broke(self, error)
        self.ended = self.back.ended = True
        self.back.drop()
        self.joined.settle()

    def _wait_for_sink(self) -> None:
        self.joined.kernel.poller.add_writable(self.back.source_fd)

    def _take_error(self) -> None:
        """Act upon what befell the source while we do not read from it: the other way cannot send to it."""
        if number := self.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.back.sink_broke(OSError(number, os.strerror(number)))
