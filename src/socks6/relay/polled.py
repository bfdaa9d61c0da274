"""Directions whose sources are sockets watched by the relay's epoll: what `splice` and `pump` have in common."""

import contextlib
import os
import select
import socket
from abc import ABC, abstractmethod
from typing import Final

from socks6.compat import override
from socks6.net.eager import Signal
from socks6.net.poller import LAST, WRITABLE, Poller
from socks6.net.sockets import breaks_receiving, tune
from socks6.relay.joined import (
    DROPPING,
    FINISHED,
    FINISHING,
    FLOWING,
    Direction,
    JoinedStreams,
    SendingFailed,
)

PIECE_BYTES: Final = 65536  # read at a time, and held at most for a sink that takes nothing. Messages
# a little longer cost twice as much (with 16 KiB: 41 µs for 20 kB, not 23); from 128 KiB on malloc maps memory
LONE_BYTES: Final = (
    536  # fit into any TCP segment (RFC 9293, section 3.7.1): sent first, they are never delayed
)
PIECES_PER_TURN: Final = 4  # then others have their turn; 1 to 16 cost the same


class PolledDirection(Direction, ABC):
    """Handles the events of its source's socket, some of which are for the other direction, whose sink it is."""

    __slots__ = ("failure", "held", "left", "poller", "scheduled", "source_fd", "source_socket", "untuned")

    reverse: "PolledDirection"

    source_socket: socket.socket

    def __init__(self, source_socket: socket.socket | None, poller: Poller) -> None:
        """Without a socket, something else calls `on_events`."""
        super().__init__()
        self.poller = poller
        self.source_fd = -1
        if source_socket is not None:
            self.source_socket = source_socket
            self.source_fd = source_socket.fileno()
        self.held = False  # whether bytes wait for the sink
        self.left = False  # nothing more is to be done
        self.scheduled = False  # whether `go_on` is due
        self.untuned: socket.socket | None = (
            None  # the sink's, for a connection that may be over before it matters
        )
        self.failure: OSError | None = None  # how the source broke, as far as sending to it has shown

    def watch(self) -> None:
        """Begin to handle events, those too that came before. Raises OSError."""
        self.poller.add(self.source_fd, self)

    def on_events(self, events: int) -> None:
        """See EventHandler. What happened to the source happened to the other direction's sink."""
        joined, reverse = self.joined, self.reverse
        if reverse.held and events & WRITABLE:
            try:
                reverse.resume()
            except OSError as error:
                reverse.fail(error)
        if joined.over:
            return
        if not self.reads:
            if events & select.EPOLLERR:
                self.take_error()
        elif events & ~WRITABLE and not self.scheduled:
            self.move(drain=bool(events & LAST))

    def go_on(self) -> None:
        self.scheduled = False
        if self.reads and not self.left:
            self.move(drain=True)

    @property
    def reads(self) -> bool:
        """Whether the source is to be read as soon as it has something."""
        return not self.held and (self.state is FLOWING or self.state is DROPPING)

    def finish(self) -> None:
        """Pass the end of the source's stream on. Raises SendingFailed."""
        if self.failure is not None:
            self.source_broke(self.failure)
        elif self.state is FLOWING:
            self.state = FINISHING
            try:
                passed_on = self.end_sink()
            except OSError as error:
                raise SendingFailed.by(error) from error
            if passed_on:
                self.finished()

    def finished(self) -> None:
        """Record that the sink has everything."""
        self.state = FINISHED
        self.joined.settle()

    @override
    def source_failed(self, error: OSError) -> None:
        if self.failure is None and breaks_receiving(error):
            self.failure = error

    @override
    def wake(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.poller.later(self)

    @override
    def leave(self) -> None:
        self.left = True
        self.poller.forget(self.source_fd, self)  # the relay's caller closes it
        if self.state is not FINISHED:
            self.discard()

    def take_error(self) -> None:
        """Act upon an error of the source that is not read now: the other direction cannot send to it."""
        if number := self.source_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.reverse.sink_broke(OSError(number, os.strerror(number)))

    def tune_sink(self) -> None:
        """Set what a sink needs that was connected without: keep-alive, and no delay of small pieces."""
        if self.untuned is not None:
            sink, self.untuned = self.untuned, None
            with contextlib.suppress(OSError):  # it is gone
                tune(sink)

    # What a mover does in its own way. Each may raise OSError, or SendingFailed where it is the sink that broke.

    @abstractmethod
    def put(self, data: bytes) -> None:
        """Send to the sink; hold what it does not take."""

    @abstractmethod
    def move(self, *, drain: bool) -> None:
        """Move bytes until the source has none, the sink takes none, or others have their turn.

        Unless `drain`, a piece shorter than asked for was the last: whatever follows is reported.
        """

    @abstractmethod
    def resume(self) -> None:
        """Go on after the sink took nothing."""

    @abstractmethod
    def end_sink(self) -> bool:
        """End the sink's stream; return whether it has everything, else hold."""


class PolledStreams(JoinedStreams):
    """A relay whose directions are both driven by events of their sockets, which must not block."""

    __slots__ = ()

    up: PolledDirection
    down: PolledDirection

    @override
    def lasts(self) -> None:
        self.up.tune_sink()

    def start(self, first: bytes = b"") -> None:
        """Begin; `first` goes to the remote before anything else. `end_with` says what follows the end."""
        try:
            self.up.watch()
            self.down.watch()
            if first:
                if self.up.meter is not None:
                    self.up.meter.spend(len(first))
                self.up.put(first)
        except OSError as error:
            self.up.fail(error)

    @override
    async def run(self, first: bytes) -> None:
        over = Signal(self.up.poller.loop)
        self.end_with(over.set)
        self.start(first)
        del first
        await over
