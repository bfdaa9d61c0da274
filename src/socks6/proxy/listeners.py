"""The places that are bound for clients: how many there are, and which of them stay bound."""

from collections import Counter
from typing import TypeAlias

from socks6.errors import GeneralFailure
from socks6.net.stream import Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.own_machine import Places
from socks6.proxy.settings import BindSettings

User: TypeAlias = tuple[str, str]  # a name; or none, and a source


class Listeners:
    """Counts what is bound, in all and by user (or source, of those without a name); finds backlog listeners."""

    def __init__(self, settings: BindSettings, places: Places | None = None) -> None:
        """`places` are told what is bound on this machine."""
        self.places = Places() if places is None else places
        self._settings = settings
        self._by_user: Counter[User] = Counter()
        self._by_port: dict[int, list[BacklogListener]] = {}

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
