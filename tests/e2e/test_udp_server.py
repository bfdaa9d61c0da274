"""Datagrams through a server: real sockets on loopback, both movers, clients made of bytes."""

import select
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from socks6.message.codes import ReplyCode
from socks6.message.datagrams import Datagram
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.net.datagrams.direct import DatagramSettings
from socks6.net.datagrams.filtering import Filtering
from socks6.policy.rules import Policy, Rule
from socks6.proxy.settings import Settings, UdpSettings
from tests.kit.datagram_forwarders import LOOP_OF
from tests.kit.udp_server import (
    PATIENCE,
    RawClient,
    RunningServer,
    peer_socket,
    place_of,
    received_by,
    udp_server,
)

pytestmark = pytest.mark.e2e

MOVERS = pytest.mark.parametrize("forwarder", ["python", "compiled"])
QUICK = Settings(drain_timeout=0.1)


@pytest.fixture(params=["python", "compiled"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Run a server with each mover."""
    with udp_server(forwarder=request.param, loop=LOOP_OF[request.param]) as running:
        yield running


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Give a remote host."""
    with peer_socket() as sock:
        yield sock


def exchange(client: RawClient, peer: socket.socket, data: bytes = b"there") -> tuple[str, int]:
    """Have a datagram go to a peer and back; return where it came from."""
    client.send(data, place_of(peer))
    got, source = received_by(peer)
    assert got == data
    peer.sendto(b"back: " + data, source)
    assert client.received() == (b"back: " + data, place_of(peer))
    return source


def test_datagrams_go_there_and_back_from_the_bound_port(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        assert {exchange(client, peer, b"%d" % number)[1] for number in range(5)} == {client.bound[1]}


def test_the_first_datagram_is_confirmed_and_relayed(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)) as client:
        client.send(b"first", place_of(peer))
        client.await_confirmation()
        assert received_by(peer)[0] == b"first"


def test_ipv4_ipv6_and_names_from_one_association_and_port(
    server: RunningServer, peer: socket.socket
) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client, peer_socket("::1") as peer6:
        assert exchange(client, peer)[1] == exchange(client, peer6)[1] == client.bound[1]
        for other in (peer6, peer):  # whichever family the name has
            client.send(b"by name", ("localhost", place_of(other)[1]))
        ready, _, _ = select.select([peer6, peer], [], [], PATIENCE)
        assert received_by(ready[0])[0] == b"by name"


def test_a_stranger_may_come_first(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        peer.sendto(b"knock", ("127.0.0.1", client.bound[1]))
        assert client.received() == (b"knock", place_of(peer))
        client.send(b"come in", place_of(peer))
        assert received_by(peer) == (b"come in", ("127.0.0.1", client.bound[1]))


def test_empty_datagrams_are_relayed(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        for _ in range(2):
            client.send(b"", place_of(peer))
            data, source = received_by(peer)
            assert data == b""
            peer.sendto(b"", source)
            assert client.received() == (b"", place_of(peer))


@pytest.mark.parametrize("size", [1, 1472, 9000, 65000])
def test_datagrams_of_any_size_arrive_whole(server: RunningServer, peer: socket.socket, size: int) -> None:
    data = bytes(range(256)) * 256
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        for number in range(3):
            exchange(client, peer, data[number : number + size])


def test_what_is_too_long_for_a_message_is_dropped_and_nothing_else(
    server: RunningServer, peer: socket.socket
) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        source = exchange(client, peer)
        peer.sendto(bytes(65507), source)  # fits UDP, but not behind a header
        exchange(client, peer)


def test_padding_behind_a_message_is_ignored(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        for _ in range(3):
            client.send_raw(client.message(b"data", place_of(peer)) + b"padding")
            assert received_by(peer)[0] == b"data"


def test_many_datagrams_of_many_sizes_keep_their_order(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        source = exchange(client, peer)
        for burst in range(20):
            sizes = [1 + (burst * 37 + number * 211) % 300 if number % 5 else 200 for number in range(20)]
            pieces = [bytes([burst, number]) * size for number, size in enumerate(sizes)]
            for piece in pieces:
                client.send(piece, place_of(peer))
            assert [received_by(peer)[0] for _ in pieces] == pieces
            for piece in pieces:
                peer.sendto(piece, source)
            assert [client.received()[0] for _ in pieces] == pieces


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
@pytest.mark.parametrize("layout", list(DatagramLayout))
@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_both_layouts_in_both_dialects(
    peer: socket.socket, forwarder: str, layout: DatagramLayout, dialect: Dialect
) -> None:
    settings = replace(QUICK, dialects=(DRAFT_12, GO_212))
    with (
        udp_server(forwarder=forwarder, settings=settings) as server,
        RawClient(("127.0.0.1", server.port), dialect=dialect, layout=layout).opened() as client,
    ):
        for _ in range(3):
            exchange(client, peer)
            assert client.last_layout is layout


@MOVERS
@pytest.mark.parametrize("layout", list(DatagramLayout))
def test_ports_that_fit_both_layouts_are_read_as_the_association_began(
    forwarder: str, layout: DatagramLayout
) -> None:
    port = {DatagramLayout.DRAFT: 4, DatagramLayout.CONSISTENT: 1024}[layout]
    with (
        udp_server(forwarder=forwarder) as server,
        peer_socket(port=port) as peer,
        RawClient(("127.0.0.1", server.port), layout=layout) as client,
        peer_socket() as clear,
    ):
        client.send(b"shows the layout", place_of(clear))
        client.await_confirmation()
        for _ in range(3):
            exchange(client, peer)


def test_on_the_stream_it_is_the_same(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened_on_stream() as client, peer_socket("::1") as peer6:
        for other in (peer, peer6, peer):
            client.send_on_stream(b"there", place_of(other))
            data, source = received_by(other)
            assert data == b"there"
            other.sendto(b"back", source)
            assert client.receive_on_stream() == Datagram(
                association_id=client.id, host=place_of(other)[0], port=place_of(other)[1], data=b"back"
            )


@pytest.mark.parametrize("layout", list(DatagramLayout))
def test_on_the_stream_one_message_shows_how_to_read_the_next_in_the_same_piece(
    server: RunningServer, layout: DatagramLayout
) -> None:
    port = {DatagramLayout.DRAFT: 4, DatagramLayout.CONSISTENT: 1024}[layout]
    with (
        peer_socket(port=port) as peer,
        RawClient(("127.0.0.1", server.port), layout=layout) as client,
        peer_socket() as clear,
    ):
        client.tcp.sendall(
            client.message(b"clear", place_of(clear)) + client.message(b"ambiguous", place_of(peer))
        )
        assert received_by(peer)[0] == b"ambiguous"


def test_the_association_ends_with_its_stream(server: RunningServer, peer: socket.socket) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        exchange(client, peer)
        client.tcp.shutdown(socket.SHUT_WR)
        assert client.ended()
    summary = server.summaries.get(timeout=5)
    assert (summary.command, summary.reply, summary.bytes_up, summary.bytes_down) == (
        "UDP_ASSOCIATE",
        0,
        5,
        11,
    )
    with peer_socket("0.0.0.0", port=client.bound[1]):
        pass  # the port is free again


def test_lost_framing_on_the_stream_ends_the_association(server: RunningServer) -> None:
    with RawClient(("127.0.0.1", server.port)).opened() as client:
        client.tcp.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.ended()


@pytest.mark.parametrize("forwarder", ["python", "compiled"])
@pytest.mark.parametrize("filtering", list(Filtering))
def test_filtering_as_stun_finds_it(forwarder: str, filtering: Filtering) -> None:
    """RFC 5780, section 4.4: who else may answer, when the client has sent to one address and port."""
    datagrams = DatagramSettings(filtering=filtering)
    with (
        udp_server(forwarder=forwarder, datagrams=datagrams) as server,
        peer_socket("127.0.0.1") as first,
        peer_socket("127.0.0.1") as other_port,
        peer_socket("127.0.0.2") as other_address,
        RawClient(("127.0.0.1", server.port)).opened() as client,
    ):
        for _ in range(2):
            mapped = exchange(client, first)
            other_address.sendto(b"other address", mapped)
            other_port.sendto(b"other port", mapped)
            first.sendto(b"same", mapped)
            expected = {
                Filtering.ENDPOINT_INDEPENDENT: [b"other address", b"other port", b"same"],
                Filtering.ADDRESS_DEPENDENT: [b"other port", b"same"],
                Filtering.ADDRESS_AND_PORT_DEPENDENT: [b"same"],
            }[filtering]
            assert sorted(client.received()[0] for _ in expected) == expected
        # the mapping is endpoint-independent, whatever the filter
        assert exchange(client, other_port) == exchange(client, other_address) == mapped


@MOVERS
def test_rules_are_asked_about_names_addresses_and_senders(forwarder: str) -> None:
    policy = Policy(
        allow_private=True,
        rules=(
            Rule.parse("deny", hosts=["127.0.0.2"], commands=["udp"]),
            Rule.parse("deny", hosts=["127.0.0.3"], commands=["peer"]),
        ),
    )
    with (
        udp_server(forwarder=forwarder, policy=policy) as server,
        peer_socket("127.0.0.1") as allowed,
        peer_socket("127.0.0.2") as denied,
        peer_socket("127.0.0.3") as silenced,
        RawClient(("127.0.0.1", server.port)).opened() as client,
    ):
        denied.settimeout(0)
        for _ in range(2):
            client.send(b"no", place_of(denied))
            client.send(b"yes", place_of(silenced))
            data, source = received_by(silenced)
            assert data == b"yes"
            silenced.sendto(b"no", source)
            exchange(client, allowed)
            with pytest.raises(BlockingIOError):
                denied.recv(10)
        denied.sendto(b"uninvited, but he comes by himself", source)
        assert client.received()[1] == place_of(denied)


def test_private_networks_are_closed_unless_the_rules_say_otherwise(peer: socket.socket) -> None:
    with (
        udp_server(policy=Policy()) as server,
        RawClient(("127.0.0.1", server.port)).opened() as client,
    ):
        peer.settimeout(0)
        client.send(b"no", place_of(peer))
        client.send(b"no", ("localhost", place_of(peer)[1]))
        peer.sendto(b"fence", ("127.0.0.1", client.bound[1]))
        assert client.received()[0] == b"fence"
        with pytest.raises(BlockingIOError):
            peer.recv(10)


def test_a_denied_command_is_refused_at_once() -> None:
    policy = Policy(rules=(Rule.parse("deny", commands=["udp"]),))
    with udp_server(policy=policy) as server, RawClient(("127.0.0.1", server.port)) as client:
        assert client.reply.code == ReplyCode.NOT_ALLOWED


def test_a_certain_address_and_port_is_given_or_refused(peer: socket.socket) -> None:
    with peer_socket() as free:
        port = place_of(free)[1]
    with udp_server() as server:
        with RawClient(("127.0.0.1", server.port), host="127.0.0.1", port=port) as client:
            assert client.bound == ("127.0.0.1", port)
            assert exchange(client.opened(), peer) == ("127.0.0.1", port)
        taken = place_of(peer)
        for host, wanted in (("127.0.0.1", taken[1]), ("192.0.2.1", 0), ("127.0.0.1", 53)):
            with RawClient(("127.0.0.1", server.port), host=host, port=wanted) as client:
                assert client.reply.code != ReplyCode.SUCCEEDED


def test_a_bind_address_of_zeros_gets_the_family_that_it_is_of() -> None:
    with udp_server() as server, RawClient(("127.0.0.1", server.port), host="::") as client:
        assert ":" in client.bound[0]


def test_associations_are_limited_by_user_and_in_all() -> None:
    settings = replace(QUICK, udp=UdpSettings(associations=2))
    with udp_server(settings=settings) as server:
        place = ("127.0.0.1", server.port)
        with RawClient(place) as first, RawClient(place) as second:
            assert (first.reply.code, second.reply.code) == (0, 0)
            with RawClient(place) as third:
                assert third.reply.code == 1
            first.tcp.shutdown(socket.SHUT_WR)
            assert first.ended()
            server.summaries.get(timeout=5)
            server.summaries.get(timeout=5)
            with RawClient(place) as fourth:
                assert fourth.reply.code == 0


def test_who_sends_nothing_in_time_is_closed() -> None:
    settings = replace(QUICK, udp=UdpSettings(first_timeout=0.1))
    with udp_server(settings=settings) as server:
        with RawClient(("127.0.0.1", server.port)) as client:
            assert client.ended()
        assert server.summaries.get(timeout=5).reason == "no first datagram"
        with RawClient(("127.0.0.1", server.port)).opened() as client, peer_socket() as peer:
            exchange(client, peer)


@MOVERS
def test_an_idle_association_is_closed(forwarder: str) -> None:
    settings = replace(QUICK, udp=UdpSettings(idle_timeout=0.3))
    with udp_server(forwarder=forwarder, settings=settings) as server:
        with RawClient(("127.0.0.1", server.port)).opened() as client, peer_socket() as peer:
            exchange(client, peer)
            assert client.ended()
        assert server.summaries.get(timeout=5).reason == "idle"


def test_without_udp_there_is_the_stream(peer: socket.socket) -> None:
    settings = replace(QUICK, udp=UdpSettings(enabled=False))
    with udp_server(settings=settings) as server:
        with peer_socket(port=server.port):
            pass  # nobody listens there
        with RawClient(("127.0.0.1", server.port)).opened_on_stream() as client:
            client.send_on_stream(b"there", place_of(peer))
            assert received_by(peer)[0] == b"there"


def test_a_mixed_inbound_takes_datagrams_too(peer: socket.socket) -> None:
    with (
        udp_server(inbound="mixed") as server,
        RawClient(("127.0.0.1", server.port)).opened() as client,
    ):
        exchange(client, peer)
