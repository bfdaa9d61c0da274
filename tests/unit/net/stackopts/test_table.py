"""Setting stack options on sockets, telling what is in force, answering for both legs."""

import socket
import sys
from collections.abc import Iterator

import pytest

from socks6.message.codes import Leg
from socks6.message.options import (
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    PortParity,
    StackOption,
    Tfo,
    Tos,
    Ttl,
    UdpError,
)
from socks6.message.options.stack import ConnectFacts
from socks6.net.stackopts.table import (
    TCP_CONGESTION,
    accept_fast_open,
    adapter_of,
    apply_options,
    effective_options,
    for_leg,
    holds,
    merge_legs,
    set_congestion_control,
    write,
)

NEAR, FAR = Leg.CLIENT_PROXY, Leg.PROXY_REMOTE
FAMILIES = pytest.mark.parametrize("connected", ["127.0.0.1", "::1"], indirect=True)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some rows")


@pytest.fixture
def connected(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Give a TCP connection on loopback."""
    host = getattr(request, "param", "127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as sock,
    ):
        yield sock


@pytest.mark.parametrize("option", [Tos(leg=3, tos=8), Ttl(leg=1, ttl=9), HappyEyeballs(availability=2)])
def test_what_every_system_has_is_supported(option: StackOption) -> None:
    assert adapter_of(option) is not None


@LINUX
@pytest.mark.parametrize(
    "option", [NoFragmentation(leg=3, availability=2), Tfo(payload_size=1), Multipath(availability=2)]
)
def test_linux_has_more(option: StackOption) -> None:
    assert adapter_of(option) is not None


@pytest.mark.parametrize("option", [ListenBacklog(backlog=1), UdpError(availability=2), PortParity(parity=1)])
def test_what_is_no_matter_of_a_connection_is_not_supported_here(option: StackOption) -> None:
    assert adapter_of(option) is None


def test_an_option_concerns_its_leg_or_both() -> None:
    near, far, both = Ttl(leg=1, ttl=1), Ttl(leg=2, ttl=1), Tos(leg=3, tos=4)
    options = (near, far, both, ListenBacklog(backlog=1))
    assert for_leg(options, NEAR) == (near, both)
    assert for_leg(options, FAR) == (far, both)


@FAMILIES
def test_what_is_set_is_in_force_on_its_leg(connected: socket.socket) -> None:
    wanted = (Tos(leg=3, tos=0x48), Ttl(leg=2, ttl=33))
    apply_options(connected, wanted, FAR)
    assert effective_options(connected, wanted, FAR) == (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33))


@FAMILIES
def test_what_is_about_the_other_leg_is_left_alone(connected: socket.socket) -> None:
    wanted = (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33))
    apply_options(connected, wanted, NEAR)
    assert effective_options(connected, wanted, NEAR) == ()
    assert effective_options(connected, wanted, FAR) == (Tos(leg=2, tos=0), Ttl(leg=2, ttl=64))


@LINUX
@FAMILIES
def test_no_fragmentation_is_told_only_where_it_is_enforced(connected: socket.socket) -> None:
    wished, allowed = NoFragmentation(leg=2, availability=2), NoFragmentation(leg=2, availability=1)
    assert effective_options(connected, [wished], FAR) == (allowed,)
    apply_options(connected, [allowed], FAR)
    assert effective_options(connected, [allowed], FAR) == (allowed,)
    apply_options(connected, [wished], FAR)
    assert effective_options(connected, [wished], FAR) == (wished,)


@LINUX
def test_what_was_unasked_is_untouched(connected: socket.socket) -> None:
    everything = (Tos(leg=2, tos=1), Ttl(leg=2, ttl=1), NoFragmentation(leg=2, availability=2))
    before = effective_options(connected, everything, FAR)
    apply_options(connected, [], FAR)
    assert effective_options(connected, everything, FAR) == before
    apply_options(connected, [Ttl(leg=2, ttl=33)], FAR)
    assert effective_options(connected, everything, FAR) == (before[0], Ttl(leg=2, ttl=33), before[2])


def test_a_refusal_of_the_kernel_is_no_error() -> None:
    with socket.socket() as closed:
        pass
    apply_options(closed, [Tos(leg=2, tos=8), Ttl(leg=2, ttl=9)], FAR)
    assert effective_options(closed, [Tos(leg=2, tos=8), Ttl(leg=2, ttl=9)], FAR) == ()


def test_a_socket_without_ip_has_none_of_it() -> None:
    left, right = socket.socketpair()
    wanted = (
        *(Tos(leg=2, tos=8), Ttl(leg=2, ttl=9), NoFragmentation(leg=2, availability=2)),
        *(Tfo(payload_size=9), Multipath(availability=2)),
    )
    with left, right:
        apply_options(left, wanted, FAR)
        assert effective_options(left, wanted, FAR) == ()


@LINUX
def test_a_datagram_socket_has_no_tcp() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        wanted = (Tfo(payload_size=9), Multipath(availability=2), Ttl(leg=2, ttl=9))
        apply_options(sock, wanted, FAR)
        assert effective_options(sock, wanted, FAR) == (Ttl(leg=2, ttl=9),)


@LINUX
def test_a_ttl_is_for_multicast_too() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        apply_options(sock, [Ttl(leg=2, ttl=9)], FAR)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 9
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        apply_options(sock, [Ttl(leg=2, ttl=9)], FAR)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 9


@LINUX
def test_an_ipv4_peer_of_an_ipv6_socket_gets_what_was_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as sock:
        apply_options(sock, [Tos(leg=2, tos=8), Ttl(leg=2, ttl=33)], FAR)
        sock.connect((f"::ffff:{server.getsockname()[0]}", server.getsockname()[1]))
        sock.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 99
        )  # of no effect on such a connection
        assert effective_options(sock, [Tos(leg=2, tos=1), Ttl(leg=2, ttl=1)], FAR) == (
            Tos(leg=2, tos=8),
            Ttl(leg=2, ttl=33),
        )


@LINUX
def test_plain_tcp_is_not_multipath(connected: socket.socket) -> None:
    assert effective_options(connected, [Multipath(availability=2)], FAR) == (Multipath(availability=1),)


@LINUX
@pytest.mark.parametrize(("raced", "availability"), [(True, 2), (False, 1)])
def test_who_connected_tells_of_the_race_and_the_syn(
    connected: socket.socket, raced: bool, availability: int
) -> None:
    wanted = (HappyEyeballs(availability=2), Tfo(payload_size=0))
    assert effective_options(connected, wanted, FAR, ConnectFacts(raced=raced, syn_bytes=7)) == (
        HappyEyeballs(availability=availability),
        Tfo(payload_size=7),
    )


@LINUX
def test_untold_there_was_no_question_of_a_race_and_nothing_in_the_syn(connected: socket.socket) -> None:
    wanted = (HappyEyeballs(availability=2), Tfo(payload_size=9))
    assert effective_options(connected, wanted, FAR) == (Tfo(payload_size=0),)


def test_where_both_legs_agree_one_option_says_so() -> None:
    near, far = (Tos(leg=1, tos=8), Ttl(leg=1, ttl=9)), (Ttl(leg=2, ttl=9), Tos(leg=2, tos=8))
    assert merge_legs(near, far) == (Tos(leg=3, tos=8), Ttl(leg=3, ttl=9))


def test_where_they_differ_each_says_its_own() -> None:
    assert merge_legs([Ttl(leg=1, ttl=9)], [Ttl(leg=2, ttl=8)]) == (Ttl(leg=1, ttl=9), Ttl(leg=2, ttl=8))


@pytest.mark.parametrize(
    "far", [(), (Multipath(availability=1), Tfo(payload_size=3), HappyEyeballs(availability=2))]
)
def test_what_one_leg_alone_has_stays(far: tuple[StackOption, ...]) -> None:
    assert merge_legs([], far) == far
    assert merge_legs([Ttl(leg=1, ttl=9)], far) == (Ttl(leg=1, ttl=9), *far)


def test_a_value_is_held_once_it_is_written(connected: socket.socket) -> None:
    assert not holds(connected, Ttl(leg=2, ttl=33))
    write(connected, Ttl(leg=2, ttl=33))
    assert holds(connected, Ttl(leg=2, ttl=33))


@LINUX
def test_what_is_not_supported_is_neither_written_nor_missed(connected: socket.socket) -> None:
    write(connected, UdpError(availability=2))
    assert holds(connected, UdpError(availability=2))


def test_what_is_not_written_is_always_held(connected: socket.socket) -> None:
    write(connected, HappyEyeballs(availability=2))
    assert holds(connected, HappyEyeballs(availability=2))


@LINUX
def test_a_listener_may_take_data_in_syns() -> None:
    with socket.socket() as sock:
        accept_fast_open(sock, 5)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 5
    accept_fast_open(sock, 5)  # closed: nothing happens


@LINUX
def test_a_listeners_congestion_control_is_that_of_its_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        usual = listener.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16)
        set_congestion_control(listener, "")
        assert listener.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16) == usual
        set_congestion_control(listener, "reno")  # which every Linux has
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
        with pytest.raises(OSError, match="no congestion control nothing: "):
            set_congestion_control(listener, "nothing")
