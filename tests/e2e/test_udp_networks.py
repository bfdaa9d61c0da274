"""Datagrams through a server in networks with routers, groups and several addresses."""

import socket
import struct
from collections.abc import Iterator

import pytest

from socks6.message.codes import DatagramErrorCode
from socks6.message.datagrams import DatagramError
from socks6.message.options import NoFragmentation, Tos, Ttl, UdpError
from socks6.net.datagrams.direct import DatagramSettings
from socks6.policy.rules import Policy, Rule
from tests.kit.netns import LEFT, RIGHT, Road, needs_namespaces, road
from tests.kit.udp_server import RawClient, peer_socket, place_of, received_by, udp_server

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
REPORTS = UdpError(availability=2)
NO_REPORTS = UdpError(availability=1)
GROUPS: dict[int, str] = {socket.AF_INET: "239.1.2.3", socket.AF_INET6: "ff15::1:2:3"}


@pytest.fixture
def far() -> Iterator[Road]:
    """Give a host with the server and its client, two routers, and a remote host."""
    with road(routers=2) as made:
        yield made


def fence(client: RawClient, peer: socket.socket) -> None:
    """Fail if anything comes before what is sent to a peer and back."""
    client.send(b"fence", place_of(peer))
    data, source = received_by(peer)
    assert data == b"fence"
    peer.sendto(b"fence", source)
    assert client.received() == (b"fence", place_of(peer))


@FAMILIES
@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_routers_are_reported_where_the_ttl_ends(far: Road, family: int, forwarder: str) -> None:
    host = far.last_address(family)
    with (
        udp_server(namespace=far.first, forwarder=forwarder) as server,
        peer_socket(host, namespace=far.last) as peer,
    ):
        for ttl in (1, 2):
            options = (REPORTS, Ttl(leg=2, ttl=ttl))
            with RawClient(
                ("127.0.0.1", server.port), options=options, namespace=far.first
            ).opened() as client:
                assert set(client.reply.options) == set(options)
                for number in range(3):
                    client.send(b"%d" % number, place_of(peer))
                    assert client.receive() == DatagramError(
                        association_id=client.id,
                        host=host,
                        port=place_of(peer)[1],
                        code=DatagramErrorCode.TTL_EXPIRED,
                        reporter=far.address(ttl, family),
                    )


@pytest.mark.parametrize(
    ("family", "route", "meaning"),
    [
        (socket.AF_INET, "", DatagramErrorCode.NETWORK_UNREACHABLE),  # ICMP 3/0
        (socket.AF_INET, "unreachable", DatagramErrorCode.HOST_UNREACHABLE),  # 3/1
        (socket.AF_INET, "prohibit", None),  # 3/13
        (socket.AF_INET6, "", DatagramErrorCode.NETWORK_UNREACHABLE),  # ICMPv6 1/0
        (socket.AF_INET6, "unreachable", DatagramErrorCode.NETWORK_UNREACHABLE),
        (socket.AF_INET6, "prohibit", None),  # 1/1
    ],
)
def test_what_routers_say_of_hosts(
    far: Road, family: int, route: str, meaning: DatagramErrorCode | None
) -> None:
    other = "fd66:99::1" if family == socket.AF_INET6 else "10.99.0.1"
    network = f"{other}/128" if family == socket.AF_INET6 else f"{other}/32"
    near = far.address(1, family)
    far.first.configure(f"route add {network} via {near}")
    if route:
        far.hosts[1].configure(f"route add {route} {network}")
    with (
        udp_server(namespace=far.first) as server,
        peer_socket(far.last_address(family), namespace=far.last) as peer,
        RawClient(("127.0.0.1", server.port), options=(REPORTS,), namespace=far.first).opened() as client,
    ):
        client.send(b"lost", (other, 9))
        if meaning is None:
            fence(client, peer)
        else:
            assert client.receive() == DatagramError(
                association_id=client.id, host=other, port=9, code=meaning, reporter=near
            )


@FAMILIES
def test_a_host_that_nobody_is(far: Road, family: int) -> None:
    """The last router asks for a host by ARP or neighbour discovery, in vain: ICMP 3/1, ICMPv6 1/3."""
    nobody = far.last_address(family)[:-1] + "77"
    version = "ipv6" if family == socket.AF_INET6 else "ipv4"
    far.hosts[2].set(f"net.{version}.neigh.right.retrans_time_ms", 50)
    with (
        udp_server(namespace=far.first) as server,
        RawClient(("127.0.0.1", server.port), options=(REPORTS,), namespace=far.first).opened() as client,
    ):
        client.send(b"anybody?", (nobody, 9))
        assert client.receive() == DatagramError(
            association_id=client.id,
            host=nobody,
            port=9,
            code=DatagramErrorCode.HOST_UNREACHABLE,
            reporter=far.address(2, family),
        )


@FAMILIES
def test_a_closed_port_is_not_reported(far: Road, family: int) -> None:
    host = far.last_address(family)
    with (
        udp_server(namespace=far.first) as server,
        peer_socket(host, namespace=far.last) as peer,
        RawClient(("127.0.0.1", server.port), options=(REPORTS,), namespace=far.first).opened() as client,
    ):
        with peer_socket(host, namespace=far.last) as gone:
            closed = place_of(gone)
        for _ in range(3):
            client.send(b"nobody there", closed)
            fence(client, peer)


@FAMILIES
def test_nothing_is_reported_to_who_did_not_ask(far: Road, family: int) -> None:
    host = far.last_address(family)
    for options in ((), (NO_REPORTS,)):
        with (
            udp_server(namespace=far.first) as server,
            RawClient(("127.0.0.1", server.port), options=options, namespace=far.first).opened() as client,
        ):
            assert client.reply.options == options
            far.hosts[1].configure(
                f"route replace unreachable {'fd66:3::/64' if ':' in host else '10.66.3.0/24'}"
            )
            client.send(b"lost", (host, 9))
            with peer_socket(far.address(1, family), namespace=far.hosts[1]) as peer:
                fence(client, peer)


@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_too_big_is_reported_over_ipv6_alone(far: Road, forwarder: str) -> None:
    far.hosts[1].configure(f"link set {RIGHT} mtu 1300")
    far.hosts[2].configure(f"link set {LEFT} mtu 1300")
    options = (REPORTS, NoFragmentation(leg=2, availability=2))
    with (
        udp_server(namespace=far.first, forwarder=forwarder) as server,
        peer_socket(far.last_address(socket.AF_INET6), namespace=far.last) as peer6,
        peer_socket(far.last_address(), namespace=far.last) as peer4,
        RawClient(("127.0.0.1", server.port), options=options, namespace=far.first).opened() as client,
    ):
        assert set(client.reply.options) == set(options)
        client.send(bytes(1400), place_of(peer6))
        error = client.receive()
        assert isinstance(error, DatagramError)
        assert (error.code, error.reporter) == (
            DatagramErrorCode.TOO_BIG,
            far.address(1, socket.AF_INET6),
        )
        client.send(bytes(1400), place_of(peer6))  # the path is known now: the server's own system says so
        error = client.receive()
        assert isinstance(error, DatagramError)
        assert (error.code, error.host, error.port) == (DatagramErrorCode.TOO_BIG, *place_of(peer6))
        assert error.reporter == far.own_address(0, socket.AF_INET6)
        client.send(bytes(1400), place_of(peer4))
        fence(client, peer4)
        client.send(bytes(1200), place_of(peer6))
        assert len(received_by(peer6)[0]) == 1200


@FAMILIES
@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_tos_and_ttl_on_both_legs(far: Road, family: int, forwarder: str) -> None:
    options = (Tos(leg=3, tos=0xB8), Ttl(leg=3, ttl=77))
    server_address = far.address(1, family)
    with (
        udp_server(namespace=far.hosts[1], host=server_address, forwarder=forwarder) as server,
        peer_socket(far.last_address(family), namespace=far.last) as peer,
        RawClient((server_address, server.port), options=options, namespace=far.first).opened() as client,
    ):
        assert set(client.reply.options) == set(options)
        for sock in (client.udp, peer):
            listen_to_headers(sock)
        for _ in range(3):
            client.send(b"there", place_of(peer))
            data, header, source = with_header(peer)
            assert (data, header) == (b"there", (0xB8, 76))  # through one router more
            peer.sendto(b"back", source)
            _, header, _ = with_header(client.udp)
            assert header == (0xB8, 77)


@FAMILIES
@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_groups_are_sent_to_and_joined(far: Road, family: int, forwarder: str) -> None:
    """Two clients, one on each side of a link, exchange multicast through their servers."""
    group = GROUPS[family]
    here, there = far.hosts[1], far.hosts[2]
    with (
        udp_server(
            namespace=here, forwarder=forwarder, datagrams=DatagramSettings(multicast_interface=RIGHT)
        ) as one,
        udp_server(
            namespace=there, forwarder=forwarder, datagrams=DatagramSettings(multicast_interface=LEFT)
        ) as two,
        RawClient(
            ("127.0.0.1", one.port), host="::" if ":" in group else "0.0.0.0", namespace=here
        ) as sender,
        RawClient(("127.0.0.1", two.port), host=group, port=5353, namespace=there) as listener,
    ):
        assert listener.bound == (group, 5353)
        sender.opened()
        listener.opened()
        for _ in range(3):
            sender.send(b"to all", (group, 5353))
            data, source = listener.received()
            assert data == b"to all"
            listener.send(b"to you", source)
            assert sender.received()[0] == b"to you"


def test_groups_are_closed_unless_the_rules_open_them(far: Road) -> None:
    here, there = far.hosts[1], far.hosts[2]
    group = GROUPS[socket.AF_INET]
    open_group = Policy(rules=(Rule.parse("allow", hosts=["239.0.0.0/8", "10.66.0.0/16"]),))
    quiet = Policy(
        rules=(
            Rule.parse("deny", hosts=["10.66.2.1"], commands=["peer"]),
            Rule.parse("allow", hosts=["239.0.0.0/8"]),
        )
    )
    settings = DatagramSettings(multicast_interface=RIGHT)
    with (
        udp_server(namespace=here, policy=Policy(), datagrams=settings) as closed,
        RawClient(("127.0.0.1", closed.port), host=group, port=5353, namespace=here) as client,
    ):
        assert client.reply.code == 2
    with (
        udp_server(namespace=here, policy=open_group, datagrams=settings) as one,
        udp_server(
            namespace=there, policy=quiet, datagrams=DatagramSettings(multicast_interface=LEFT)
        ) as two,
        RawClient(("127.0.0.1", one.port), namespace=here).opened() as sender,
        RawClient(("127.0.0.1", two.port), host=group, port=5353, namespace=there).opened() as listener,
        peer_socket("10.66.2.2", namespace=there) as neighbour,
    ):
        sender.send(b"filtered by its source", (group, 5353))
        neighbour.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.66.2.2"))
        neighbour.sendto(b"heard", (group, 5353))
        assert listener.received() == (b"heard", place_of(neighbour))


def listen_to_headers(sock: socket.socket) -> None:
    """Have a socket tell of each datagram's TOS and TTL."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)


def with_header(sock: socket.socket) -> tuple[bytes, tuple[int, int], tuple[str, int]]:
    """Return data, TOS with TTL, and source of the next datagram."""
    data, control, _, source = sock.recvmsg(2048, 256)
    found = {kind: value for _, kind, value in control}
    tos, ttl = (1, 2) if sock.family == socket.AF_INET else (socket.IPV6_TCLASS, socket.IPV6_HOPLIMIT)
    return data, (found[tos][0], struct.unpack("=i", found[ttl])[0]), (source[0], source[1])
