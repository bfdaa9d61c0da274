"""Plain CONNECTs: what happens to them from outside, while they wait and while they relay."""

import asyncio
import contextlib
import os
import select
import socket
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from socks6.message.options import Option, SessionId, SessionTeardown
from socks6.message.requests import Request
from socks6.net.encryption.contexts import TlsParameters, client_context
from socks6.net.sockets import reset_on_close
from socks6.net.stream import ByteStream, Protection
from socks6.net.transports.tls import TlsSession
from socks6.net.url import ProxyUrl
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.server import ServerConversation
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.inbounds.http import HttpInbound
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.proxy.service import Server
from socks6.proxy.sessions import MemorySessionStore, SessionSettings
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.streams import RelaySettings
from socks6.telemetry import ConnectionEnded, ConnectionSecured, Ending, RemoteConnected
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.origins import Place, echo, refusing_place
from tests.kit.outbounds import Recorder
from tests.kit.quic import by_library
from tests.kit.quic_clients import Slow, ask, proof, serving
from tests.kit.streams import receive_all, receive_exactly, turns, until

if sys.platform != "linux":
    pytest.skip("only Linux has the poller", allow_module_level=True)

GREETING = b"\x05\x01\x00"


@dataclass
class Scene:
    """A server, a host to reach, and what was observed."""

    server: Server
    worker: ServerWorker
    log: Recorder
    target: socket.socket
    protocol: str

    @property
    def request(self) -> bytes:
        """A CONNECT to the host."""
        port = int(self.target.getsockname()[1]).to_bytes(2)
        if self.protocol == "socks5":
            return b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port
        return b"\x06\x01\x00\x00" + port + b"\x00\x01\x7f\x00\x00\x01"

    async def client(self) -> socket.socket:
        """Return a client's socket."""
        sock = socket.socket()
        sock.setblocking(False)
        place = ProxyUrl.parse(self.server.urls[0])
        await asyncio.get_running_loop().sock_connect(sock, (place.host, place.port))
        return sock

    async def ask(self, client: socket.socket, data: bytes, size: int) -> bytes:
        """Send, and return an answer of this size, or what came before the end."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while len(answer) < size and (piece := await loop.sock_recv(client, size - len(answer))):
                answer += piece
        return answer

    async def ending(self) -> ConnectionEnded:
        """Return the first record."""
        await until(lambda: self.log.of(ConnectionEnded))
        return self.log.of(ConnectionEnded)[0]


@contextlib.asynccontextmanager
async def scene(
    protocol: str = "socks6", settings: Settings | None = None, **wishes: object
) -> AsyncIterator[Scene]:
    log = Recorder()
    worker = ServerWorker(
        policy=Policy(allow_private=True),
        observers=[log],
        settings=settings,
        **wishes,  # type: ignore[arg-type]  # names are the test's
    )
    with socket.create_server(("127.0.0.1", 0)) as target:
        async with Server([f"{protocol}://127.0.0.1:0"], worker) as server:
            yield Scene(server, worker, log, target, protocol)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_a_relay_ends_by_resets_when_the_server_stops(run: Run, pieces: int) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        async with scene() as it:
            with await it.client() as client:
                assert (await it.ask(client, it.request, 16))[5] == 0
                remote, _ = it.target.accept()
                with remote:
                    remote.setblocking(False)
                    for _ in range(pieces):
                        await loop.sock_sendall(client, b"piece")
                        assert await loop.sock_recv(remote, 9) == b"piece"
                    it.server.abort()
                    for side in (client, remote):
                        with pytest.raises(ConnectionResetError):
                            await loop.sock_recv(side, 1)
                assert (await it.ending()).ending is Ending.STOPPED

    run(play())


def test_a_client_without_a_request_is_left_when_the_server_stops(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            with await it.client():
                await until(lambda: len(it.server.connections))
                it.server.abort()
                assert (await it.ending()).ending is Ending.STOPPED

    run(play())


@pytest.mark.parametrize(("protocol", "begun"), [("socks6", b""), ("socks5", GREETING)])
def test_a_client_that_sends_no_request_is_left_at_the_deadline(
    run: Run, protocol: str, begun: bytes
) -> None:
    async def play() -> None:
        async with scene(protocol, Settings(handshake_timeout=0.2)) as it:
            with await it.client() as client:
                assert await it.ask(client, begun, 100) == (b"\x05\x00" if begun else b"")
                record = await it.ending()
                reason = "the handshake took too long" if begun else "the client sent nothing in time"
                assert (record.ending, record.reason) == (Ending.NO_REQUEST, reason)
                assert not len(it.server.connections)

    run(play())


@pytest.mark.parametrize(("protocol", "begun"), [("socks6", b""), ("socks5", GREETING)])
def test_a_client_that_resets_before_its_request_leaves_nothing(
    run: Run, protocol: str, begun: bytes
) -> None:
    async def play() -> None:
        async with scene(protocol) as it:
            with await it.client() as client:
                await it.ask(client, begun, 2 if begun else 0)
                await until(lambda: len(it.worker.monitor))
                reset_on_close(client)
            assert (await it.ending()).ending is Ending.RESET
            assert not len(it.server.connections)
            assert not len(it.worker.monitor)  # which would keep the connection until the deadline

    run(play())


def test_a_stranger_is_evicted_where_slots_are_short(run: Run) -> None:
    async def play() -> None:
        async with scene(settings=Settings(connections=4)) as it:
            with contextlib.ExitStack() as clients:
                known = clients.enter_context(await it.client())
                assert (await it.ask(known, it.request, 16))[5] == 0
                for _ in range(8):
                    clients.enter_context(await it.client())
                await until(lambda: len(it.log.of(ConnectionEnded)) >= 5)
                assert {record.ending for record in it.log.of(ConnectionEnded)} == {Ending.RESET}
                remote, _ = it.target.accept()
                with remote:
                    remote.send(b"still served")
                    assert await asyncio.get_running_loop().sock_recv(known, 100) == b"still served"

    run(play())


@pytest.mark.parametrize("protocol", ["socks6", "socks5"])
def test_a_reload_that_wants_passwords_comes_before_the_request(run: Run, protocol: str) -> None:
    async def play() -> None:
        async with scene(protocol) as it:
            with await it.client() as client:
                if protocol == "socks5":
                    assert await it.ask(client, GREETING, 2) == b"\x05\x00"
                await until(lambda: len(it.server.connections))
                it.worker.replace(authenticator=UserTable({}), policy=it.worker.policy)
                answer = await it.ask(client, it.request, 16 if protocol == "socks6" else 10)
                assert answer[5 if protocol == "socks6" else 1] == 2  # not allowed by the rules
            record = await it.ending()  # the client that was refused has gone, and nobody waits for it
            assert record.ending is Ending.REFUSED
            assert record.reason == "the user is gone, or has another password, since a reload"

    run(play())


def tuning(client: socket.socket) -> list[tuple[int, int]]:
    """Return NODELAY and KEEPALIVE of this process's sockets that are connected to a peer's."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # no socket, or not connected
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as sock:
                if sock.getpeername() == client.getsockname():
                    found.append(
                        (
                            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        )
                    )
    return found


@pytest.mark.parametrize("pieces", [(b"one", b"another"), (b"long" * 1_000,)])
def test_a_remote_is_tuned_when_small_pieces_could_be_delayed(run: Run, pieces: tuple[bytes, ...]) -> None:
    async def play() -> None:
        async with scene() as it:
            with await it.client() as client:
                assert (await it.ask(client, it.request, 16))[5] == 0
                remote, _ = it.target.accept()
                with remote:
                    assert tuning(remote) == [(0, 0)]
                    for piece in pieces:
                        client.send(piece)
                        await until(lambda: select.select([remote], [], [], 0)[0])
                        assert remote.recv(10_000)
                    assert tuning(remote) == [(1, 1)]

    run(play())


def test_a_remote_is_tuned_when_its_relay_lasts(run: Run) -> None:
    async def play() -> None:
        async with scene(settings=Settings(relay=RelaySettings(idle_timeout=0.5))) as it:
            with await it.client() as client:
                assert (await it.ask(client, it.request, 16))[5] == 0
                remote, _ = it.target.accept()
                with remote:
                    await until(lambda: tuning(remote) == [(1, 1)])

    run(play())


@contextlib.asynccontextmanager
async def tls_scene(**wishes: object) -> AsyncIterator[tuple[Scene, TlsSession]]:
    """Give a scene whose server speaks TLS, and a client's TLS that has begun."""
    with certificate() as files:
        client = client_context(TlsParameters(ca=files.ca, min_version="1.2"))
        client.maximum_version = wishes.pop("version", ssl.TLSVersion.TLSv1_3)  # type: ignore[assignment]
        tls = replace(files.server, min_version="1.2")
        async with scene("socks6+tls", Settings(tls=tls, **wishes)) as it:  # type: ignore[arg-type]
            yield it, TlsSession(client, server_hostname="localhost")


async def shake_hands(client: socket.socket, session: TlsSession, piece: int) -> None:
    """Shake hands, sending so many bytes at a time; what is to be sent last is left."""
    loop = asyncio.get_running_loop()
    hello = session.begin()
    for start in range(0, len(hello), piece):
        await loop.sock_sendall(client, hello[start : start + piece])
        await turns()
    with contextlib.suppress(ssl.SSLWantReadError):
        while True:
            session.incoming.write(await loop.sock_recv(client, 65_536))
            session.tls.do_handshake()
            return


@pytest.mark.parametrize("piece", [1, 65_536])
@pytest.mark.parametrize("alone", [False, True])
def test_over_tls_it_takes_no_task_and_its_answer_leaves_with_the_ticket(
    run: Run, piece: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    monkeypatch.setattr(ServerWorker, "serve", lambda *all_of_it: served.append(all_of_it))

    async def play() -> None:
        loop = asyncio.get_running_loop()
        async with tls_scene() as (it, session):
            with await it.client() as client:
                await shake_hands(client, session, piece)
                if alone:
                    await loop.sock_sendall(client, session.outgoing.read())
                    await until(lambda: it.log.of(ConnectionSecured))
                    session.incoming.write(
                        await loop.sock_recv(client, 65_536)
                    )  # the ticket waits for nothing
                session.tls.write(it.request + b"early")
                await loop.sock_sendall(client, session.outgoing.read())
                session.incoming.write(await loop.sock_recv(client, 65_536))
                assert session.tls.read(100)[5] == 0
                remote, _ = it.target.accept()
                with remote:
                    remote.setblocking(False)
                    assert await loop.sock_recv(remote, 100) == b"early"
                    with pytest.raises(ssl.SSLWantReadError):
                        session.tls.unwrap()
                    await loop.sock_sendall(client, session.outgoing.read())
                    assert await loop.sock_recv(remote, 100) == b""
                    remote.send(b"answer")
                await until(lambda: it.log.of(ConnectionEnded))
                session.incoming.write(await loop.sock_recv(client, 65_536))
                assert session.tls.read(100) == b"answer"
                session.tls.unwrap()  # the end was announced
                assert await loop.sock_recv(client, 1) == b""
                record = await it.ending()
                assert (record.ending, record.bytes_up, record.bytes_down) == (Ending.DONE, 5, 6)
        assert not served

    run(play())


def leave(client: socket.socket, server: Server, how: str) -> None:
    match how:
        case "by its end":
            client.shutdown(socket.SHUT_WR)
        case "by a reset":
            reset_on_close(client)
            client.close()
        case "when the server stops":
            server.abort()
        case _:
            pass


@pytest.mark.parametrize("begun", ["nothing", "hello", "handshake", "request"])
@pytest.mark.parametrize("leaves", ["by its end", "by a reset", "when the server stops", "too late"])
def test_a_client_with_tls_that_leaves_at_any_time_leaves_nothing(run: Run, begun: str, leaves: str) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        async with tls_scene(handshake_timeout=0.2 if leaves == "too late" else 10.0) as (it, session):
            with await it.client() as client:
                if begun == "hello":
                    await loop.sock_sendall(client, session.begin()[:-1])
                elif begun != "nothing":
                    await shake_hands(client, session, 65_536)
                    session.tls.write(it.request[: 12 if begun == "request" else 0] or b"\x06")
                    await loop.sock_sendall(client, session.outgoing.read())
                await until(lambda: len(it.server.connections))
                if begun == "request":
                    await until(lambda: it.log.of(RemoteConnected))
                leave(client, it.server, leaves)
                if leaves == "too late" and begun == "request":
                    return
                record = await it.ending()
                assert not len(it.server.connections)
                assert not len(it.worker.monitor)
                expected = {
                    "by its end": Ending.RESET if begun in {"request", "handshake"} else Ending.MALFORMED,
                    "by a reset": Ending.RESET,
                    "when the server stops": Ending.STOPPED,
                    "too late": Ending.NO_REQUEST,
                }
                assert record.ending is expected[leaves]
                assert not it.log.errors

    run(play())


def test_over_tls_1_2_the_handshakes_end_does_not_wait_for_the_request(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        async with tls_scene(version=ssl.TLSVersion.TLSv1_2) as (it, session):
            with await it.client() as client:
                await shake_hands(client, session, 65_536)
                for _ in range(2):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        session.tls.do_handshake()
                        break
                    await loop.sock_sendall(client, session.outgoing.read())
                    session.incoming.write(await loop.sock_recv(client, 65_536))
                session.tls.write(it.request)
                await loop.sock_sendall(client, session.outgoing.read())
                session.incoming.write(await loop.sock_recv(client, 65_536))
                assert session.tls.read(100)[5] == 0

    run(play())


def test_a_request_by_a_session_takes_no_task_and_its_relay_ends_with_the_session(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    serve = ServerWorker.serve

    def noted(*details: object, **named: object) -> object:
        served.append(details)
        return serve(*details, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(ServerWorker, "serve", noted)
    monkeypatch.delattr(ServerConversation, "accept_session")  # a conversation takes twice the time

    async def play() -> None:
        loop = asyncio.get_running_loop()
        store = MemorySessionStore(SessionSettings())
        async with scene(authenticator=UserTable({}), sessions=store) as it:
            opened = store.create(
                Identity(name="alice"), source="", protection=Protection.CLEAR, now=loop.time()
            )
            assert opened is not None
            port = int(it.target.getsockname()[1])
            request = Request(command=1, host="127.0.0.1", port=port, options=(SessionId(id=opened.id),))
            teardown = Request(
                command=0, host="0.0.0.0", port=0, options=(SessionId(id=opened.id), SessionTeardown())
            )
            with await it.client() as client, await it.client() as other:
                answer = await it.ask(client, request.encode() + b"early", 20)
                assert (answer[1], answer[9]) == (0, 0)
                remote, _ = it.target.accept()
                with remote:
                    remote.setblocking(False)
                    assert await loop.sock_recv(remote, 9) == b"early"
                    assert opened.session.connections == 1
                    assert not served
                    await it.ask(other, teardown.encode(), 4)
                    for side in (client, remote):
                        with pytest.raises(ConnectionResetError):
                            await loop.sock_recv(side, 1)
            record = await it.ending()
            assert (record.user, record.ending, record.reason) == (
                "alice",
                Ending.STOPPED,
                "its session was torn down",
            )
            assert not opened.session.connections

    run(play())


class Counting(ServerWorker):
    """Counts the connections that took a task."""

    tasks = 0

    @override
    async def serve(self, *about: Any, **more: Any) -> bool:
        self.tasks += 1
        return await super().serve(*about, **more)


@by_library("library")
def test_streams_of_quic_take_no_task_once_the_client_is_known(
    run: Run, tmp_path: Path, library: str
) -> None:
    """Answers, data with the request, ends of halves, a refusal, a request in pieces, clients that leave."""
    log = Recorder()

    async def main() -> None:
        users = Slow()
        worker = Counting(authenticator=users, policy=Policy(allow_private=True), observers=[log])
        bulk = os.urandom(100_000)
        with echo() as place, refusing_place() as refusing:
            async with serving(tmp_path, worker, library) as scene:
                connection = await scene.connect()

                async def connect(
                    place: Place, *options: Option, after: bytes = b""
                ) -> tuple[ByteStream, int]:
                    asked = await ask(
                        connection, *options, command=1, host=place.host, port=place.port, after=after
                    )
                    return asked.stream, (await asked.replies())[1].code

                first, code = await connect(place, proof())
                whole, *_ = await connect(place, after=bulk)
                await whole.send_eof()
                assert await receive_all(whole) == bulk
                await whole.aclose()
                slow = await connection.open()
                for byte in Request(command=1, host=place.host, port=place.port).encode():
                    await slow.send(bytes((byte,)))
                    await asyncio.sleep(0.001)
                await slow.send(b"here")
                assert (await receive_exactly(slow, 20))[16:] == b"here"
                assert worker.tasks == 2  # the first, and the one in pieces
                assert (code, (await connect(refusing))[1]) == (0, 5)
                stopping, _ = await connect(place)
                stopping.stop_receiving()
                await stopping.send(b"an answer that is not wanted")
                await asyncio.sleep(0.05)  # it was refused before the client ends
                await stopping.send_eof()
                for stream in (slow, first):
                    stream.abort()
                await until(lambda: len(log.summaries) == 5)
                assert not len(worker.connections)
        endings = sorted((event.ending.value, event.bytes_up) for event in log.summaries)
        assert endings == [("done", 100_000), ("failed", 0), ("reset", 0), ("reset", 4), ("reset", 28)]
        assert {event.user for event in log.summaries} == {"alice"}
        assert users.asked == 1
        assert not log.errors

    run(main())


HTTP_CONNECT = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"


@pytest.mark.parametrize("optimistic", [False, True])
@pytest.mark.parametrize("protocol", ["socks5", "http"])
@pytest.mark.parametrize("is_there", [False, True])
def test_no_conversation_is_needed_to_answer_first_or_over_http(
    run: Run, monkeypatch: pytest.MonkeyPatch, protocol: str, optimistic: bool, is_there: bool
) -> None:
    for inbound in (Socks5Inbound, HttpInbound):
        monkeypatch.delattr(inbound, "serve")

    async def play() -> None:
        loop = asyncio.get_running_loop()
        async with scene(protocol, Settings(optimistic=optimistic)) as it:
            port = it.target.getsockname()[1]
            if not is_there:
                it.target.close()
            with await it.client() as client:
                if protocol == "http":
                    request, bad = HTTP_CONNECT % (port, port), b"HTTP/1.1 502 "
                    good = b"HTTP/1.1 200 Connection established\r\n\r\n"
                else:
                    assert await it.ask(client, GREETING, 2) == b"\x05\x00"
                    request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2)
                    good, bad = b"\x05\x00\x00\x01" + bytes(6 * optimistic), b"\x05\x05"
                expected = good if optimistic or is_there else bad
                assert await it.ask(client, request, len(expected)) == expected
                if is_there:
                    await loop.sock_sendall(client, b"early")
                    remote, _ = await asyncio.to_thread(it.target.accept)
                    with remote:
                        remote.setblocking(False)
                        assert await loop.sock_recv(remote, 9) == b"early"
                elif optimistic:
                    with pytest.raises(ConnectionResetError):
                        await loop.sock_recv(client, 1)

    run(play())
