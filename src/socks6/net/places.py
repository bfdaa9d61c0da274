"""Places for strangers: when all are taken, the source that has most of them gives one up."""

import socket
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

GuestT = TypeVar("GuestT", bound=Hashable)

MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
NARROW: Final = 8  # bytes of an IPv6 prefix that one network has
WIDE: Final = 6  # of one that a customer may have


class Places(Generic[GuestT]):
    """A bounded table of guests by their source: an IPv4 address, or an IPv6 /64 within its /48.

    Nobody is turned away: who comes when the table is full takes the place of the oldest guest of the biggest /64 of
    the biggest /48 (or address). So who holds many places takes them from itself, and strangers with one each take
    turns.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._guests: dict[GuestT, tuple[bytes, bytes]] = {}
        self._wide: dict[bytes, _Wide[GuestT]] = {}

    def __len__(self) -> int:
        """Return how many places are taken."""
        return len(self._guests)

    def __iter__(self) -> Iterator[GuestT]:
        """Iterate over the guests, the oldest first."""
        return iter(self._guests)

    def __contains__(self, guest: object) -> bool:
        """Return whether it has a place."""
        return guest in self._guests

    def enter(self, guest: GuestT, host: str) -> GuestT | None:
        """Give a new guest a place; return the one that has lost its own for it, None if there was room."""
        loser = self._loser() if len(self._guests) >= self._size else None
        if loser is not None:
            self.leave(loser)
        wide, narrow = _source(host)
        self._guests[guest] = (wide, narrow)
        self._wide.setdefault(wide, _Wide()).add(narrow, guest)
        return loser

    def leave(self, guest: GuestT) -> None:
        """Free a guest's place. Idempotent."""
        source = self._guests.pop(guest, None)
        if source is None:
            return
        wide, narrow = source
        group = self._wide[wide]
        group.remove(narrow, guest)
        if not group.count:
            del self._wide[wide]

    def _loser(self) -> GuestT | None:
        group = max(self._wide.values(), key=lambda group: group.count, default=None)
        return None if group is None else group.oldest_of_the_biggest()


class _Wide(Generic[GuestT]):
    """The guests of one /48, or of one IPv4 address."""

    __slots__ = ("_narrow", "count")

    def __init__(self) -> None:
        self.count = 0
        self._narrow: dict[bytes, dict[GuestT, None]] = {}

    def add(self, narrow: bytes, guest: GuestT) -> None:
        self._narrow.setdefault(narrow, {})[guest] = None
        self.count += 1

    def remove(self, narrow: bytes, guest: GuestT) -> None:
        guests = self._narrow[narrow]
        del guests[guest]
        self.count -= 1
        if not guests:
            del self._narrow[narrow]

    def oldest_of_the_biggest(self) -> GuestT:
        biggest: dict[GuestT, None] = max(self._narrow.values(), key=len)
        return next(iter(biggest))


def _source(host: str) -> tuple[bytes, bytes]:
    """Return the wide and the narrow network of a literal address, as the kernel tells it."""
    if ":" not in host:
        packed = socket.inet_pton(socket.AF_INET, host)
        return packed, packed
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(MAPPED):
        return packed[12:], packed[12:]
    return packed[:WIDE], packed[:NARROW]
