"""Which of several upstream proxies a request goes through: the order of the ways, and how long one that failed is skipped.

Knows no clock and does no I/O. A way whose attempt fails is skipped for a pause, twice as long after each further failure;
then one request tries it again. A check that is answered ends the pause at once.
"""

from dataclasses import field
from enum import Enum
from typing import Final

from socks6.dataclass import dataclass

FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
ATTEMPT_SECONDS: Final = (
    5.0  # at least, for which one attempt by a way that was down keeps others from trying it
)
NEWEST_WEIGHT: Final = 0.5  # of a measurement, in the moving average

_UNCOUNTED: Final = -1


class UpstreamOrder(Enum):
    """Which way goes first, of those that are not skipped."""

    FAILOVER = "failover"  # the first one that was named
    ROUND_ROBIN = "round-robin"  # each in its turn
    LEAST_LATENCY = "least-latency"  # the one that answers checks soonest


@dataclass(slots=True, kw_only=True)
class _Way:
    index: int
    changes: int = 0  # between working and failing, and further failures
    pause: float = 0.0  # seconds; 0 while it works
    retry_at: float = float("-inf")
    latency: float = float("inf")


@dataclass(slots=True)
class UpstreamChoice:
    """Orders ways, which have the numbers 0 to `count` - 1. Times are seconds on one clock of the caller's."""

    count: int
    order: UpstreamOrder
    _turn: int = 0
    _ways: tuple[_Way, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._ways = tuple(_Way(index=index) for index in range(self.count))

    def ranked(self, now: float) -> list[int]:
        """Return all ways, the one to try first first: those that are skipped at present come last."""
        usable = [way for way in self._ways if way.retry_at <= now]
        skipped = [way.index for way in self._ways if way.retry_at > now]
        match self.order:
            case UpstreamOrder.FAILOVER:
                pass
            case UpstreamOrder.ROUND_ROBIN:
                turn = self._turn % len(usable) if usable else 0
                usable = usable[turn:] + usable[:turn]
            case UpstreamOrder.LEAST_LATENCY:
                usable.sort(key=lambda way: way.latency)
        return [*(way.index for way in usable), *skipped]

    def next_turn(self) -> None:
        """Note that a request was ordered: with ROUND_ROBIN the next one begins with another way."""
        self._turn += 1

    def attempt(self, index: int, now: float, *, is_check: bool = False) -> int:
        """Note that a request, or a check, tries a way; return what `failed` is to know of it."""
        way = self._ways[index]
        if way.retry_at > now and not is_check:
            return _UNCOUNTED  # tried because all are down
        if way.pause:
            way.retry_at = now + max(way.pause, ATTEMPT_SECONDS)
        return way.changes

    def worked(self, index: int) -> None:
        """Note that the proxy has answered."""
        way = self._ways[index]
        if way.pause:
            way.changes += 1
            way.pause, way.retry_at = 0.0, float("-inf")

    def failed(self, index: int, now: float, attempt: int) -> None:
        """Note that an attempt failed. Of several that were under way together, one counts."""
        way = self._ways[index]
        if attempt == way.changes:
            way.changes += 1
            way.pause = min(2 * way.pause or FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            way.retry_at = now + way.pause

    def measured(self, index: int, seconds: float) -> None:
        """Note how long a check took to be answered."""
        way = self._ways[index]
        before = way.latency if way.latency < float("inf") else seconds
        way.latency = before + NEWEST_WEIGHT * (seconds - before)
