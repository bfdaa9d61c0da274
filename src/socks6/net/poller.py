"""Reports what happens to sockets: an edge-triggered epoll of our own inside the event loop's.

Why not the loop's add_reader and add_writer (measured on 2 cores, Linux 6.18; benchmarks/load):
- uvloop reports an error on a socket once and forgets the socket. A relay that reads only a part of what
  came before the error would never be called again.
- They are level-triggered: whenever a side takes no more bytes, registrations must be changed (2 to 8 µs
  each), and a socket whose end is known but not yet acted upon is spun on. Edge-triggered, a socket is
  registered once (1 µs) and each event is reported once.
- What a registration holds is one dict entry, instead of 300 to 500 bytes in the loop.
"""

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, Protocol

from socks6.net.scratch import Scratch

MAX_EVENTS: Final = 256  # taken from the kernel at a time
MAX_POLLS: Final = 4  # in one turn of the loop, as long as there are events
LONE_EVENTS: Final = 8  # so many turns with a single event end at once, after one that polled again in vain
READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
LAST: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
"""Comes with READABLE when something follows the bytes: the end, an error, an urgent mark."""
INTEREST: Final = READABLE | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET


class EventHandler(Protocol):
    """What acts on the events of a descriptor."""

    def on_events(self, events: int) -> None:
        """Act on what happened. Raises OSError when a connection broke."""

    def go_on(self) -> None:
        """Act after `Poller.later`. Raises OSError when a connection broke."""

    def fail(self, error: Exception) -> None:
        """Record that one of the above raised."""


class Poller:
    """An edge-triggered epoll, served by the running event loop."""

    def __init__(self) -> None:
        self.loop = self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._poll: Callable[[float, int], Sequence[tuple[int, int]]] = self._epoll.poll
        self._handlers: dict[int, EventHandler] = {}
        self._later: list[EventHandler] = []
        self._lone_events = 0
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    @cached_property
    def scratch(self) -> Scratch:
        """What those that copy read into; made when one does."""
        return Scratch()

    def add(self, fd: int, handler: EventHandler) -> None:
        """Report to `handler` what happens to `fd`, and what is the case already: never WRITABLE. Raises OSError.

        A descriptor that has a handler gets another one: what was reported before and still holds is reported again.
        """
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if fd not in self._handlers:
            try:
                self._epoll.register(fd, INTEREST)
            except FileExistsError:
                self._epoll.modify(fd, INTEREST)
        else:
            try:
                self._epoll.modify(fd, INTEREST)
            except FileNotFoundError:  # it was closed without `forget`, and its number is in use again
                self._epoll.register(fd, INTEREST)
        self._handlers[fd] = handler

    def ensure(self, fd: int, handler: EventHandler) -> None:
        """Report to `handler` from now on, as `add` does, unless it is so already. Raises OSError."""
        if self._handlers.get(fd) is not handler:
            self.add(fd, handler)

    def remove(self, fd: int, handler: EventHandler) -> None:
        """Report nothing more of `fd`; to be called before `fd` is closed. Idempotent."""
        if self._handlers.get(fd) is handler:  # else `fd` was closed, and its number is in use again
            del self._handlers[fd]
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def forget(self, fd: int, handler: EventHandler) -> None:
        """Report nothing more of `fd`, which is closed soon: that spares a system call. Idempotent."""
        if self._handlers.get(fd) is handler:
            del self._handlers[fd]

    def add_writable(self, fd: int) -> None:
        """Report also, once, that `fd` takes bytes again. Raises OSError.

        To be asked for when `fd` takes none, not at once: a Unix socket reports room whenever its peer reads,
        which would cost every message a turn (26 µs to and fro instead of 22).
        """
        self._epoll.modify(fd, INTEREST | WRITABLE)

    def later(self, handler: EventHandler) -> None:
        """Call `handler` again after the others had their turn."""
        if not self._later:
            self._loop.call_soon(self._turn)
        self._later.append(handler)

    def close(self) -> None:
        """Free the epoll. Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._poll = _nothing  # also in the turn that this is called in

    def _turn(self) -> None:  # noqa: C901 - split, each event would cost a call more
        unfinished = self._later
        if unfinished:
            self._later = []
        handlers = self._handlers
        alone = False  # whether a single socket had an event
        for _ in range(MAX_POLLS):
            events = self._poll(0, MAX_EVENTS)
            if not events:
                if alone:
                    self._lone_events = LONE_EVENTS
                break
            for fd, happened in events:
                handler = handlers.get(fd)
                if handler is None:  # it was removed in this very turn
                    continue
                try:
                    handler.on_events(happened)
                except Exception as error:  # noqa: BLE001 - the fault of one must not cost the others their events
                    handler.fail(error)
            if not handlers:  # nothing is left that could happen
                break
            alone = len(events) == 1
            if alone and self._lone_events:
                self._lone_events -= 1
                break
        for handler in unfinished if unfinished and not self._epoll.closed else ():
            try:
                handler.go_on()
            except Exception as error:  # noqa: BLE001 - as above
                handler.fail(error)


def _nothing(timeout: float, most: int) -> Sequence[tuple[int, int]]:  # noqa: ARG001 - as `epoll.poll`
    return ()
