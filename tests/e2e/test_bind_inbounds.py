"""BIND for clients of SOCKS 4 and 5, at the server itself and through the converter; backlogs through a chain."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from socks6.message.codes import Command
from socks6.message.options import ListenBacklog
from socks6.message.socks4 import Socks4Result
from socks6.message.socks5 import Socks5Reply, Socks5Request
from socks6.net.stream import Endpoint
from tests.kit.binds import PATIENCE, bind_client, calling, is_turned_away, listens, place_of
from tests.kit.footprint import eventually
from tests.kit.proxies import NAMED_PORTS, Proxy, converter, receive_exactly, server
from tests.kit.socks_messages import decode_socks4_reply, decode_socks5_reply, socks4_request, socks5_request

pytestmark = pytest.mark.e2e

USER = ("alice", "correct-horse")
ANYBODY4, ANYBODY6 = Endpoint("0.0.0.0", 0), Endpoint("::", 0)


@dataclass(frozen=True)
class Ways:
    """A server, and a converter that goes through it."""

    direct: Proxy
    converted: Proxy


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    """Run both."""
    with (
        server(
            "--listen",
            "socks6://127.0.0.1:0",
            "--listen",
            "mixed://127.0.0.1:0",
            "--user",
            ":".join(USER),
            *NAMED_PORTS,
        ) as far,
        server("--listen", "mixed://127.0.0.1:0", "--listen", "mixed://[::1]:0", *NAMED_PORTS) as direct,
        converter(
            far.as_user(*USER), "--listen", "mixed://127.0.0.1:0", "--listen", "mixed://[::1]:0"
        ) as near,
    ):
        yield Ways(direct, near)


@pytest.fixture(params=["direct", "converted"])
def proxy(ways: Ways, request: pytest.FixtureRequest) -> Proxy:
    """Give one and the other."""
    return ways.direct if request.param == "direct" else ways.converted


@contextlib.contextmanager
def asking(proxy: Proxy, request: bytes, *, listener: int = 0) -> Iterator[socket.socket]:
    """Send a request to a proxy."""
    host, _, port = proxy.urls[listener].rpartition("/")[2].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE) as sock:
        sock.sendall(request)
        yield sock


@contextlib.contextmanager
def asking5(proxy: Proxy, place: Endpoint, *, listener: int = 0) -> Iterator[socket.socket]:
    """Ask for a BIND as a SOCKS 5 client does."""
    request = socks5_request(Command.BIND, place.host, place.port)
    with asking(proxy, bytes.fromhex("05 01 00") + request, listener=listener) as sock:
        assert receive_exactly(sock, 2) == b"\5\0"
        yield sock


def reply5(sock: socket.socket) -> Socks5Reply:
    data = receive_exactly(sock, 5)
    return decode_socks5_reply(data + receive_exactly(sock, Socks5Request.size(data) - len(data)))


def place5(sock: socket.socket) -> Endpoint:
    reply = reply5(sock)
    assert reply.code == 0
    return Endpoint(reply.host, reply.port)


def relayed(peer: socket.socket, client: socket.socket) -> bool:
    peer.sendall(b"to the client")
    client.sendall(b"to the peer")
    return receive_exactly(client, 13) == b"to the client" and receive_exactly(peer, 11) == b"to the peer"


@pytest.mark.parametrize(
    ("expected", "listener"),
    [(Endpoint("127.0.0.1", 21), 0), (Endpoint("::1", 21), 1), (ANYBODY4, 0), (ANYBODY6, 1)],
    ids=["IPv4 host", "IPv6 host", "IPv4", "IPv6"],
)
def test_a_socks_5_client_gets_both_replies_and_its_peer(
    proxy: Proxy, expected: Endpoint, listener: int
) -> None:
    with asking5(proxy, expected, listener=listener) as sock:
        bound = place5(sock)
        sock.sendall(b"early ")
        loopback = "::1" if ":" in bound.host else "127.0.0.1"
        with calling(Endpoint(loopback, bound.port)) as peer:
            assert place5(sock) == peer.getsockname()[:2]
            assert receive_exactly(peer, 6) == b"early "
            assert relayed(peer, sock)


def test_a_socks_4_client_gets_both_replies_and_its_peer(proxy: Proxy) -> None:
    request = socks4_request(Command.BIND, "127.0.0.1", 21, user=b"me")
    with asking(proxy, request) as sock:
        first = decode_socks4_reply(receive_exactly(sock, 8))
        assert (first.code, first.host) == (Socks4Result.GRANTED, "127.0.0.1")
        with calling(Endpoint("127.0.0.1", first.port)) as peer:
            second = decode_socks4_reply(receive_exactly(sock, 8))
            assert (second.code, second.host, second.port) == (Socks4Result.GRANTED, *peer.getsockname())
            assert relayed(peer, sock)


def test_nobody_but_the_host_that_was_named_gets_in(ways: Ways) -> None:
    with asking5(ways.direct, Endpoint("127.0.0.2", 21)) as sock:
        port = place5(sock).port
        assert is_turned_away(Endpoint("127.0.0.1", port), source="127.0.0.1")
        with calling(Endpoint("127.0.0.1", port), source="127.0.0.2") as peer:
            assert place5(sock).host == "127.0.0.2"
            assert relayed(peer, sock)


def test_through_a_converter_a_stranger_is_sent_away_too(ways: Ways) -> None:
    with asking5(ways.converted, Endpoint("127.0.0.2", 21)) as sock:
        port = place5(sock).port
        assert is_turned_away(Endpoint("127.0.0.1", port), source="127.0.0.1")


def test_with_no_address_named_the_port_is_the_one_to_bind(proxy: Proxy) -> None:
    with asking5(proxy, ANYBODY4) as sock:
        port = place5(sock).port
    assert eventually(lambda: not listens(Endpoint("127.0.0.1", port)))
    with asking5(proxy, Endpoint("0.0.0.0", port)) as sock:
        assert place5(sock).port == port
        with asking5(proxy, Endpoint("0.0.0.0", port)) as other:
            assert reply5(other).code == 1
    with asking5(proxy, Endpoint("0.0.0.0", 80)) as sock:
        assert reply5(sock).code == 2
    request = socks4_request(Command.BIND, "0.0.0.0", 80)
    with asking(proxy, request) as sock:
        assert decode_socks4_reply(receive_exactly(sock, 8)).code == Socks4Result.REJECTED


def test_a_client_that_leaves_frees_the_port_at_the_far_end_too(proxy: Proxy) -> None:
    with asking5(proxy, ANYBODY4) as sock:
        port = place5(sock).port
        assert listens(Endpoint("127.0.0.1", port))
    assert eventually(lambda: not listens(Endpoint("127.0.0.1", port)))


def test_a_chain_hands_a_backlog_on() -> None:
    with (
        server("--user", ":".join(USER)) as far,
        server("--user", ":".join(USER), "--via", far.as_user(*USER)) as near,
        bind_client(near.place, *USER) as client,
    ):
        first, reply = client.bind(ListenBacklog(backlog=4), place=Endpoint("127.0.0.1", 0))
        place = place_of(reply)
        assert reply.options == (ListenBacklog(backlog=4),)
        with contextlib.ExitStack() as held:
            callers = [held.enter_context(calling(place)) for _ in range(2)]
            accepting = [client.bind(place=place)[0] for _ in range(3)]
            callers.append(held.enter_context(calling(place)))
            met = {place_of(client.reply(sock)): sock for sock in accepting}
            for peer in callers:
                assert relayed(peer, met[Endpoint(*peer.getsockname())])
        first.close()
        assert eventually(lambda: not listens(place))
