"""Connections that die on their way: which router says so, and what else routers say."""

import socket
import time
from collections.abc import Iterator

import pytest

from socks6.errors import HostUnreachable, NetworkUnreachable, NotAllowed, OperationFailed, TtlExpired
from socks6.message.codes import ReplyCode
from socks6.message.options import HappyEyeballs, Ttl
from socks6.net.direct import DirectOutbound
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.reach import knowing, port_of, reached

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
ROUTERS = 3
RETRANSMISSION = 1.0  # seconds after which Linux sends a SYN again


@pytest.fixture
def far() -> Iterator[Road]:
    """Give two hosts with three routers between them."""
    with road(routers=ROUTERS) as made:
        yield made


@FAMILIES
def test_each_router_on_the_way_names_itself(run: Run, far: Road, family: int) -> None:
    host = far.last_address(family)

    async def play() -> None:
        for ttl in range(1, ROUTERS + 1):
            began = time.monotonic()
            with pytest.raises(TtlExpired) as raised:
                async with reached(host, port_of(listener), Ttl(leg=2, ttl=ttl)):
                    pass
            assert raised.value.code == ReplyCode.TTL_EXPIRED
            assert raised.value.reporter == far.address(ttl, family)
            assert far.address(ttl, family) in raised.value.reason
            assert time.monotonic() - began < RETRANSMISSION
        async with reached(host, port_of(listener), Ttl(leg=2, ttl=ROUTERS + 1)) as connection:
            assert connection.options == (Ttl(leg=2, ttl=ROUTERS + 1),)

    with far.last.listener(host) as listener, far.first.entered():
        run(play())


def test_all_addresses_of_a_name_may_die(run: Run, far: Road) -> None:
    names = {"host": (far.last_address(socket.AF_INET6), far.last_address())}

    async def play() -> None:
        with pytest.raises(TtlExpired) as raised:
            async with reached(
                "host",
                9,
                Ttl(leg=2, ttl=2),
                HappyEyeballs(availability=2),
                outbound=DirectOutbound(knowing(names)),
            ):
                pass
        assert raised.value.reporter in {far.address(2), far.address(2, socket.AF_INET6)}

    with far.first.entered():
        run(play())


@pytest.mark.parametrize(
    ("family", "route", "failure"),
    [
        (socket.AF_INET, "unreachable", HostUnreachable),
        (socket.AF_INET, "prohibit", HostUnreachable),
        (socket.AF_INET6, "unreachable", NetworkUnreachable),  # ICMPv6 says: no route
        (socket.AF_INET6, "prohibit", NotAllowed),
    ],
)
def test_a_router_that_lets_nobody_pass_says_so(
    run: Run, far: Road, family: int, route: str, failure: type[OperationFailed]
) -> None:
    host = far.last_address(family)
    far.hosts[2].configure(f"route add {route} {host}")

    async def play() -> None:
        with pytest.raises(failure):
            async with reached(host, 9):
                pass
        with pytest.raises(failure) as raised:
            async with reached(host, 9, Ttl(leg=2, ttl=9)):
                pass
        assert far.address(2, family) in raised.value.reason

    with far.first.entered():
        run(play())


@FAMILIES
def test_a_router_without_a_route_to_the_network_says_so(run: Run, far: Road, family: int) -> None:
    host = "fd99::1" if family == socket.AF_INET6 else "10.99.0.1"
    far.first.configure(f"route add {host} via {far.address(1, family)}")

    async def play() -> None:
        with pytest.raises(NetworkUnreachable):
            async with reached(host, 9, Ttl(leg=2, ttl=9)):
                pass

    with far.first.entered():
        run(play())


@FAMILIES
def test_later_complaints_do_not_end_a_connection(run: Run, far: Road, family: int) -> None:
    """A path that breaks may mend: TCP tries on, as it does for sockets without a TTL of their own."""
    host = far.last_address(family)

    async def play() -> None:
        async with reached(host, port_of(listener), Ttl(leg=2, ttl=9)) as connection:
            far.hosts[1].configure(f"route add unreachable {host}")
            await connection.stream.send(b"hello")
            far.hosts[1].configure(f"route del unreachable {host}")
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(20)
                assert peer.recv(99) == b"hello"
            assert await connection.stream.receive() == b""

    with far.last.listener(host) as listener, far.first.entered():
        run(play())
