"""Ends relays in which nothing moves: one timer for all of them."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

MAX_CHECK_SECONDS: Final = 10.0  # seconds between two looks; a time-out is late by as much at the most


UNSEEN: Final = -1  # as what was seen of a relay at which nothing has looked yet


class Watched(Protocol):
    """A relay, as far as its time-outs go. The first two belong to the watch."""

    seen: int
    quiet_since: float

    def lasts(self) -> None:
        """Do what only relays need that last: called by the first look, or at once where nothing ever looks."""
        return

    def activity(self) -> int:
        """Return a number that grows whenever bytes move or a half closes; 0 at first."""

    def half_closed(self) -> bool:
        """Return whether one half is closed already."""

    def expire(self, reason: str) -> None:
        """End it: nothing moved for too long."""


class IdleMonitor:
    """Looks at every relay now and then.

    What moved is found by comparing byte counts, so that moving bytes costs nothing here, and an idle relay
    has no timer: at 9 000 of them a look takes 2 ms.
    """

    def __init__(
        self, *, idle_timeout: float, fin_timeout: float, clock: Callable[[], float] | None = None
    ) -> None:
        """Time-outs are in seconds, 0 for never; `clock` is the loop's unless given."""
        self._idle_timeout = idle_timeout
        self._fin_timeout = fin_timeout
        self._clock = clock  # None until there is a relay, and a loop
        limits = [limit for limit in (idle_timeout, fin_timeout) if limit > 0]
        self._period = min(MAX_CHECK_SECONDS, *(limit / 4 for limit in limits)) if limits else 0.0
        self._relays: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, relay: Watched) -> None:
        """Watch a relay from now on."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time
        relay.seen = UNSEEN
        relay.quiet_since = self._clock()
        if not self._period:
            relay.lasts()
        self._relays.add(relay)
        if self._timer is None:
            self._look_later()

    def remove(self, relay: Watched) -> None:
        """Watch a relay no longer. Idempotent."""
        self._relays.discard(relay)

    def close(self) -> None:
        """Stop the timer. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Expire what has been quiet too long."""
        if self._clock is None:
            return
        now = self._clock()
        for relay in [relay for relay in self._relays if self._too_quiet(relay, now)]:
            self._relays.discard(relay)
            relay.expire("half closed and silent" if relay.half_closed() else "idle")

    def _too_quiet(self, relay: Watched, now: float) -> bool:
        if relay.seen == UNSEEN:
            relay.seen = 0
            relay.lasts()
        activity = relay.activity()
        if activity != relay.seen:
            relay.seen = activity
            relay.quiet_since = now
            return False
        limit = self._fin_timeout if relay.half_closed() else self._idle_timeout
        return 0 < limit <= now - relay.quiet_since

    def _look_later(self) -> None:
        if self._relays and self._period:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.look()
        self._look_later()
