"""What one user may use: how many things at a time, how fast, how much, how long, from and by which addresses.

Whoever knows users (the users database, a command, an HTTP service) gives them as an `Identity`'s `limits`. `UserLimits.parse`
reads them from texts and JSON, and `UserLimits.values` writes them, by the same names everywhere.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError

Network: TypeAlias = IPv4Network | IPv6Network

MAX_AMOUNT: Final = 2**63 - 1  # of anything: as a database keeps it
_SIZE: Final = re.compile(r"([0-9]{1,19})([kMGT]?)")
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class QuotaPeriod(Enum):
    """The time that a quota is for; days and months are those of UTC."""

    DAY = "day"
    MONTH = "month"
    EVER = "ever"

    def start(self, now: datetime) -> datetime:
        """Return when the period that `now` is in began, in UTC; for EVER 1970-01-01."""
        if self is QuotaPeriod.EVER:
            return datetime.fromtimestamp(0, UTC)
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight.replace(day=1) if self is QuotaPeriod.MONTH else midnight

    def end(self, now: datetime) -> datetime | None:
        """Return when the period that `now` is in ends, in UTC; None for EVER."""
        if self is QuotaPeriod.EVER:
            return None
        start = self.start(now)
        if self is QuotaPeriod.DAY:
            return start + timedelta(days=1)
        return (start + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """The limits of one user. A default is no limit of the user's own."""

    connections: int = 0  # at a time; 0: what the server's setting says, here and in the next two
    associations: int = 0
    bindings: int = 0
    up: int = 0  # bytes/s from client to remote, of all connections together
    down: int = 0  # bytes/s from remote to client
    burst: int = 0  # bytes that may go at once after a pause; 0: what goes in 1/8 s, at least 16 KiB
    quota: int = 0  # bytes of both directions together, in a period
    quota_period: QuotaPeriod = QuotaPeriod.MONTH
    expires: datetime | None = None  # in UTC
    sources: tuple[Network, ...] = ()  # that the user may log in from; none: from anywhere
    outgoing: str = ""  # the local address of its CONNECTs and UDP ports; "": as the system chooses

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> "UserLimits":
        """Read limits from texts, numbers and lists, as flags and JSON have them; None is the default.

        Raises ConfigurationError for an unknown name and for what a value cannot be.
        """
        found: dict[str, object] = {}
        for name, value in values.items():
            if name not in _PARSERS:
                raise ConfigurationError(f"{name!r} is no limit: write {', '.join(_PARSERS)}")
            if value is None:
                continue
            try:
                found[name] = _PARSERS[name](value)
            except ValueError as error:
                raise ConfigurationError(f"{name}: {error}") from None
        return dataclasses.replace(NO_LIMITS, **found)  # type: ignore[arg-type]  # each parser returns its field's type

    def values(self) -> dict[str, object]:
        """Return all limits by their names, as JSON can have them and `parse` reads them."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "quota_period": self.quota_period.value,
            "expires": self.expires and self.expires.isoformat().replace("+00:00", "Z"),
            "sources": [str(network) for network in self.sources],
        }

    def has_expired(self, now: datetime) -> bool:
        """Return whether the user's time is over."""
        return self.expires is not None and now >= self.expires

    def allows_source(self, source: str) -> bool:
        """Return whether the user may log in from an address; "", a Unix socket, is only where there are no `sources`."""
        if not self.sources:
            return True
        try:
            address = ip_address(source.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.sources)

    @override
    def __repr__(self) -> str:
        own = (f"{name}={value!r}" for name, value in self.values().items() if value != NO_VALUES[name])
        return f"UserLimits({', '.join(own)})"


def parse_size(text: str) -> int:
    """Return a number of bytes: digits, and k, M, G or T for powers of 1000. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or (size := int(match[1]) * _FACTORS[match[2]]) > MAX_AMOUNT:
        raise ValueError(f"{text!r} is no number of bytes: write such as 500, 64k, 10M or 2G")
    return size


def parse_time(text: str) -> datetime:
    """Return a time in UTC: a date is its first moment, a time without a zone is in UTC. Raises ValueError."""
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write such as 2027-01-31 or 2027-01-31T18:00Z") from None


def _count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_AMOUNT:
        raise ValueError(f"{value!r} is no number of 0 or more")
    return value


def _size(value: object) -> int:
    return parse_size(value) if isinstance(value, str) else _count(value)


def _period(value: object) -> QuotaPeriod:
    try:
        return QuotaPeriod(value)
    except ValueError:
        names = ", ".join(period.value for period in QuotaPeriod)
        raise ValueError(f"{value!r} is none of {names}") from None


def _time(value: object) -> datetime | None:
    return parse_time(_text(value)) if value else None


def _networks(value: object) -> tuple[Network, ...]:
    entries = value.split(",") if isinstance(value, str) and value else value or ()
    if not isinstance(entries, list | tuple):
        raise ValueError(f"{value!r} is no list of networks")
    try:
        return tuple(ip_network(_text(entry).strip()) for entry in entries)
    except ValueError as error:
        raise ValueError(f"{error}: write such as 192.0.2.0/24 or 2001:db8::/32") from None


def _address(value: object) -> str:
    address = str(ip_address(_text(value))) if value else ""
    if not (address.isascii() and address.isprintable()):  # what follows "%" may be anything
        raise ValueError(f"{value!r} names no interface")
    return address


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


_PARSERS: Final[Mapping[str, Callable[[object], object]]] = {
    "connections": _count,
    "associations": _count,
    "bindings": _count,
    "up": _size,
    "down": _size,
    "burst": _size,
    "quota": _size,
    "quota_period": _period,
    "expires": _time,
    "sources": _networks,
    "outgoing": _address,
}

LIMIT_NAMES: Final = tuple(_PARSERS)
NO_LIMITS: Final = UserLimits()
NO_VALUES: Final[Mapping[str, object]] = NO_LIMITS.values()
