"""Joining two ends by copying, told by the relay's epoll: for streams that the kernel cannot join, as TLS.

Unlike `relay.copy`, no task is woken for a piece, and a side that resets is noticed also while the other one
takes nothing. How a direction ends, and what then becomes of the other, `relay.splice` says.
"""

import asyncio
import os
import select
import socket
from typing import Final

from socks6.relay.endpoints import RelayEndpoint
from socks6.relay.poller import LAST, WRITABLE, Poller
from socks6.relay.splice import SendingFailed
from socks6.telemetry import Ending

PIECE: Final = 65536  # see net.transports.tls
ROUNDS: Final = 4  # pieces moved before it is others' turn


class Pumped:
    """Two joined ends. Their sockets must not block, and are closed by the caller after `stop`."""

    __slots__ = ("_poller", "done", "down", "ending", "quiet_since", "reason", "seen", "up")

    def __init__(self, client: RelayEndpoint, remote: RelayEndpoint, poller: Poller) -> None:
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

    def broke(self, source: "Flow", error: OSError) -> None:
        """Note that the side which is the source of this flow broke; the first word counts."""
        side = "client" if source is self.up else "remote"
        self.reason = self.reason or f"{side}: {error.strerror or error}"

    def settle(self) -> None:
        """Be done if both flows are."""
        if self.up.over and self.down.over:
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


class Flow:
    """The way from one end, the source, to the other, the sink. A Pump for what happens to its source."""

    __slots__ = (
        "_dropping", "_joined", "_poller", "_waiting", "back", "clean", "count", "ended", "fd", "held", "sink", "source",
    )  # fmt: skip

    back: "Flow"  # the other way

    def __init__(self, joined: Pumped, source: RelayEndpoint, sink: RelayEndpoint, poller: Poller) -> None:
        self._joined = joined
        self._poller = poller
        self._waiting = False  # for another turn
        self.source = source
        self.fd = source.socket.fileno()
        self.sink = sink
        self.count = 0  # bytes that the sink's socket took
        self.held = -1  # bytes of a piece that it did not take wholly yet; -1 for no such piece
        self.ended = False  # nothing more is read to be passed on
        self.clean = False  # and that is because the source has said all it had to say
        self._dropping = False  # the sink is gone, what the source sends is dropped

    @property
    def over(self) -> bool:
        """Whether nothing more goes this way."""
        return self.ended and self.held < 0

    def begin(self) -> None:
        """Have a look at the source soon: it may hold bytes that no socket tells of."""
        if not self._waiting and not self._joined.done.done():
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
        if self._joined.done.done():
            return
        if not self._reading:
            if events & select.EPOLLERR:
                self._take_error()
        elif events & ~WRITABLE and not self._waiting:
            self._move(to_the_end=bool(events & LAST))

    def go_on(self) -> None:
        """See Pump."""
        self._waiting = False
        if self._reading and not self._joined.done.done():
            self._move()

    def fail(self, error: Exception) -> None:
        """See Pump."""
        if isinstance(error, SendingFailed):
            self.sink_broke(error)
        elif isinstance(error, OSError):
            self._source_broke(error)
        else:
            self._joined.end(Ending.ERROR, repr(error))

    def sink_broke(self, error: OSError) -> None:
        """End this flow, and have what the sink said before it broke still be read and passed on."""
        back = self.back
        self._joined.broke(back, error)
        self.sink.broke(error)
        self.held = -1
        self.clean = False
        self.ended = self._dropping = True
        self._joined.settle()
        for flow in (self, back):
            flow.begin()  # edges that were told already are not told again

    def put(self, data: bytes) -> None:
        """Send to the sink."""
        if self._dropping:
            return
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
            self._joined.settle()
        else:
            self._move()

    def _move(self, *, to_the_end: bool = True) -> None:
        """Move pieces until the source has none, the sink takes none, or it is others' turn.

        Unless `to_the_end`, a source that ran dry is not asked once more: nothing follows, or it will be told.
        """
        for _ in range(ROUNDS):
            data = self.source.receive(PIECE)
            if data is None:
                if self.source.drained:
                    return
                continue  # what came made no byte, and there is more
            if not data:
                self._finish()
                return
            self.put(data)
            if self.held >= 0 or (self.source.drained and not to_the_end):
                return
        self.begin()

    def _finish(self) -> None:
        """Pass the end of the stream on."""
        if self._dropping:
            return
        self.ended = self.clean = True
        try:
            taken = self.sink.end()
        except OSError as error:
            raise _sending_failed(error) from error
        if taken:
            self._joined.settle()
        else:
            self._hold(0)

    @property
    def _reading(self) -> bool:
        """Whether the source is to be read as soon as it has something."""
        return self.held < 0 and (self._dropping or not self.ended)

    def _source_broke(self, error: OSError) -> None:
        """End both flows: all that the source had sent is with the sink, and nothing reaches the source any more."""
        self._joined.broke(self, error)
        self.ended = self.back.ended = True
        self.held = self.back.held = -1
        self._joined.settle()

    def _hold(self, size: int) -> None:
        self.held = size
        self._poller.add_writable(self.back.fd)

    def _take_error(self) -> None:
        """Act upon what befell the source while we do not read from it: the other flow cannot send to it."""
        if number := self.source.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.back.sink_broke(OSError(number, os.strerror(number)))


def _sending_failed(error: OSError) -> SendingFailed:
    return SendingFailed(error.errno, error.strerror or str(error))
