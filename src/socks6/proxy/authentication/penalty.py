"""Penalties for sources that guess passwords."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.policy.addresses import AddressFacts, examine

LOOPBACK: Final = "loopback"

# The networks that failures of one address count for, and how many times the bound each may have. A subscriber with
# one IPv6 address has its /64; many have a /56 or a /48, and one that is shared has more users.
NETWORKS: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    4: ((32, 1),),
    6: ((64, 1), (56, 2), (48, 3)),
}
ADDRESS_BITS: Final = {4: 32, 6: 128}


class Network(NamedTuple):
    """A source of clients."""

    version: int
    length: int
    prefix: int

    @override
    def __str__(self) -> str:
        """Return it as people write it: an address, or an address with a prefix length."""
        bits = ADDRESS_BITS[self.version]
        address = ipaddress.ip_address((self.prefix << (bits - self.length)).to_bytes(bits // 8, "big"))
        return str(address) if self.length == bits else f"{address}/{self.length}"

    def overlaps(self, other: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
        """Return whether one of the two is within the other."""
        shift = ADDRESS_BITS[self.version] - min(self.length, other.prefixlen)
        own = self.prefix << (ADDRESS_BITS[self.version] - self.length)
        return self.version == other.version and own >> shift == int(other.network_address) >> shift


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """A source that is refused now."""

    source: str  # an address, or a network
    user: str  # the name that it is refused for; "" for all
    seconds: float  # until it is not any more


class _Key(NamedTuple):
    """What failures are counted for: a network, and within it one user's name; None for all of them together."""

    network: Network
    name: bytes | None


@dataclass(slots=True)
class _Record:
    """What is known of one key."""

    failures: float
    since: float  # the first of these failures
    blocked_until: float = 0.0


@dataclass(kw_only=True)
class FailurePenalties:
    """Refuses a source for a while after it failed to authenticate too often.

    `name_limit` failures for one user's name, or `limit` for any, within `window` seconds cost `penalty` seconds:
    for that name, or for all; then the count begins anew. A source is one IPv4 address or one IPv6 /64; the /56
    and the /48 around it have bounds of their own, two and three times as large. This machine's own addresses and
    sources without an address are exempt: converters and reverse proxies connect from there, whose users would
    otherwise lock each other out. A success forgives nothing, or the owner of one account could guess at the others.

    Attempts that are under way are reserved ahead, so that many at once are no more guesses than one after the
    other. The table is bounded; when it is full, what has been quiet for longest is forgotten.

    Times are seconds on any clock that never goes back.
    """

    limit: int = 50
    name_limit: int = 10
    window: float = 120.0
    penalty: float = 60.0
    table_size: int = 65536
    # called with a source, a user's name or None for all, and the seconds of its penalty
    on_penalty: Callable[[str, bytes | None, float], None] = lambda _source, _name, _seconds: None

    def __post_init__(self) -> None:
        if min(self.limit, self.name_limit, self.table_size) < 1:
            raise ValueError("limits and table size must be at least 1")
        self._records: OrderedDict[_Key, _Record] = OrderedDict()
        self._reserved: Counter[_Key] = Counter()

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self._records)

    def failed(self, source: str, now: float, *, name: bytes | None = None, weight: float = 1) -> None:
        """Record that a client at `source` failed to authenticate; `weight` is how much that counts."""
        for key, limit in self._keys(source, name):
            record = self._records.get(key)
            if record is None or now - record.since > self.window:
                blocked_until = 0.0 if record is None else record.blocked_until
                record = _Record(failures=0, since=now, blocked_until=blocked_until)
                self._records[key] = record
            record.failures += weight
            if record.failures >= limit:
                record.failures, record.since, record.blocked_until = 0, now, now + self.penalty
                self.on_penalty(source, key.name, self.penalty)
            self._records.move_to_end(key)
        while len(self._records) > self.table_size:
            self._records.popitem(last=False)

    def blocked(self, source: str, now: float, *, name: bytes | None = None) -> bool:
        """Return whether clients at `source` that go by `name` are to be refused."""
        records = (self._records.get(key) for key, _ in self._keys(source, name))
        return any(record is not None and now < record.blocked_until for record in records)

    def count_blocked(self, now: float) -> int:
        """Return how many networks, and names within them, are refused now."""
        return sum(now < record.blocked_until for record in self._records.values())

    def active(self, now: float) -> "list[Penalty]":
        """Return the penalties that last on."""
        return [
            Penalty(
                source=str(key.network),
                user="" if key.name is None else key.name.decode(errors="replace"),
                seconds=record.blocked_until - now,
            )
            for key, record in self._records.items()
            if record.blocked_until > now
        ]

    def lift(self, source: str, now: float) -> int:
        """Forget all failures of an address or a network, and of the networks around it; return how many penalties that ends.

        Raises ValueError for what is neither.
        """
        network = ipaddress.ip_network(source, strict=False)
        lifted = 0
        for key in [key for key in self._records if key.network.overlaps(network)]:
            lifted += self._records.pop(key).blocked_until > now
        return lifted

    def reserve(self, source: str, now: float, *, name: bytes | None = None) -> bool:
        """Count an attempt in that begins now; False where those under way could use up what is left.

        Each that is counted in has to be settled.
        """
        keys = list(self._keys(source, name))
        if any(self._failures(key, now) + self._reserved[key] + 1 > limit for key, limit in keys):
            return False
        for key, _ in keys:
            self._reserved[key] += 1
        return True

    def settle(self, source: str, now: float, *, name: bytes | None = None, failed: bool) -> None:
        """Count an attempt out that was counted in, and as a failure if it was one."""
        for key, _ in self._keys(source, name):
            self._reserved[key] -= 1
            if not self._reserved[key]:
                del self._reserved[key]
        if failed:
            self.failed(source, now, name=name)

    def _failures(self, key: _Key, now: float) -> float:
        record = self._records.get(key)
        return record.failures if record is not None and now - record.since <= self.window else 0

    def _keys(self, source: str, name: bytes | None) -> Iterator[tuple[_Key, int]]:
        """Give what a failure counts for, and how many there may be."""
        for network, factor in networks_of(source):
            if name is not None:
                yield _Key(network, name), self.name_limit * factor
            yield _Key(network, None), self.limit * factor


def networks_of(source: str) -> Iterator[tuple[Network, int]]:
    """Give the networks of an address, the smallest first, and how much more each may; none if it is exempt."""
    facts = examine(source)
    if facts is None or _is_loopback(facts):
        return
    version, value = facts.spellings[-1]  # as IPv4 where that is the same
    for length, factor in NETWORKS[version]:
        yield Network(version, length, value >> (ADDRESS_BITS[version] - length)), factor


def _is_loopback(facts: AddressFacts) -> bool:
    return facts.special is not None and facts.special.name == LOOPBACK
