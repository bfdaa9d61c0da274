"""Datagrams that have come and wait for somebody to take them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from typing_extensions import override

from socks6.errors import DatagramFailed, Socks6Error
from socks6.net.stream import Endpoint

INBOX_DATAGRAMS: Final = 4096  # datagrams and errors that wait; beyond, the oldest are dropped
INBOX_BYTES: Final = 4 << 20

Received: TypeAlias = tuple[bytes, Endpoint]  # data, and where they came from


class Recipient(Protocol):
    """Who is told of what an association brings."""

    def datagrams_received(self, packets: Sequence[Received]) -> None:
        """Take datagrams, each with the address and port that it came from."""

    def error_received(self, error: DatagramFailed) -> None:
        """Take note of an ICMP error."""

    def ended(self, error: Socks6Error) -> None:
        """Take note that nothing more comes, and why."""


class Inbox(Recipient):
    """Keeps what comes, up to a number and a size, until it is received; the oldest goes first."""

    def __init__(self) -> None:
        self._items: deque[Received | DatagramFailed] = deque()
        self._size = 0
        self._end: Socks6Error | None = None
        self._news = asyncio.Event()
        self.dropped = 0

    @override
    def datagrams_received(self, packets: Sequence[Received]) -> None:
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

    async def receive(self) -> Received:
        """Return the next datagram and its source. Raises DatagramFailed; what it ended by, once all is taken."""
        while not self._items:
            if self._end is not None:
                raise self._end.with_traceback(None)  # or it would grow with each call
            self._news.clear()
            await self._news.wait()
        return self._taken()

    def hand_over(self, recipient: Recipient) -> None:
        """Give all that is here, the end included, to somebody else."""
        while self._items:
            try:
                recipient.datagrams_received([self._taken()])
            except DatagramFailed as error:
                recipient.error_received(error)
        if self._end is not None:
            recipient.ended(self._end)

    def _add(self, item: Received | DatagramFailed) -> None:
        self._items.append(item)
        while len(self._items) > INBOX_DATAGRAMS or self._size > INBOX_BYTES:
            oldest = self._items.popleft()
            if not isinstance(oldest, DatagramFailed):
                self._size -= len(oldest[0])
            self.dropped += 1
        self._news.set()

    def _taken(self) -> Received:
        item = self._items.popleft()
        if isinstance(item, DatagramFailed):
            raise item
        self._size -= len(item[0])
        return item
