"""Datagrams by other ways: through a second proxy, past NAT, from several addresses; and what ends them."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from socks6.message.datagrams import Datagram
from socks6.message.options import SessionId, SessionRequest, SessionTeardown, find
from socks6.policy.rules import Policy, Rule
from socks6.proxy.settings import BindSettings, Settings
from socks6.relay.datagrams.forwarder import PythonForwarder
from tests.kit.datagram_forwarders import LOOP_OF
from tests.kit.netns import LEFT, needs_namespaces, road
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

QUICK = Settings(drain_timeout=0.1)


@pytest.fixture(params=["python", "compiled"])
def chain(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Give a server that goes out through another one."""
    kind = {"forwarder": request.param, "loop": LOOP_OF[request.param]}
    with (
        udp_server(**kind) as far,
        udp_server(via=f"socks6://127.0.0.1:{far.port}", **kind) as near,
    ):
        yield near


def test_a_chain_carries_datagrams_over_udp(chain: RunningServer) -> None:
    with (
        RawClient(("127.0.0.1", chain.port)).opened() as client,
        peer_socket() as peer,
        peer_socket("::1") as peer6,
    ):
        for number in range(3):
            for other in (peer, peer6):
                client.send(b"there %d" % number, place_of(other))
                data, source = received_by(other)
                assert (data, source[1]) == (b"there %d" % number, client.bound[1])
                other.sendto(b"back %d" % number, source)
                assert client.received() == (b"back %d" % number, place_of(other))


def test_a_chain_carries_datagrams_on_the_stream(chain: RunningServer) -> None:
    with RawClient(("127.0.0.1", chain.port)).opened_on_stream() as client, peer_socket() as peer:
        for _ in range(3):
            client.send_on_stream(b"there", ("localhost", place_of(peer)[1]))
            client.send_on_stream(b"there", place_of(peer))
            data, source = received_by(peer)
            assert data == b"there"
            peer.sendto(b"back", source)
            answer = client.receive_on_stream()
            assert isinstance(answer, Datagram)
            assert (answer.data, answer.host, answer.port) == (b"back", *place_of(peer))
            peer.settimeout(0)
            while True:  # the name may have led here as well
                try:
                    peer.recv(100)
                except BlockingIOError:
                    break
            peer.settimeout(PATIENCE)


def test_a_chain_sends_nothing_to_names_that_its_own_rules_deny() -> None:
    denied = Rule.parse("deny", hosts=["localhost"], commands=["udp"])
    with (
        udp_server() as far,
        udp_server(
            via=f"socks6://127.0.0.1:{far.port}", policy=Policy(allow_private=True, rules=(denied,))
        ) as near,
        RawClient(("127.0.0.1", near.port)).opened() as client,
        peer_socket() as peer,
    ):
        for _ in range(2):
            client.send(b"by a denied name", ("localhost", place_of(peer)[1]))
            client.send(b"by the address", place_of(peer))
            assert received_by(peer)[0] == b"by the address"


def test_behind_nat_clients_are_told_what_is_advertised() -> None:
    settings = replace(QUICK, bind=BindSettings(advertise=("198.51.100.7",)))
    with udp_server(settings=settings) as server, RawClient(("127.0.0.1", server.port)) as client:
        assert client.bound[0] == "198.51.100.7"
        with RawClient(("127.0.0.1", server.port), host="127.0.0.1") as certain:
            assert certain.bound[0] == "127.0.0.1"


@needs_namespaces
@pytest.mark.parametrize("forwarder", ["python", "compiled"])
@pytest.mark.parametrize(("wildcard", "second"), [("0.0.0.0", "10.66.1.200"), ("::", "fd66:1::200")])
def test_answers_leave_from_the_address_that_the_client_used(
    forwarder: str, wildcard: str, second: str
) -> None:
    with road(routers=1) as far:
        family = socket.AF_INET6 if ":" in second else socket.AF_INET
        far.hosts[1].configure(f"address add {second}/{64 if ':' in second else 24} dev {LEFT} nodad")
        with (
            udp_server(namespace=far.hosts[1], host=wildcard, forwarder=forwarder) as server,
            peer_socket(far.last_address(family), namespace=far.last) as peer,
            RawClient((second, server.port), namespace=far.first) as client,
        ):
            client.udp.connect((second, server.port))  # nothing from elsewhere comes through
            client.udp.send(client.message(b"", ("0.0.0.0", 0)))
            client.await_confirmation()
            for _ in range(3):
                client.udp.send(client.message(b"there", place_of(peer)))
                peer.sendto(b"back", received_by(peer)[1])
                assert client.received()[0] == b"back"


def test_an_association_ends_with_its_session() -> None:
    settings = replace(QUICK, sessions=replace(QUICK.sessions, anonymous=True))
    with (
        udp_server(settings=settings) as server,
        RawClient(("127.0.0.1", server.port), options=(SessionRequest(),)).opened() as client,
    ):
        session = find(client.authentication.options, SessionId)
        assert session is not None
        with RawClient(("127.0.0.1", server.port), options=(session, SessionTeardown())):
            assert client.ended()


def test_associations_end_with_the_server() -> None:
    with udp_server() as server:
        client = RawClient(("127.0.0.1", server.port)).opened()
    with client, peer_socket("0.0.0.0", port=client.bound[1]):
        assert client.ended()


@pytest.mark.parametrize("forwarder", ["python", "compiled"])
def test_a_client_that_vanishes_leaves_nothing_behind(forwarder: str) -> None:
    with udp_server(forwarder=forwarder) as server:
        for _ in range(20):
            with RawClient(("127.0.0.1", server.port)).opened():
                pass
            server.summaries.get(timeout=PATIENCE)
        assert server.ask(lambda: server.worker.associations.count) == 0
        assert server.ask(lambda: len(server.worker.datagrams.poller._readers)) == 1
        moving = server.worker.datagrams.forwarder
        if isinstance(moving, PythonForwarder):
            assert server.ask(lambda: len(moving.entries)) == 0
