"""Joining two ends by copying, told by the relay's epoll: for streams that the kernel cannot join, as TLS.

Unlike `relay.copy`, no task is woken for a piece, and a side that resets is noticed also while the other one
takes nothing.
"""

import asyncio
import os
import select
import socket
from typing import Final

from socks6.relay.ends import End
from socks6.relay.poller import LAST, WRITABLE, Poller
from socks6.relay.splice import SendingFailed
from socks6.telemetry import Ending

PIECE: Final = 65536  # see net.transports.tls
ROUNDS: Final = 4  # pieces moved before it is others' turn


class Pumped:
    """Two joined ends. Their sockets must not block, and are closed by the caller after `stop`."""

    __slots__ = ("_poller", "done", "down", "ending", "quiet_since", "reason", "seen", "up")

    def __init__(self, client: End, remote: End, poller: Poller) -> None:
        self._poller = poller
        self.up = Flow(self, client, remote, poller)
        self.down = Flow(self, remote, client, poller)
        self.up.back, self.down.back = self.down, self.up
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ending = Ending.STOPPED
        self.reason = ""
        self.seen = 0
        self.quiet_since = 0.0

    def run(self, first: bytes) -> asyncio.Future[None]:
        """Begin; `first` goes to the remote before anything else. The result is there when all has ended."""
        try:
            for flow in (self.up, self.down):
                self._poller.add(flow.fd, flow)
                flow.begin()
            if first:
                self.up.put(first)
        except OSError as error:
            self.up.fail(error)
        return self.done

    def stop(self) -> None:
        """Touch the ends no more. Idempotent."""
        for flow in (self.up, self.down):
            self._poller.remove(flow.fd, flow)

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


class Flow:
    """The way from one end, the source, to the other, the sink. A Pump for what happens to its source."""

    __slots__ = ("_joined", "_poller", "_waiting", "back", "count", "ended", "fd", "held", "sink", "source")

    back: "Flow"  # the other way

    def __init__(self, joined: Pumped, source: End, sink: End, poller: Poller) -> None:
        self._joined = joined
        self._poller = poller
        self._waiting = False  # for another turn
        self.source = source
        self.fd = source.socket.fileno()
        self.sink = sink
        self.count = 0  # bytes that the sink's socket took
        self.held = -1  # bytes of a piece that it did not take wholly yet; -1 for no such piece
        self.ended = False

    def begin(self) -> None:
        """Have a look at the source soon: it may hold bytes that no socket tells of."""
        self._waiting = True
        self._poller.later(self)

    def on_events(self, events: int) -> None:
        """See Pump. What happened to our source is what happened to the other way's sink."""
        back = self.back
        if events & WRITABLE and back.held >= 0:
            try:
                back.resume()
            except OSError as error:
                back.fail(error)
                return
        if self.ended or self.held >= 0:
            if events & select.EPOLLERR:
                self._raise_error()
        elif events & ~WRITABLE and not self._waiting:
            self._move(to_the_end=bool(events & LAST))

    def go_on(self) -> None:
        """See Pump."""
        self._waiting = False
        if not self._joined.done.done() and self.held < 0 and not self.ended:
            self._move()

    def fail(self, error: Exception) -> None:
        """See Pump."""
        if isinstance(error, OSError):
            broken = self.back if isinstance(error, SendingFailed) else self
            side = "client" if broken is self._joined.up else "remote"
            self._joined.end(Ending.RESET, f"{side}: {error.strerror or error}")
        else:
            self._joined.end(Ending.ERROR, repr(error))

    def put(self, data: bytes) -> None:
        """Send to the sink."""
        try:
            taken = self.sink.put(data)
        except OSError as error:
            raise _sending_failed(error) from error
        if taken:
            self.count += len(data)
        else:
            self._hold(len(data))

    def resume(self) -> None:
        """Go on after the sink took nothing."""
        try:
            if not self.sink.flush():
                return
        except OSError as error:
            raise _sending_failed(error) from error
        self.count += self.held
        self.held = -1
        if self.ended:
            self._settle()
        else:
            self._move()

    def _move(self, *, to_the_end: bool = True) -> None:
        """Move pieces until the source has none, the sink takes none, or it is others' turn.

        Unless `to_the_end`, a source that ran dry is not asked once more: nothing follows, or it will be told.
        """
        for _ in range(ROUNDS):
            data = self.source.receive(PIECE)
            if data is None:
                if self.source.dry:
                    return
                continue  # what came made no byte, and there is more
            if not data:
                self._finish()
                return
            self.put(data)
            if self.held >= 0 or (self.source.dry and not to_the_end):
                return
        self.begin()

    def _finish(self) -> None:
        """Pass the end of the stream on."""
        self.ended = True
        try:
            taken = self.sink.end()
        except OSError as error:
            raise _sending_failed(error) from error
        if taken:
            self._settle()
        else:
            self._hold(0)

    def _settle(self) -> None:
        """Be done if both ways are."""
        if self.back.ended and self.back.held < 0:
            self._joined.end(Ending.DONE)

    def _hold(self, size: int) -> None:
        self.held = size
        self._poller.add_writable(self.back.fd)

    def _raise_error(self) -> None:
        """Raise what befell the source while we do not read from it."""
        if error := self.source.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))


def _sending_failed(error: OSError) -> SendingFailed:
    return SendingFailed(error.errno, error.strerror or str(error))
