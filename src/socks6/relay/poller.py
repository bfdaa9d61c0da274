"""Tells the pumps what happened to their sockets: an epoll of our own inside the event loop's.

Why not the loop's add_reader and add_writer (measured on 2 cores, Linux 6.18; benchmarks/load):
- uvloop tells once of an error on a socket and forgets the socket. A pump that reads only a part of what
  came before the error would never be called again.
- They are level-triggered: whenever a side takes no more bytes, registrations must be changed (2 to 8 µs
  each), and a socket whose end is known but not yet acted upon is spun on. Edge-triggered, a socket is
  registered once (1 µs) and each thing is told once.
- What a registration holds is one dict entry, instead of 300 to 500 bytes in the loop.
"""

import asyncio
import contextlib
import errno
import os
import select
from typing import Final, Protocol

EVENTS: Final = 256  # taken from the kernel at a time
READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
LAST: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
"""Comes with READABLE when something follows the bytes: the end, an error, an urgent mark."""
INTEREST: Final = READABLE | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET


class Pump(Protocol):
    """Who is told."""

    def on_events(self, events: int) -> None:
        """Act on what happened. Raises OSError when a connection broke."""

    def go_on(self) -> None:
        """Act after `Poller.later`. Raises OSError when a connection broke."""

    def fail(self, error: Exception) -> None:
        """Take note that one of the above raised."""


class Poller:
    """An edge-triggered epoll, served by the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._pumps: dict[int, Pump] = {}
        self._later: list[Pump] = []
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def add(self, fd: int, pump: Pump) -> None:
        """Tell `pump` what happens to `fd`, and what is the case already: never WRITABLE. Raises OSError."""
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._epoll.register(fd, INTEREST)
        self._pumps[fd] = pump

    def remove(self, fd: int, pump: Pump) -> None:
        """Tell `pump` nothing more of `fd`; to be called before `fd` is closed. Idempotent."""
        if self._pumps.get(fd) is pump:  # not so when somebody closed `fd`, and its number is in use again
            del self._pumps[fd]
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def add_writable(self, fd: int) -> None:
        """Tell also, once `fd` takes bytes again. Raises OSError.

        To be asked for when `fd` takes none, not at once: a Unix socket tells of room whenever its peer reads,
        which would cost every message a turn (26 µs to and fro instead of 22).
        """
        self._epoll.modify(fd, INTEREST | WRITABLE)

    def later(self, pump: Pump) -> None:
        """Have `pump` go on when the others had their turn."""
        if not self._later:
            self._loop.call_soon(self._turn)
        self._later.append(pump)

    def close(self) -> None:
        """Free the epoll. Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _turn(self) -> None:
        if self._epoll.closed:
            return
        unfinished, self._later = self._later, []
        for fd, events in self._epoll.poll(0, EVENTS):
            pump = self._pumps.get(fd)
            if pump is None:  # its relay ended in this very turn
                continue
            try:
                pump.on_events(events)
            except Exception as error:  # noqa: BLE001 - one relay's fault must not cost the others their events
                pump.fail(error)
        for pump in unfinished:
            try:
                pump.go_on()
            except Exception as error:  # noqa: BLE001
                pump.fail(error)
