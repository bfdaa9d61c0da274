"""Two hosts joined by two links, and what may happen to a client's network there."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.kit.netns import RIGHT, Namespace, road

PROXY: Final = "10.99.0.1"  # an address of the far host that no link has
MACS: Final = "02:00:00:00:00:01", "02:00:00:00:00:02"  # of the ends of the second link


@dataclass(frozen=True, kw_only=True)
class Network:
    """Two hosts, and two links between them, of which the first is used."""

    near: Namespace
    far: Namespace
    addresses: list[str] = field(default_factory=lambda: ["10.66.1.1"])  # that the near host has had


Change: TypeAlias = Callable[[Network], Awaitable[None]]


@contextlib.contextmanager
def two_links() -> Iterator[Network]:
    """Give two hosts."""
    with road() as hosts:
        near, far = hosts
        near.configure(
            f"link add second address {MACS[0]} type veth peer name second address {MACS[1]} netns {far.path}",
            "link set second up",
            "address add 10.67.1.1/24 dev second",
            f"neigh add 10.67.1.2 lladdr {MACS[1]} dev second",  # a question that gets lost is asked again after 1 s
            f"route add {PROXY} via 10.66.1.2 metric 10",
            f"route add {PROXY} via 10.67.1.2 metric 20",
        )
        far.configure(
            "link set second up",
            "address add 10.67.1.2/24 dev second",
            f"neigh add 10.67.1.1 lladdr {MACS[0]} dev second",
            f"address add {PROXY}/32 dev lo",
        )
        yield Network(near=near, far=far)


async def another_address(network: Network) -> None:
    old, new = network.addresses[-1], f"10.66.1.{76 + len(network.addresses)}"
    network.near.configure(
        f"address add {new}/24 dev {RIGHT}",
        f"address del {old}/24 dev {RIGHT}",
        f"address replace {new}/24 dev {RIGHT}",
        f"route replace {PROXY} via 10.66.1.2 metric 10",
    )
    network.addresses.append(new)


async def another_link(network: Network) -> None:
    network.near.configure(f"link set {RIGHT} down")


async def another_route(network: Network) -> None:
    """Have what leaves from the old address get lost, though it stays."""
    network.near.configure(f"route replace {PROXY} via 10.67.1.2 metric 5")
    network.far.configure(
        "rule add pref 10 lookup local",  # after ours, that is
        "rule del pref 0",
        "rule add pref 1 from 10.66.1.1 type blackhole",
    )


async def away_for_a_moment(network: Network) -> None:
    network.near.configure(f"link set {RIGHT} down", "link set second down")
    await asyncio.sleep(0.3)
    network.near.configure(f"link set {RIGHT} up", f"route add {PROXY} via 10.66.1.2 metric 10")


async def udp_is_dropped(network: Network) -> None:
    network.far.configure(
        "rule add pref 10 lookup local", "rule del pref 0", "rule add pref 1 ipproto udp type blackhole"
    )
