"""UDP ports for associations."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from socks6.errors import NotAllowed
from socks6.message.options import PortParity, Ttl
from socks6.net.datagrams.ports import OpenedPort, PortAllocator, is_multicast
from socks6.net.resolve import ResolvedAddress

ANY = ResolvedAddress(socket.AF_INET, ("0.0.0.0", 0))
ANY6 = ResolvedAddress(socket.AF_INET6, ("::", 0, 0, 0))
PAIR = PortParity(parity=1, reserve=1)
NOTHING = PortParity(parity=0)


@pytest.fixture
def ports() -> Iterator[PortAllocator]:
    """Give this machine's ports."""
    made = PortAllocator()
    yield made
    made.close()
    made.close()


@contextlib.contextmanager
def opened(
    ports: PortAllocator,
    address: ResolvedAddress = ANY,
    parity: PortParity | None = None,
    owner: object = None,
) -> Iterator[OpenedPort]:
    port = ports.open(address, (Ttl(leg=2, ttl=9),), parity, owner)
    try:
        yield port
    finally:
        port.release()
        port.release()
        port.sock.close()


def number_of(port: OpenedPort) -> int:
    return int(port.sock.getsockname()[1])


def at(port: int) -> ResolvedAddress:
    return ResolvedAddress(socket.AF_INET, ("0.0.0.0", port))


@pytest.mark.parametrize("address", [ANY, ANY6])
def test_a_port_is_non_blocking_and_has_its_options(ports: PortAllocator, address: ResolvedAddress) -> None:
    with opened(ports, address) as port:
        assert port.sock.gettimeout() == 0
        assert port.parity is None
        level, name = {
            socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
            socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
        }[port.sock.family]
        assert port.sock.getsockopt(level, name) == 9


@pytest.mark.parametrize("address", [ANY, ANY6])
def test_the_other_family_has_the_same_number_where_it_is_free(
    ports: PortAllocator, address: ResolvedAddress
) -> None:
    with opened(ports, address) as port:
        other = ports.open_other_family(port.sock, ())
        assert other is not None
        third = ports.open_other_family(port.sock, ())
        assert third is not None
        with other, third:
            assert other.family != port.sock.family
            assert other.getsockname()[1] == number_of(port) != third.getsockname()[1]


@pytest.mark.parametrize(("parity", "rest"), [(1, 0), (2, 1)])
@pytest.mark.parametrize("reserve", [0, 1])
def test_parity_and_reservation(ports: PortAllocator, parity: int, rest: int, reserve: int) -> None:
    wish = PortParity(parity=parity, reserve=reserve)
    for _ in range(8):  # the system's choice has either parity
        with opened(ports, ANY, wish) as port:
            assert number_of(port) % 2 == rest
            assert port.parity == wish
            assert len(ports._reserved) == reserve
        assert len(ports._reserved) == 0


def test_any_parity_may_be_reserved(ports: PortAllocator) -> None:
    with opened(ports, ANY, PortParity(parity=0, reserve=1)) as port:
        assert port.parity == PortParity(parity=0, reserve=1)
        assert len(ports._reserved) == 1


def test_with_a_port_asked_for_parity_is_ignored_and_nothing_reserved(ports: PortAllocator) -> None:
    with opened(ports) as free:
        number = number_of(free)
    with opened(ports, at(number), PortParity(parity=2 - number % 2, reserve=1)) as port:
        assert (number_of(port), port.parity, len(ports._reserved)) == (number, NOTHING, 0)


def test_a_reservation_is_its_owners(ports: PortAllocator) -> None:
    with opened(ports, ANY, PAIR, "alice") as port:
        counterpart = number_of(port) + 1
        for stranger in ("bob", None):
            with pytest.raises(NotAllowed):
                ports.open(at(counterpart), (), None, stranger)
        with opened(ports, at(counterpart), None, "alice") as claimed:
            assert number_of(claimed) == counterpart
            assert len(ports._reserved) == 0
            port.release()
            assert claimed.sock.fileno() >= 0  # it is no reservation any more


def test_nobodys_reservation_is_claimed_by_nobody(ports: PortAllocator) -> None:
    with opened(ports, ANY, PAIR) as port, pytest.raises(NotAllowed):
        ports.open(at(number_of(port) + 1), (), None, None)


def test_closing_gives_up_what_is_reserved(ports: PortAllocator) -> None:
    with opened(ports, ANY, PAIR) as port:
        ports.close()
        with opened(ports, at(number_of(port) + 1)):
            pass


def test_what_cannot_be_bound_is_an_error(ports: PortAllocator) -> None:
    with opened(ports) as port, pytest.raises(OSError, match="in use"):
        ports.open(at(number_of(port)), ())
    with pytest.raises(OSError, match="assign"):
        ports.open(ResolvedAddress(socket.AF_INET, ("192.0.2.1", 0)), ())


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("224.0.0.1", True),
        ("239.255.255.255", True),
        ("223.255.255.255", False),
        ("240.0.0.1", False),
        ("ff02::1", True),
        ("fe80::1", False),
        ("ff::1", False),  # 00ff
        ("::1", False),
    ],
)
def test_groups(host: str, group: bool) -> None:
    assert is_multicast(host) is group


def test_a_reserved_port_is_held_for_its_owner_alone(ports: PortAllocator) -> None:
    made = ports.open(ANY, (), PAIR, owner="alice")
    try:
        other = made.sock.getsockname()[1] ^ 1
        assert ports.holds_for("alice", ResolvedAddress(socket.AF_INET, ("0.0.0.0", other)))
        assert not ports.holds_for("bob", ResolvedAddress(socket.AF_INET, ("0.0.0.0", other)))
        assert not ports.holds_for("alice", ResolvedAddress(socket.AF_INET6, ("::", other, 0, 0)))
        assert not ports.holds_for(None, ResolvedAddress(socket.AF_INET, ("0.0.0.0", other)))
    finally:
        made.release()
        made.sock.close()
