"""What takes the datagrams of an association: a receiver, or a queue for callers of `receive`."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from socks6.compat import override
from socks6.errors import DatagramFailed, Socks6Error
from socks6.net.stream import Endpoint

MAX_QUEUED_DATAGRAMS: Final = 4096  # datagrams and errors that wait; beyond, the oldest are dropped
MAX_QUEUED_BYTES: Final = 4 << 20

ReceivedDatagram: TypeAlias = tuple[bytes, Endpoint]  # data, and where they came from


class DatagramReceiver(Protocol):
    """Takes what an association brings."""

    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        """Take datagrams, each with the address and port that it came from."""

    def error_received(self, error: DatagramFailed) -> None:
        """Record an ICMP error."""

    def ended(self, error: Socks6Error) -> None:
        """Record that nothing more comes, and why."""


class ReceiveQueue(DatagramReceiver):
    """Keeps datagrams, up to a number and a size, until they are received; the oldest are dropped first."""

    def __init__(self) -> None:
        self._items: deque[ReceivedDatagram | DatagramFailed] = deque()
        self._size = 0
        self._end: Socks6Error | None = None
        self._news = asyncio.Event()
        self.dropped = 0

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        for packet in packets:
            self._size += len(packet[0])
            self._add(packet)

    @override
    def error_received(self, error: DatagramFailed) -> None:
        self._add(error)

    @override
    def ended(self, error: Socks6Error) -> None:
        self._end = error
        self._news.set()

    async def receive(self) -> ReceivedDatagram:
        """Return the next datagram and its source. Raises DatagramFailed; what it ended by, once all is taken."""
        while not self._items:
            if self._end is not None:
                raise self._end.with_traceback(None)  # or it would grow with each call
            self._news.clear()
            await self._news.wait()
        return self._taken()

    def drain_to(self, receiver: DatagramReceiver) -> None:
        """Give all that is here, the end included, to another receiver."""
        while self._items:
            try:
                receiver.datagrams_received([self._taken()])
            except DatagramFailed as error:
                receiver.error_received(error)
        if self._end is not None:
            receiver.ended(self._end)

    def _add(self, item: ReceivedDatagram | DatagramFailed) -> None:
        self._items.append(item)
        while len(self._items) > MAX_QUEUED_DATAGRAMS or self._size > MAX_QUEUED_BYTES:
            oldest = self._items.popleft()
            if not isinstance(oldest, DatagramFailed):
                self._size -= len(oldest[0])
            self.dropped += 1
        self._news.set()

    def _taken(self) -> ReceivedDatagram:
        item = self._items.popleft()
        if isinstance(item, DatagramFailed):
            raise item
        self._size -= len(item[0])
        return item
