"""§ Handling UDP ASSOCIATE, § UDP Error options, § Port Parity options: what binds the proxy that relays."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    Datagram,
)
from socks6.message.options import PortParity, SessionId, SessionRequest, Ttl, UdpError, find
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

REPORTS = UdpError(availability=2)
PAIR = PortParity(parity=1, reserve=1)


@pytest.fixture(params=["python", "compiled"])
def proxy(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Run a proxy with each mover."""
    with udp_server(forwarder=request.param, loop=LOOP_OF[request.param]) as running:
        yield running


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Give a remote host."""
    with peer_socket() as sock:
        yield sock


def asking(proxy: RunningServer, **request: object) -> RawClient:
    """Return a client that has asked for an association."""
    return RawClient(("127.0.0.1", proxy.port), **request)  # type: ignore[arg-type] # named as the client's


def test_the_initialization_comes_first_with_an_id(proxy: RunningServer) -> None:
    with asking(proxy) as client:
        assert client.reply.code == 0
        assert client.id  # told by the Initialization


def test_ids_should_be_random(proxy: RunningServer) -> None:
    ids = set()
    for _ in range(8):
        with asking(proxy) as client:
            ids.add(client.id)
    assert len(ids) == 8
    assert max(ids) >> 56 != min(ids) >> 56  # not one after another
    assert len({number & 0xFFFF for number in ids}) > 1


def test_the_reply_tells_where_remote_hosts_reach_the_client(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy).opened() as client:
        peer.sendto(b"hello", client.bound)
        assert client.received()[0] == b"hello"


def test_the_first_datagram_maps_the_association_to_its_path(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy).opened() as client, client.another_socket() as elsewhere:
        elsewhere.sendto(client.message(b"not mapped", place_of(peer)), client.server)
        client.send_on_stream(b"nor this", place_of(peer))
        client.send(b"mapped", place_of(peer))
        assert received_by(peer)[0] == b"mapped"


def test_a_confirmation_follows_the_first_datagram_and_no_other(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy) as client:
        client.send(b"one", place_of(peer))
        assert client.receive_on_stream() == AssociationConfirmation(association_id=client.id)
        client.send(b"two", place_of(peer))
        assert [received_by(peer)[0] for _ in range(2)] == [b"one", b"two"]
        client.tcp.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.tcp.recv(1)


def test_packets_for_the_bind_address_are_relayed_with_a_datagram_header(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy).opened() as client:
        peer.sendto(b"data", client.bound)
        host, port = place_of(peer)
        assert client.receive() == Datagram(association_id=client.id, host=host, port=port, data=b"data")


def test_the_connection_should_be_closed_when_no_first_datagram_comes() -> None:
    settings = Settings(drain_timeout=0.1, udp=UdpSettings(first_timeout=0.05))
    with udp_server(settings=settings) as proxy, asking(proxy) as client:
        assert client.ended()


def test_an_association_ends_with_its_connection(proxy: RunningServer, peer: socket.socket) -> None:
    with asking(proxy).opened() as client:
        client.tcp.shutdown(socket.SHUT_WR)
        assert client.ended()
        client.send(b"too late", place_of(peer))
        with asking(proxy).opened() as other:
            other.send(b"in time", place_of(peer))
            assert received_by(peer)[0] == b"in time"


def test_a_datagram_to_zeros_is_confirmed_and_never_relayed(
    proxy: RunningServer, peer: socket.socket
) -> None:
    """§ Proxying UDP servers: the remote host speaks first."""
    with asking(proxy) as client:
        client.send(b"", ("0.0.0.0", 0))
        client.await_confirmation()
        client.send(b"", ("0.0.0.0", 0))
        peer.sendto(b"first", client.bound)
        assert client.received() == (b"first", place_of(peer))


def test_padding_must_be_ignored(proxy: RunningServer, peer: socket.socket) -> None:
    with asking(proxy).opened() as client:
        for _ in range(2):
            client.send_raw(client.message(b"data", place_of(peer)) + b"padding")
            assert received_by(peer)[0] == b"data"


def test_a_message_longer_than_its_payload_must_be_silently_ignored(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy).opened() as client:
        client.send_raw(client.message(b"cut off", place_of(peer))[:-1])
        client.send(b"whole", place_of(peer))
        assert received_by(peer)[0] == b"whole"


def test_no_error_is_sent_to_who_has_not_opted_in(proxy: RunningServer, peer: socket.socket) -> None:
    """Of the errors themselves: tests/e2e/test_udp_networks.py."""
    for options in ((), (UdpError(availability=1),), (REPORTS,)):
        with asking(proxy, options=options) as client:
            said = find(client.reply.options, UdpError)
            assert (said is not None and said.availability == 2) == (REPORTS in options)


def test_stack_options_are_about_the_datagrams(proxy: RunningServer, peer: socket.socket) -> None:
    with asking(proxy, options=(Ttl(leg=2, ttl=9),)).opened() as client:
        assert client.reply.options == (Ttl(leg=2, ttl=9),)
        peer.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        client.send(b"data", place_of(peer))
        assert peer.recvmsg(10, 100)[1] == [(socket.IPPROTO_IP, socket.IP_TTL, (9).to_bytes(4, "little"))]


@pytest.mark.parametrize(("parity", "rest"), [(1, 0), (2, 1)])
def test_parity_is_honoured_and_the_counterpart_reserved(
    proxy: RunningServer, parity: int, rest: int
) -> None:
    with asking(proxy, options=(PortParity(parity=parity, reserve=1),)) as client:
        assert client.reply.options == (PortParity(parity=parity, reserve=1),)
        assert client.bound[1] % 2 == rest
        with pytest.raises(OSError, match="in use"):
            peer_socket("0.0.0.0", port=client.bound[1] ^ 1)


def test_with_a_port_asked_for_the_suggested_parity_must_be_ignored(proxy: RunningServer) -> None:
    with peer_socket("0.0.0.0") as sock:
        port = place_of(sock)[1]
    wrong = PortParity(parity=2 - port % 2, reserve=1)
    with asking(proxy, port=port, options=(wrong,)) as client:
        assert client.bound[1] == port
        assert client.reply.options == (PortParity(parity=0, reserve=0),)
        with peer_socket("0.0.0.0", port=port ^ 1):
            pass  # and nothing was reserved


def test_a_reserved_port_is_had_by_asking_for_it_alone(proxy: RunningServer) -> None:
    with asking(proxy, options=(PAIR,)) as client:
        counterpart = client.bound[1] + 1
        with asking(proxy) as any_port:
            assert any_port.bound[1] != counterpart
        with asking(proxy, port=counterpart) as claimed:
            assert claimed.bound[1] == counterpart


def test_a_reservation_ends_with_the_association(proxy: RunningServer) -> None:
    with asking(proxy, options=(PAIR,)) as client:
        client.tcp.shutdown(socket.SHUT_WR)
        assert client.ended()
        proxy.summaries.get(timeout=PATIENCE)
    with peer_socket("0.0.0.0", port=client.bound[1] + 1):
        pass


def test_a_reservation_ends_when_the_port_is_claimed_and_left(proxy: RunningServer) -> None:
    with asking(proxy, options=(PAIR,)) as client:
        with asking(proxy, port=client.bound[1] + 1) as claimed:
            claimed.tcp.shutdown(socket.SHUT_WR)
            assert claimed.ended()
            proxy.summaries.get(timeout=PATIENCE)
        with peer_socket("0.0.0.0", port=client.bound[1] + 1):
            pass


def test_a_sessions_reservation_is_claimed_from_within_the_session_alone() -> None:
    settings = Settings(drain_timeout=0.1)
    settings = replace(settings, sessions=replace(settings.sessions, anonymous=True))
    with udp_server(settings=settings) as proxy, asking(proxy, options=(SessionRequest(), PAIR)) as client:
        session = find(client.authentication.options, SessionId)
        assert session is not None
        counterpart = client.bound[1] + 1
        with asking(proxy, port=counterpart) as stranger:
            assert stranger.reply.code == 2
        with asking(proxy, port=counterpart, options=(session,)) as own:
            assert own.bound[1] == counterpart


def test_messages_from_the_client_that_only_proxies_send_are_dropped(
    proxy: RunningServer, peer: socket.socket
) -> None:
    with asking(proxy).opened() as client:
        client.send_raw(AssociationInitialization(association_id=client.id).encode())
        client.send_raw(AssociationConfirmation(association_id=client.id).encode())
        client.send(b"data", place_of(peer))
        assert received_by(peer)[0] == b"data"
