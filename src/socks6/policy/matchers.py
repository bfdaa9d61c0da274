"""What a rule may be about: host names, networks, ports."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.address import normalize_host, without_trailing_dot
from socks6.policy.addresses import AddressBlock, NumericAddress
from socks6.policy.hosts import is_name

_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMatcher:
    """One name, or the names below a domain, or both."""

    name: str  # in canonical form
    itself: bool
    below: bool

    @classmethod
    def parse(cls, text: str) -> "NameMatcher":
        """Read "example.com" (that name), ".example.com" (it and all below) or "*.example.com" (all below).

        Raises ConfigurationError.
        """
        bare = text.removeprefix("*").removeprefix(".") if text.startswith((".", "*.")) else text
        try:
            name = without_trailing_dot(normalize_host(bare))
        except ValueError as error:
            raise ConfigurationError(f"{text!r} is no host: {error}") from error
        if not is_name(name):
            raise ConfigurationError(f"{text!r} is no host: write a name, .domain, *.domain or a network")
        return cls(name=name, itself=not text.startswith("*."), below=bare != text)

    def matches(self, name: str) -> bool:
        """Return whether a canonical name is meant."""
        if name == self.name:
            return self.itself
        return self.below and name.endswith("." + self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMatcher:
    """Which hosts a rule is about; every one if nothing is listed."""

    names: tuple[NameMatcher, ...] = ()
    networks: tuple[AddressBlock, ...] = ()

    @classmethod
    def of(cls, patterns: Sequence[NameMatcher | AddressBlock]) -> "HostMatcher":
        """Return what matches each of these."""
        return cls(
            names=tuple(one for one in patterns if isinstance(one, NameMatcher)),
            networks=tuple(one for one in patterns if isinstance(one, AddressBlock)),
        )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "HostMatcher":
        """Read names, domains, addresses and networks. Raises ConfigurationError."""
        return cls.of([parse_pattern(text) for text in texts])

    def match_name(self, name: str) -> bool:
        """Return whether a canonical name is meant, whatever its address."""
        if any(matcher.matches(name) for matcher in self.names):
            return True
        return not self.names and not self.networks

    def matching_networks(self, addresses: tuple[NumericAddress, ...]) -> tuple[AddressBlock, ...]:
        """Return the listed networks that hold any of the addresses."""
        return tuple(network for network in self.networks if any(map(network.holds, addresses)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMatcher:
    """Which ports a rule is about; every one if nothing is listed."""

    ranges: tuple[tuple[int, int], ...] = ()  # first and last port

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "PortMatcher":
        """Read "443" and "8000-8999". Raises ConfigurationError."""
        return cls(ranges=tuple(map(parse_range, texts)))

    def match(self, port: int) -> bool:
        """Return whether a port is meant."""
        if not self.ranges:
            return True
        return any(first <= port <= last for first, last in self.ranges)


EVERY_HOST: Final = HostMatcher()
EVERY_PORT: Final = PortMatcher()


def parse_pattern(text: str) -> NameMatcher | AddressBlock:
    """Read a name, a domain, an address or a network. Raises ConfigurationError."""
    network = _parse_network(text)
    return NameMatcher.parse(text) if network is None else network


def _parse_network(text: str) -> AddressBlock | None:
    """Read a network or address; None if the text is neither. Raises ConfigurationError for a bad one."""
    try:
        return AddressBlock.parse(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" in text or ":" in text:
            raise ConfigurationError(f"{text!r} is no network") from None
        return None
    raise ConfigurationError(f"{text!r} is no network: do you mean {meant} or {text.partition('/')[0]}?")


def parse_range(text: str) -> tuple[int, int]:
    """Read a port, or a range of ports. Raises ConfigurationError."""
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is no port, nor a range of ports such as 8000-8999")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last <= MAX_PORT:
        raise ConfigurationError(f"{text!r} is no range of ports between 0 and {MAX_PORT}")
    return first, last
