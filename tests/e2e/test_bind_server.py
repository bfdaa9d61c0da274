"""BIND at a real `socks6 server`: peers early and late, listeners that go, all failure codes, hostile crowds."""

import contextlib
import errno
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.message.codes import Command
from socks6.message.dialect import GO_212
from socks6.message.options import ListenBacklog, SessionTeardown, Tos
from socks6.net.stream import Endpoint
from tests.kit.binds import BindClient, bind_client, calling, is_turned_away, listens, place_of, reply_from
from tests.kit.footprint import eventually
from tests.kit.proxies import NAMED_PORTS, Proxy, receive_exactly, server

pytestmark = pytest.mark.e2e

ALICE, BOB = ("alice", "correct horse"), ("bob", "battery staple")
LOCAL4, LOCAL6 = Endpoint("127.0.0.1", 0), Endpoint("::1", 0)
EIGHT = ListenBacklog(backlog=8)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Run a server with two users."""
    users = [flag for user in (ALICE, BOB) for flag in ("--user", ":".join(user))]
    with server(*users, *NAMED_PORTS, "--dialect212", "--log-destinations", "-v") as running:
        with bind_client(running.place, *ALICE) as client:  # so that it has its epoll for relays
            sock, reply = client.bind(place=LOCAL4)
            with calling(place_of(reply)) as peer:
                client.reply(sock)
                assert relayed(peer, sock)
        yield running


@pytest.fixture
def alice(proxy: Proxy) -> Iterator[BindClient]:
    """Give a client with a session; nothing of it may be left."""
    before = proxy.footprint.descriptors
    with bind_client(proxy.place, *ALICE) as client:
        yield client
    assert eventually(lambda: proxy.footprint.descriptors <= before)


def relayed(peer: socket.socket, client: socket.socket) -> bool:
    """Tell whether two connections are joined, both ways."""
    peer.sendall(b"to the client")
    client.sendall(b"to the peer")
    return receive_exactly(client, 13) == b"to the client" and receive_exactly(peer, 11) == b"to the peer"


def accept(client: BindClient, place: Endpoint) -> socket.socket:
    """Ask for a peer of a listener; return the connection, whose second reply is still to come."""
    sock, reply = client.bind(place=place)
    assert place_of(reply) == place
    return sock


@pytest.mark.parametrize("place", [LOCAL4, LOCAL6], ids=["IPv4", "IPv6"])
def test_a_peer_is_told_of_and_joined(alice: BindClient, place: Endpoint) -> None:
    sock, reply = alice.bind(Tos(leg=2, tos=0x48), place=place)
    bound = place_of(reply)
    assert reply.options == (Tos(leg=2, tos=0x48),)
    sock.sendall(b"early ")
    with calling(bound) as peer:
        second = alice.reply(sock)
        assert place_of(second) == peer.getsockname()[:2]
        assert second.options == (Tos(leg=2, tos=0x48),)
        assert receive_exactly(peer, 6) == b"early "
        assert relayed(peer, sock)
        assert not listens(bound)


def test_a_place_that_was_asked_for_is_had_again_and_again(alice: BindClient) -> None:
    sock, reply = alice.bind(place=LOCAL4)
    place = place_of(reply)
    for _ in range(5):
        with calling(place) as peer:
            alice.reply(sock)
            assert relayed(peer, sock)
            sock, reply = alice.bind(place=place)
            assert place_of(reply) == place


def test_peers_come_before_between_and_after_those_who_accept_them(alice: BindClient) -> None:
    first, reply = alice.bind(EIGHT, place=LOCAL4)
    place = place_of(reply)
    assert reply.options == (EIGHT,)
    with contextlib.ExitStack() as held:
        early = [held.enter_context(calling(place)) for _ in range(2)]
        accepting = [accept(alice, place) for _ in range(3)]
        between = held.enter_context(calling(place))
        accepting.append(accept(alice, place))
        late = held.enter_context(calling(place))
        for peer, client in zip((*early, between, late), accepting, strict=True):
            assert place_of(alice.reply(client)) == peer.getsockname()
            assert relayed(peer, client)
    first.setblocking(False)
    with pytest.raises(BlockingIOError):
        first.recv(1)


@pytest.mark.parametrize("way", ["closed", "reset"])
def test_a_listener_whose_connection_is_dropped_is_gone_at_once(alice: BindClient, way: str) -> None:
    first, reply = alice.bind(EIGHT, place=LOCAL4)
    place = place_of(reply)
    with calling(place) as served, calling(place) as waits:
        joined = accept(alice, place)
        alice.reply(joined)
        if way == "reset":
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        first.close()
        assert eventually(lambda: not listens(place), within=2)
        with pytest.raises(ConnectionResetError):
            waits.recv(1)
        assert relayed(served, joined)


def test_a_session_that_is_torn_down_takes_its_listener_along(proxy: Proxy) -> None:
    with bind_client(proxy.place, *ALICE) as client:
        _, reply = client.bind(EIGHT, place=LOCAL4)
        waiting = accept(client, place_of(reply))
        client.ask(SessionTeardown(), command=Command.NOOP)
        assert eventually(lambda: not listens(place_of(reply)), within=2)
        with contextlib.suppress(ConnectionResetError):
            assert waiting.recv(1) == b""


def test_who_waits_at_a_listener_that_goes_is_told(alice: BindClient) -> None:
    first, reply = alice.bind(EIGHT, place=LOCAL4)
    waiting = [accept(alice, place_of(reply)) for _ in range(8)]
    refusal = alice.bind(place=place_of(reply))[1]
    assert refusal.code == 1
    first.close()
    assert [alice.reply(sock).code for sock in waiting] == [1] * 8


def test_nobody_elses_session_gets_a_peer(proxy: Proxy, alice: BindClient) -> None:
    _, reply = alice.bind(EIGHT, place=LOCAL4)
    with bind_client(proxy.place, *BOB) as bob, bind_client(proxy.place, *ALICE) as other:
        for thief in (bob, other):
            for host in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"):
                assert thief.bind(place=Endpoint(host, reply.port))[1].code == 2


def test_a_place_goes_by_other_names_too(alice: BindClient) -> None:
    _, reply = alice.bind(EIGHT)
    place = place_of(reply)
    assert place.host == "127.0.0.1"  # that is how the client came in
    for host in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"):
        with calling(place) as peer:
            sock, _ = alice.bind(place=Endpoint(host, place.port))
            assert place_of(alice.reply(sock)) == peer.getsockname()


def test_older_implementations_are_told_of_each_peer_at_once(proxy: Proxy) -> None:
    with bind_client(proxy.place, *ALICE, dialect=GO_212) as client:
        first, reply = client.bind(ListenBacklog(backlog=2), place=LOCAL4)
        place = place_of(reply)
        with calling(place) as peer, calling(place) as other:
            assert place_of(client.reply(first)) == peer.getsockname()
            assert place_of(client.reply(first)) == other.getsockname()
            sock = accept(client, place)
            assert place_of(client.reply(sock)) == peer.getsockname()
            assert relayed(peer, sock)


def test_every_failure_has_its_code(proxy: Proxy, alice: BindClient) -> None:
    _, taken = alice.bind(place=LOCAL4)
    codes = {
        Endpoint("192.0.2.1", 0): 1,  # not ours
        place_of(taken): 1,  # taken
        Endpoint("127.0.0.1", 80): 2,  # the machine's own
        Endpoint("no-such-host.invalid", 0): 4,
    }
    assert {place: alice.bind(place=place)[1].code for place in codes} == codes


def test_nobody_in_time_is_09_and_rules_decide_who_comes(tmp_path: Path) -> None:
    rules = """
    [bind]
    accept-timeout = 0.3
    advertise = "Public.example"
    [[policy.rules]]
    action = "deny"
    commands = ["peer"]
    hosts = ["127.0.0.2"]
    """
    (tmp_path / "socks6.toml").write_text(rules)
    with server("--config", str(tmp_path / "socks6.toml")) as running, bind_client(running.place) as client:
        sock, reply = client.bind(EIGHT)
        assert place_of(reply).host == "public.example"
        assert reply.options == (ListenBacklog(backlog=0),)  # there is no session
        assert is_turned_away(Endpoint("127.0.0.1", reply.port), source="127.0.0.2")
        with calling(Endpoint("127.0.0.1", reply.port)) as peer:
            assert place_of(client.reply(sock)) == peer.getsockname()
        sock, _ = client.bind()
        assert client.reply(sock).code == 9


def test_the_log_tells_the_place_and_the_peer(proxy: Proxy) -> None:
    proxy.said.clear()
    with bind_client(proxy.place, *ALICE) as client:
        sock, reply = client.bind(place=LOCAL4)
        with calling(place_of(reply)) as peer:
            client.reply(sock)
            port = peer.getsockname()[1]
    line = rf"command=BIND host=127\.0\.0\.1 port={reply.port} peer=127\.0\.0\.1:{port} .*ending=done reply=0"
    assert eventually(lambda: any(re.search(line, text) for text in proxy.said)), proxy.said


def leak_check(proxy: Proxy, rounds: int) -> None:
    """Make so many BIND requests that end in every way; nothing of them may stay."""
    with bind_client(proxy.place, *ALICE) as client:
        _, reply = client.bind(EIGHT, place=LOCAL4)
        place = place_of(reply)
        before = proxy.footprint
        for number in range(rounds):
            match number % 5:
                case 0:  # nobody comes
                    client.bind(place=LOCAL4)
                case 1:  # refused
                    client.bind(place=Endpoint("192.0.2.1", 0))
                case 2:  # somebody comes
                    sock, plain = client.bind(place=LOCAL4)
                    with calling(place_of(plain)):
                        client.reply(sock)
                case 3:  # a listener, and one who waits there
                    _, backlog = client.bind(EIGHT, place=LOCAL4)
                    client.bind(place=place_of(backlog))
                case _:  # a peer of a listener that stays
                    sock = accept(client, place)
                    with calling(place):
                        client.reply(sock)
            while len(client.sockets) > 2:
                client.sockets.pop().close()
        assert eventually(lambda: proxy.footprint.descriptors <= before.descriptors)
        assert proxy.footprint.memory < before.memory + 16_000_000
        _, again = client.bind(EIGHT, place=LOCAL4)  # and it still serves
        place_of(again)


def test_300_binds_leave_nothing_behind(proxy: Proxy) -> None:
    leak_check(proxy, 300)


@pytest.mark.deep
def test_10_000_binds_leave_nothing_behind(proxy: Proxy) -> None:
    leak_check(proxy, 10_000)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process have some thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_peers_at_one_listener_cost_the_server_nothing(proxy: Proxy, alice: BindClient) -> None:
    _, reply = alice.bind(EIGHT, place=LOCAL4)
    place = place_of(reply)
    before = proxy.footprint
    crowd = [socket.socket() for _ in range(1000)]
    try:
        for peer in crowd:
            peer.setblocking(False)
            assert peer.connect_ex(place) in {0, errno.EINPROGRESS}
        assert proxy.footprint.descriptors == before.descriptors
        sock = accept(alice, place)
        assert place_of(alice.reply(sock)) in {peer.getsockname() for peer in crowd}
        assert proxy.footprint.descriptors <= before.descriptors + 2  # the client's and the peer's
    finally:
        for peer in crowd:
            peer.close()


def test_a_flood_of_accepts_is_turned_away_and_the_first_are_served(alice: BindClient) -> None:
    _, reply = alice.bind(ListenBacklog(backlog=2), place=LOCAL4)
    place = place_of(reply)
    flood = [alice.bind(place=place) for _ in range(200)]
    assert [answer.code for _, answer in flood] == [0, 0] + [1] * 198
    with calling(place) as one, calling(place) as two:
        for peer, (sock, _) in zip((one, two), flood, strict=False):
            assert place_of(reply_from(sock)) == peer.getsockname()
            assert relayed(peer, sock)
