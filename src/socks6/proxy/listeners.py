"""The places that are bound for clients: how many there are, and which of them stay bound."""

from collections import Counter
from typing import Final, TypeAlias

from socks6.errors import GeneralFailure
from socks6.net.stream import Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.own_machine import Places
from socks6.proxy.settings import BindSettings

DRAWN_SECONDS: Final = 600.0  # that a port may be named by whom it was drawn for, once it is free again
MOST_DRAWN: Final = 4096  # ports that are remembered; beyond, the oldest are forgotten

User: TypeAlias = tuple[str, str]  # a name; or none, and a source


class Listeners:
    """Counts what is bound, in all and by user (or source, of those without a name); finds backlog listeners."""

    def __init__(self, settings: BindSettings, places: Places | None = None) -> None:
        """`places` are told what is bound on this machine."""
        self.places = Places() if places is None else places
        self._settings = settings
        self._by_user: Counter[User] = Counter()
        self._by_port: dict[int, list[BacklogListener]] = {}
        self._drawn: dict[tuple[User, int], float] = {}  # until when, the oldest first

    @property
    def count(self) -> int:
        """How many places are bound."""
        return self._by_user.total()

    def enter(self, user: User) -> None:
        """Count one more. Raises GeneralFailure when there are too many."""
        if 0 < self._settings.listeners <= self.count:
            raise GeneralFailure(f"{self.count} listeners already")
        if 0 < self._settings.listeners_per_user <= self._by_user[user]:
            raise GeneralFailure(f"{self._by_user[user]} listeners of one user already")
        self._by_user[user] += 1

    def leave(self, user: User) -> None:
        """Count out what was counted in."""
        self._by_user[user] -= 1
        if not self._by_user[user]:
            del self._by_user[user]

    def remember(self, user: User, port: int, now: float) -> None:
        """Let a user have a port again that was drawn for it, and no service's: it binds anew for each peer."""
        self._drawn.pop((user, port), None)
        while len(self._drawn) >= MOST_DRAWN:
            del self._drawn[next(iter(self._drawn))]
        self._drawn[user, port] = now + DRAWN_SECONDS

    def remembers(self, user: User, port: int, now: float) -> bool:
        """Return whether a port was drawn for a user of late."""
        return self._drawn.get((user, port), now) > now

    def add(self, listener: BacklogListener) -> None:
        """Have a listener be found."""
        self._by_port.setdefault(listener.port, []).append(listener)

    def remove(self, listener: BacklogListener) -> None:
        """Have it be found no more. Idempotent."""
        there = self._by_port.get(listener.port, [])
        if listener in there:
            there.remove(listener)
        if not there:
            self._by_port.pop(listener.port, None)

    def find(self, place: Endpoint) -> BacklogListener | None:
        """Return the listener at a place, under any of its names."""
        there = self._by_port.get(place.port, ())
        return next((listener for listener in there if listener.is_at(place.host)), None)
