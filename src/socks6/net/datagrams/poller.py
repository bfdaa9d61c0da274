"""Calls readers of datagram sockets: an epoll of our own inside the event loop's, level-triggered.

Why not the loop's add_reader: uvloop reports an error on a socket once and forgets the socket, and errors are
frequent on sockets that collect ICMP errors. And what came to many sockets in one turn can be sent
with one system call (`on_turn_end`).
"""

import asyncio
import contextlib
import select
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

EVENTS: Final = 256  # taken from the kernel at a time
READABLE: Final = 1  # EPOLLIN
FAILED: Final = 8  # EPOLLERR: an error waits, perhaps in the socket's error queue

ReadyCallback: TypeAlias = Callable[[int, int], None]  # is called with a descriptor and epoll's events
ItemT = TypeVar("ItemT")


class DatagramPoller:
    """Watches descriptors for readers, on the running event loop."""

    def __init__(
        self, on_fault: Callable[[Exception], None], *, own_epoll: bool = hasattr(select, "epoll")
    ) -> None:
        """`on_fault` is called with what a reader raised; the other readers go on.

        Without an epoll of its own, on other systems than Linux, the loop's `add_reader` has to do.
        """
        self._loop = asyncio.get_running_loop()
        self._on_fault = on_fault
        self._epoll = select.epoll() if own_epoll else None
        self._readers: dict[int, ReadyCallback] = {}
        self._collected: dict[int, tuple[list[object], object]] = {}
        self._each_turn: list[Callable[[], None]] = []
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._turn)

    def add(self, fd: int, reader: ReadyCallback) -> None:
        """Call `reader` whenever there is something to read from `fd`. Raises OSError."""
        if self._epoll is None:
            self._loop.add_reader(fd, self._readable, fd)
        else:
            self._epoll.register(fd, READABLE)
        self._readers[fd] = reader

    def collect(self, fd: int, ready: list[ItemT], item: ItemT, reader: ReadyCallback) -> None:
        """Append `item` to `ready` whenever there is something to read, and call `reader` for other events.

        Of a hundred sockets with something to read, each costs a third of what a call would. Raises OSError.
        """
        self.add(fd, reader)
        self._collected[fd] = ready, item  # type: ignore[assignment] # `item` is of the kind that `ready` holds

    def on_turn_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end of each turn in which something was readable."""
        self._each_turn.append(callback)

    def remove(self, fd: int) -> None:
        """Watch `fd` no longer; to be called before it is closed. Idempotent."""
        self._collected.pop(fd, None)
        if self._readers.pop(fd, None) is None:
            return
        if self._epoll is None:
            self._loop.remove_reader(fd)
        elif not self._epoll.closed:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more. Idempotent."""
        for fd in list(self._readers):
            self.remove(fd)
        if self._epoll is not None and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _turn(self) -> None:
        if self._epoll is None or self._epoll.closed:
            return
        collected = self._collected
        for fd, events in self._epoll.poll(0, EVENTS):
            if events == READABLE and (found := collected.get(fd)) is not None:
                found[0].append(found[1])
                continue
            reader = self._readers.get(fd)
            if reader is not None:  # else it was closed in this very turn
                self._guard(reader, fd, events)
        self._finish()

    def _readable(self, fd: int) -> None:
        self._guard(self._readers[fd], fd, READABLE)
        self._finish()

    def _finish(self) -> None:
        for callback in self._each_turn:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - as below
                self._on_fault(error)

    def _guard(self, reader: ReadyCallback, fd: int, events: int) -> None:
        try:
            reader(fd, events)
        except Exception as error:  # noqa: BLE001 - one reader's fault must not cost the others their turn
            self._on_fault(error)
