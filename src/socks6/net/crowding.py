"""Who gives way when connections are short: the source with the most, the oldest first."""

import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96

KeyT = TypeVar("KeyT")


class Networks(NamedTuple):
    """What a source is part of, from a subscriber's network to what a provider may give to one customer."""

    small: bytes  # an IPv6 /64; an IPv4 address
    middle: bytes  # a /56; a /24
    large: bytes  # a /48; a /24


NO_NETWORKS: Final = Networks(b"", b"", b"")


def networks_of(host: str) -> Networks:
    """Return the networks of an address; one and the same for all that have none, as on Unix sockets."""
    if not host:
        return NO_NETWORKS
    if ":" not in host:
        packed = socket.inet_pton(socket.AF_INET, host)
        return Networks(packed, packed[:3], packed[:3])
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(MAPPED):
        return Networks(packed[12:], packed[12:15], packed[12:15])
    return Networks(packed[:8], packed[:7], packed[:6])


def most_crowded(places: Iterable[tuple[KeyT, Networks]], wanted: int) -> list[KeyT]:
    """Return the keys of `wanted` places, which come oldest first: taking these makes the largest networks equal.

    Of the large networks those with the most lose; within one, the middle ones with the most; within these the
    small ones; and of one small network the oldest.
    """
    order: Sequence[tuple[KeyT, Networks]] = list(places)[::-1]
    for size in ("small", "middle", "large"):
        seen: Counter[bytes] = Counter()
        ranked = []
        for place in order:  # the younger, and what is of lesser networks, before
            network = getattr(place[1], size)
            seen[network] += 1
            ranked.append((seen[network], place))
        ranked.sort(key=lambda entry: entry[0])
        order = [place for _, place in ranked]
    return [key for key, _ in order[-wanted:]] if wanted > 0 else []
