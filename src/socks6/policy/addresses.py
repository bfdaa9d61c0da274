"""Literal addresses: which ones belong to special networks, and which others they hide within them."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from socks6.dataclass import dataclass

IPV4_MASK: Final = 0xFFFF_FFFF
CACHED_ADDRESSES: Final = 4096


class NumericAddress(NamedTuple):
    """An address as numbers: comparing these is many times quicker than comparing `ipaddress` objects."""

    version: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressBlock:
    """A network: every address from `first` to `last`."""

    version: int
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "AddressBlock":
        """Read "10.0.0.0/8", "fc00::/7" or a single address. Raises ValueError."""
        network = ipaddress.ip_network(text)
        return cls(
            version=network.version,
            first=int(network.network_address),
            last=int(network.broadcast_address),
        )

    def holds(self, address: NumericAddress) -> bool:
        """Return whether `address` is one of the block's."""
        return address.version == self.version and self.first <= address.value <= self.last

    def lies_within(self, other: "AddressBlock") -> bool:
        """Return whether all of this block belongs to `other`."""
        return self.version == other.version and other.first <= self.first and self.last <= other.last


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialNetwork:
    """A network that strangers have no business in, under the name that refusals give it."""

    block: AddressBlock
    name: str


def _special(name: str, *networks: str) -> tuple[SpecialNetwork, ...]:
    return tuple(SpecialNetwork(block=AddressBlock.parse(network), name=name) for network in networks)


METADATA: Final = "metadata"
LOOPBACK: Final = "loopback"
MULTICAST: Final = "multicast"

# Not here: documentation networks (nothing answers there) and the globally reachable assignments of
# 2001::/23. The first row that holds an address counts, so the narrow rows stand before the wide ones.
SPECIAL_NETWORKS: Final[tuple[SpecialNetwork, ...]] = (
    # What hands cloud machines their secrets: AWS, Azure, Google and most others; AWS containers; Tencent;
    # Azure's wire server; Alibaba; Oracle; the same over IPv6 for AWS, Google and OpenStack.
    *_special(
        METADATA,
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
    ),
    *_special("unspecified", "0.0.0.0/8", "::"),
    *_special(LOOPBACK, "127.0.0.0/8", "::1"),
    *_special("private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *_special("private", "fc00::/7", "fec0::/10", "5f00::/16"),
    *_special("shared", "100.64.0.0/10"),  # carrier-grade NAT
    *_special("link-local", "169.254.0.0/16", "fe80::/10"),
    *_special(MULTICAST, "224.0.0.0/4", "ff00::/8"),
    *_special("broadcast", "255.255.255.255"),
    *_special("benchmarking", "198.18.0.0/15", "2001:2::/48"),
    *_special("translation", "64:ff9b:1::/48"),  # this site's own NAT64
    *_special("reserved", "192.0.0.0/24", "240.0.0.0/4", "2001:10::/28"),
    *_special("reserved", "::/3", "4000::/2", "8000::/1"),  # whatever is not global unicast, 2000::/3
)

_SPECIAL_NETWORKS_OF: Final = {
    version: tuple(network for network in SPECIAL_NETWORKS if network.block.version == version)
    for version in (4, 6)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """A kind of IPv6 address that carries IPv4 addresses within."""

    block: AddressBlock
    carried: tuple[Callable[[int], int], ...]
    transparent: bool = False  # just another spelling of the IPv4 address, to be judged like it


def _wrapping(network: str, *carried: Callable[[int], int], transparent: bool = False) -> Wrapping:
    return Wrapping(block=AddressBlock.parse(network), carried=carried, transparent=transparent)


def _last_32_bits(value: int) -> int:
    return value & IPV4_MASK


WRAPPINGS: Final[tuple[Wrapping, ...]] = (
    _wrapping("::ffff:0:0/96", _last_32_bits, transparent=True),  # IPv4-mapped
    _wrapping("64:ff9b::/96", _last_32_bits, transparent=True),  # NAT64, RFC 6052
    _wrapping("::ffff:0:0:0/96", _last_32_bits),  # IPv4-translated, RFC 2765
    _wrapping("::/96", _last_32_bits),  # IPv4-compatible
    _wrapping(  # NAT64 of this site, RFC 8215; how long its prefix is cannot be seen: RFC 6052, section 2.2
        "64:ff9b:1::/48",
        _last_32_bits,
        lambda value: (value >> 64 & 0xFFFF) << 16 | (value >> 40 & 0xFFFF),
        lambda value: (value >> 64 & 0xFF) << 24 | (value >> 32 & 0xFF_FFFF),
        lambda value: value >> 24 & IPV4_MASK,
    ),
    _wrapping("2002::/16", lambda value: value >> 80 & IPV4_MASK),  # 6to4, RFC 3056
    _wrapping(  # Teredo, RFC 4380: the server, and the client with its bits flipped
        "2001::/32",
        lambda value: value >> 64 & IPV4_MASK,
        lambda value: ~value & IPV4_MASK,
    ),
)


# ISATAP, RFC 5214, section 6.1: under any prefix, 00-00-5E-FE before the address, the bits u and g being either
ISATAP_MARK: Final = 0x0000_5EFE
ISATAP_MASK: Final = 0xFCFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFacts:
    """What there is to know about one address."""

    spellings: tuple[NumericAddress, ...]  # the address; and as IPv4 if it is only a wrapped spelling of that
    carried: tuple[NumericAddress, ...]  # other addresses that it may lead to
    special: SpecialNetwork | None  # the network that forbids it


@lru_cache(maxsize=CACHED_ADDRESSES)
def examine(text: str) -> AddressFacts | None:
    """Return what there is to know about a literal address, zone index or not; None if it is none.

    Under 10 us for a new address, 0.1 us for one of the last few thousand (benchmarks/micro/policy.py).
    """
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return _examined(NumericAddress(parsed.version, int(parsed)))


def _examined(address: NumericAddress) -> AddressFacts:
    wrapping = next((known for known in WRAPPINGS if known.block.holds(address)), None)
    if wrapping is not None and wrapping.transparent:
        alike = tuple(NumericAddress(4, carries(address.value)) for carries in wrapping.carried)
        return AddressFacts(spellings=(address, *alike), carried=(), special=_special_network(*alike))
    carried = (
        tuple(NumericAddress(4, carries(address.value)) for carries in wrapping.carried) if wrapping else ()
    )
    if address.version == 6 and address.value >> 32 & ISATAP_MASK == ISATAP_MARK:
        carried += (NumericAddress(4, _last_32_bits(address.value)),)
    return AddressFacts(spellings=(address,), carried=carried, special=_special_network(address, *carried))


def _special_network(*addresses: NumericAddress) -> SpecialNetwork | None:
    found = [
        network
        for address in addresses
        for network in _SPECIAL_NETWORKS_OF[address.version]
        if network.block.holds(address)
    ]
    # the first row counts; but an address that carries another may lie in two, and then the narrower name says more
    return next((network for network in found if network.name == METADATA), found[0] if found else None)
