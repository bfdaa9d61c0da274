"""A server's session tickets, each good for one connection: who replays its first flight finds it used up."""

from collections import OrderedDict
from typing import Final

from typing_extensions import override

from socks6.net.transports.quic.core import Ticket, TicketBox

KEPT: Final = 10_000  # beyond, the oldest go: their clients shake hands in full


class SingleUseTickets(TicketBox):
    """Keeps them in the memory of this process."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()

    @override
    def put(self, name: bytes, ticket: Ticket) -> None:
        self._tickets[name] = ticket
        if len(self._tickets) > self._size:
            self._tickets.popitem(last=False)

    @override
    def take(self, name: bytes) -> Ticket | None:
        return self._tickets.pop(name, None)
