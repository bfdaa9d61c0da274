"""Sessions and tokens with a real `socks6 server`: replays, teardowns, reloads, and very many clients."""

import asyncio
import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.message.codes import Command
from socks6.message.options import (
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.proxy.authentication.hashes import hash_password
from socks6.proxy.sessions import SESSION_BYTES
from tests.kit.footprint import eventually
from tests.kit.origins import Place
from tests.kit.proxies import Proxy, server
from tests.kit.session_scene import credentials

REPLAYS = 1000
CLIENTS = 100_000
AT_ONCE = 64
NEXT_TO = 16  # addresses that they come from, each having ports for some of them only
HELLO = b"GET / HTTP/1.0\r\n\r\n"

pytestmark = pytest.mark.e2e


class Origin:
    """A server that keeps what each connection sends, and answers once it has it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.place = Place(host="127.0.0.1", port=self._listener.getsockname()[1])
        self.received: list[bytes] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        with self.place.connected():  # wakes it up
            self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while self._listener.fileno() >= 0:
            with contextlib.suppress(OSError):
                peer, _ = self._listener.accept()
                with peer:
                    data = peer.recv(65536)
                    self.received.append(data)
                    peer.sendall(b"hello")


@pytest.fixture
def origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


def request(*options: Option, to: Place | None = None) -> bytes:
    """Return a CONNECT, or a NOOP to nowhere."""
    if to is None:
        return Request(command=Command.NOOP, host="0.0.0.0", port=0, options=options).encode()
    return Request(command=Command.CONNECT, host=to.host, port=to.port, options=options).encode()


def exchange(proxy: Proxy, data: bytes) -> tuple[AuthenticationReply, bytes]:
    """Send this and no more; return the Authentication Reply and what follows it."""
    with proxy.place.connected() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return answered(client)


def answered(client: socket.socket) -> tuple[AuthenticationReply, bytes]:
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    size = AuthenticationReply.size(answer)
    return AuthenticationReply.decode(answer[:size]), answer[size:]


def open_session(proxy: Proxy, window: int = 100) -> tuple[SessionId, IdempotenceWindow]:
    reply, _ = exchange(proxy, request(credentials(), SessionRequest(), IdempotenceRequest(size=window)))
    session_id, tokens = find(reply.options, SessionId), find(reply.options, IdempotenceWindow)
    assert session_id is not None
    assert tokens is not None
    return session_id, tokens


def tunnel(proxy: Proxy, *options: Option, to: Place) -> socket.socket:
    client = proxy.place.connected()
    client.sendall(request(*options, to=to))
    assert client.recv(65536)[:2] == b"\x06\x00"
    return client


@pytest.fixture(scope="module")
def guarded() -> Iterator[Proxy]:
    with server("--user", "alice:123456", "--allow-private", "-v") as running:
        yield running


def test_of_a_thousand_replays_at_once_one_reaches_the_origin(guarded: Proxy, origin: Origin) -> None:
    session_id, tokens = open_session(guarded)
    captured = request(session_id, IdempotenceExpenditure(token=tokens.base), to=origin.place) + HELLO
    clients = [guarded.place.connected() for _ in range(REPLAYS)]
    for client in clients:
        client.sendall(captured)
    outcomes = []
    for client in clients:
        with client:
            outcomes.append(answered(client))
    accepted = [(reply, rest) for reply, rest in outcomes if reply.type == 0]
    rejected = [reply for reply, _ in outcomes if find(reply.options, IdempotenceRejected)]
    assert (len(accepted), len(rejected)) == (1, REPLAYS - 1)
    assert accepted[0][1].endswith(b"hello")
    assert {find(reply.options, IdempotenceWindow) for reply in rejected} == {
        IdempotenceWindow(base=tokens.base + 1, size=tokens.size)
    }
    assert all(find(reply.options, SessionOk) for reply in rejected)
    assert origin.received == [HELLO]


def test_a_replay_that_comes_late_reaches_no_origin(guarded: Proxy, origin: Origin) -> None:
    session_id, tokens = open_session(guarded)
    captured = []
    for token in (tokens.base + 3, tokens.base, tokens.base + 1):
        captured.append(request(session_id, IdempotenceExpenditure(token=token), to=origin.place) + HELLO)
        reply, rest = exchange(guarded, captured[-1])
        assert (reply.type, rest[-5:]) == (0, b"hello")
    for data in captured:
        reply, rest = exchange(guarded, data)
        assert (reply.type, rest) == (1, b"")
        assert find(reply.options, IdempotenceRejected)
    assert origin.received == [HELLO] * 3


def test_a_teardown_closes_the_sessions_tunnels_and_no_others(guarded: Proxy) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    place = Place(host="127.0.0.1", port=listener.getsockname()[1])
    session_id, _ = open_session(guarded)
    inside, beside = tunnel(guarded, session_id, to=place), tunnel(guarded, credentials(), to=place)
    far_inside, far_beside = listener.accept()[0], listener.accept()[0]
    with listener, inside, beside, far_inside, far_beside:
        for end in (far_inside, far_beside):
            end.settimeout(10)
            end.sendall(b"before")
        assert (inside.recv(6), beside.recv(6)) == (b"before", b"before")
        reply, rest = exchange(guarded, request(session_id, SessionTeardown()))
        assert (reply, rest) == (AuthenticationReply(type=1), b"")
        for end in (inside, far_inside):
            with contextlib.suppress(ConnectionResetError):
                assert end.recv(1) == b""
        far_beside.sendall(b"after")
        assert beside.recv(5) == b"after"
    reply, _ = exchange(guarded, request(session_id))
    assert reply.options == (SessionInvalid(),)
    assert eventually(lambda: any("its session was torn down" in line for line in guarded.said))


def test_the_log_tells_of_sessions_and_tokens_but_not_which(guarded: Proxy) -> None:
    session_id, tokens = open_session(guarded)
    spending = request(session_id, IdempotenceExpenditure(token=tokens.base))
    exchange(guarded, spending)
    exchange(guarded, spending)
    exchange(guarded, request(session_id, SessionTeardown()))
    exchange(guarded, spending)
    wanted = (
        "connection ended .* user=alice command=NOOP session=new ending=done",
        "connection ended .* user=alice command=NOOP session=yes token=accepted ending=done",
        "connection ended .* user=alice session=yes token=rejected ending=refused",
        "connection ended .* session=ended ending=done seconds",
        "connection ended .* session=invalid ending=refused",
    )
    for pattern in wanted:
        assert eventually(lambda: bool(re.search(pattern, "\n".join(guarded.said)))), (pattern, guarded.said)  # noqa: B023
    said = "\n".join(guarded.said)
    assert session_id.id.hex() not in said
    assert repr(session_id.id)[2:-1] not in said
    assert "authentication failed" not in said


def test_a_session_does_not_outlive_its_user(tmp_path: Path) -> None:
    users = tmp_path / "users"
    lines = [f"{name}:{hash_password('123456')}\n" for name in ("alice", "bob")]
    users.write_text("".join(lines))
    users.chmod(0o600)
    with server("--users", str(users)) as proxy:
        mine, _ = open_session(proxy)
        reply, _ = exchange(proxy, request(credentials("bob", "123456"), SessionRequest()))
        his = find(reply.options, SessionId)
        assert his is not None
        users.write_text(lines[1])
        proxy.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: exchange(proxy, request(mine))[0].options == (SessionInvalid(),))
        assert exchange(proxy, request(his))[0].options == (SessionOk(),)


def test_a_replay_reaches_no_origin_after_a_reload_or_a_restart_either(
    tmp_path: Path, origin: Origin
) -> None:
    users = tmp_path / "users"
    entries = [f"{name}:{hash_password('123456')}\n" for name in ("alice", "bob")]

    def write(*lines: str) -> None:
        users.write_text("".join(lines))
        users.chmod(0o600)

    def refused(proxy: Proxy, why: type[Option]) -> bool:
        reply, rest = exchange(proxy, captured)
        return (reply.type, rest) == (1, b"") and find(reply.options, why) is not None

    def knows_bob() -> bool:
        return exchange(proxy, request(credentials("bob", "123456")))[0].type == 0

    flags = ("--users", str(users), "--allow-private")
    write(entries[0])
    with server(*flags) as proxy:
        session_id, tokens = open_session(proxy)
        captured = request(session_id, IdempotenceExpenditure(token=tokens.base), to=origin.place) + HELLO
        assert exchange(proxy, captured)[1].endswith(b"hello")
        write(*entries)
        proxy.process.send_signal(signal.SIGHUP)
        assert eventually(knows_bob)
        assert refused(proxy, IdempotenceRejected)
        write(entries[1])
        proxy.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: refused(proxy, SessionInvalid))
    write(*entries)
    with server(*flags) as proxy:
        assert refused(proxy, SessionInvalid)
    assert origin.received == [HELLO]


def test_without_sessions_a_server_does_not_know_of_any() -> None:
    with server("--user", "alice:123456", "--no-sessions") as proxy:
        reply, _ = exchange(proxy, request(credentials(), SessionRequest(), SessionId(id=bytes(16))))
        assert reply.type == 0
        assert not find(reply.options, SessionId)


@pytest.mark.deep
def test_a_hundred_thousand_clients_hold_the_bound_of_memory(tmp_path: Path) -> None:
    config = tmp_path / "socks6.toml"
    config.write_text(
        f"[sessions]\ntotal = {CLIENTS}\nper-user = 0\nper-source = 0\n[users.plain]\nalice = '123456'"
    )
    config.chmod(0o600)
    asking = request(credentials(), SessionRequest(), IdempotenceRequest(size=2048))

    async def come(place: Place, number: int) -> SessionId | None:
        source = f"127.0.2.{1 + number % NEXT_TO}"
        reader, writer = await asyncio.open_connection(place.host, place.port, local_addr=(source, 0))
        writer.write(asking)
        answer = await reader.read()
        writer.close()
        reply = AuthenticationReply.decode(answer[: AuthenticationReply.size(answer)])
        assert OperationReply.decode(answer[AuthenticationReply.size(answer) :]).code == 0
        return find(reply.options, SessionId)

    async def crowd(place: Place, count: int) -> int:
        numbers = iter(range(count))

        async def some() -> int:
            return sum([await come(place, number) is not None for number in numbers])

        return sum(await asyncio.gather(*(some() for _ in range(AT_ONCE))))

    with server("--config", str(config)) as proxy:
        asyncio.run(crowd(proxy.place, 100))
        before = proxy.footprint.memory
        opened = 100 + asyncio.run(crowd(proxy.place, CLIENTS - 100))
        each = (proxy.footprint.memory - before) / CLIENTS
        print(f"{opened} sessions, {each:.0f} bytes each")
        assert opened == CLIENTS
        assert each < SESSION_BYTES
        assert asyncio.run(crowd(proxy.place, 100)) == 0  # it is full, and nothing has to give way
        assert (proxy.footprint.memory - before) / CLIENTS < SESSION_BYTES
