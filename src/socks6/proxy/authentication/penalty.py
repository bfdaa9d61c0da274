"""Penalties for sources that guess passwords."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from socks6.policy.addresses import AddressFacts, examine

LOOPBACK: Final = "loopback"
IPV6_HOST_BITS: Final = 64  # a customer's network: who owns one address of it owns all


@dataclass(slots=True)
class _Record:
    """What is known of one source."""

    failures: float
    since: float  # the first of these failures
    blocked_until: float = 0.0


class FailurePenalties:
    """Refuses a source for a while after it failed to authenticate too often.

    `limit` failures within `window` seconds cost `penalty` seconds; then the count begins anew. A source is
    one IPv4 address or one IPv6 /64. This machine's own addresses and sources without an address are exempt:
    behind them stand converters and reverse proxies whose users would else lock each other out. A success
    forgives nothing, or whoever has one account could guess at the others. The table is bounded; when it is
    full, the source that has been quiet for longest is forgotten.

    Times are seconds on any clock that never goes back.
    """

    def __init__(
        self, *, limit: int = 10, window: float = 120.0, penalty: float = 60.0, table_size: int = 65536
    ) -> None:
        if limit < 1 or table_size < 1:
            raise ValueError("limit and table size must be at least 1")
        self._limit = limit
        self._window = window
        self._penalty = penalty
        self._table_size = table_size
        self._records: OrderedDict[tuple[int, int], _Record] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sources are on record."""
        return len(self._records)

    def failed(self, source: str, now: float, *, weight: float = 1) -> None:
        """Take note that a client at `source` failed to authenticate; `weight` is how much that says."""
        key = _key(source)
        if key is None:
            return
        record = self._records.get(key)
        if record is None or now - record.since > self._window:
            blocked_until = 0.0 if record is None else record.blocked_until
            record = _Record(failures=0, since=now, blocked_until=blocked_until)
            self._records[key] = record
        record.failures += weight
        if record.failures >= self._limit:
            record.failures, record.since, record.blocked_until = 0, now, now + self._penalty
        self._records.move_to_end(key)
        if len(self._records) > self._table_size:
            self._records.popitem(last=False)

    def blocked(self, source: str, now: float) -> bool:
        """Return whether clients at `source` are to be refused."""
        key = _key(source)
        record = None if key is None else self._records.get(key)
        return record is not None and now < record.blocked_until


def _key(source: str) -> tuple[int, int] | None:
    """Return what a source counts as; None if it is exempt."""
    facts = examine(source)
    if facts is None or _is_loopback(facts):
        return None
    version, value = facts.spellings[-1]  # as IPv4 where that is the same
    return (version, value if version == 4 else value >> IPV6_HOST_BITS)


def _is_loopback(facts: AddressFacts) -> bool:
    return facts.special is not None and facts.special.name == LOOPBACK
