"""Which of several upstream proxies a request goes through: their order, and how long one that failed is skipped.

Knows no clock and does no I/O. An upstream whose attempt fails is skipped for a pause, twice as long after each further failure;
then one request tries it again. A check that is answered ends the pause at once.
"""

from dataclasses import field
from enum import Enum
from typing import Final

from socks6.dataclass import dataclass

FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
ATTEMPT_SECONDS: Final = (
    5.0  # at least, for which one attempt by an upstream that was down keeps others from trying it
)
NEWEST_WEIGHT: Final = 0.5  # of a measurement, in the moving average

_UNCOUNTED: Final = -1


class UpstreamOrder(Enum):
    """Which upstream goes first, of those that are not skipped."""

    FAILOVER = "failover"  # the first one that was named
    ROUND_ROBIN = "round-robin"  # each in its turn
    LEAST_LATENCY = "least-latency"  # the one that answers checks soonest


@dataclass(slots=True, kw_only=True)
class _Upstream:
    index: int
    changes: int = 0  # between working and failing, and further failures
    pause: float = 0.0  # seconds; 0 while it works
    retry_at: float = float("-inf")
    latency: float = float("inf")


@dataclass(slots=True)
class UpstreamChoice:
    """Orders upstreams, which have the numbers 0 to `count` - 1. Times are seconds on one clock of the caller's."""

    count: int
    order: UpstreamOrder
    _turn: int = 0
    _upstreams: tuple[_Upstream, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._upstreams = tuple(_Upstream(index=index) for index in range(self.count))

    def ranked(self, now: float) -> list[int]:
        """Return all upstreams, the one to try first first: those that are skipped at present come last."""
        usable = [upstream for upstream in self._upstreams if upstream.retry_at <= now]
        skipped = [upstream.index for upstream in self._upstreams if upstream.retry_at > now]
        match self.order:
            case UpstreamOrder.FAILOVER:
                pass
            case UpstreamOrder.ROUND_ROBIN:
                turn = self._turn % len(usable) if usable else 0
                usable = usable[turn:] + usable[:turn]
            case UpstreamOrder.LEAST_LATENCY:
                usable.sort(key=lambda upstream: upstream.latency)
        return [*(upstream.index for upstream in usable), *skipped]

    def next_turn(self) -> None:
        """Record that a request was ordered: with ROUND_ROBIN the next one begins with another upstream."""
        self._turn += 1

    def attempt(self, index: int, now: float, *, is_check: bool = False) -> int:
        """Record that a request, or a check, tries an upstream; return what to call `failed` with."""
        upstream = self._upstreams[index]
        if upstream.retry_at > now and not is_check:
            return _UNCOUNTED  # tried because all are down
        if upstream.pause:
            upstream.retry_at = now + max(upstream.pause, ATTEMPT_SECONDS)
        return upstream.changes

    def worked(self, index: int) -> None:
        """Record that an upstream has answered."""
        upstream = self._upstreams[index]
        if upstream.pause:
            upstream.changes += 1
            upstream.pause, upstream.retry_at = 0.0, float("-inf")

    def failed(self, index: int, now: float, attempt: int) -> None:
        """Record that an attempt failed. Of several that were under way together, one counts."""
        upstream = self._upstreams[index]
        if attempt == upstream.changes:
            upstream.changes += 1
            upstream.pause = min(2 * upstream.pause or FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            upstream.retry_at = now + upstream.pause

    def measured(self, index: int, seconds: float) -> None:
        """Record how long a check took to be answered."""
        upstream = self._upstreams[index]
        before = upstream.latency if upstream.latency < float("inf") else seconds
        upstream.latency = before + NEWEST_WEIGHT * (seconds - before)
