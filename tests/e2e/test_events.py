"""CONTRIBUTING, "An observer", followed: what a proxy does, as its observers and its live table show it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from socks6 import (
    AssociationOpened,
    AuthenticationFailed,
    BindingOpened,
    CertificateRead,
    Client,
    ConnectionEnded,
    ConnectionOpened,
    ConnectionSecured,
    Event,
    Listening,
    NotAllowed,
    Observer,
    PeerAccepted,
    Policy,
    ProxiedStream,
    Reloaded,
    RemoteConnected,
    RequestMade,
    Rule,
    Server,
    ServerWorker,
    SessionOpened,
    SessionTornDown,
    Settings,
    SourcePenalized,
    Stopping,
    StreamPushed,
    TokenSpent,
    UpstreamDown,
    UpstreamOutbound,
    UpstreamUp,
    UserAuthenticated,
)
from socks6.net.encryption import contexts
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.proxied import LOOPBACK, USERS, as_alice, echoing
from tests.kit.streams import receive_exactly, until
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e

OPEN = Policy(allow_private=True, rules=(Rule.parse("allow", commands=["bind"]),))


class Diary(Observer):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @override
    def observe(self, event: Event) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]


class Counter(Observer):
    """Counts the ends of connections, and has no use for anything else."""

    wants = (ConnectionEnded,)

    def __init__(self) -> None:
        self.count = 0

    @override
    def observe(self, event: Event) -> None:
        assert isinstance(event, ConnectionEnded)
        self.count += 1


@asynccontextmanager
async def observed(*observers: Observer, settings: Settings | None = None) -> AsyncIterator[Server]:
    worker = ServerWorker(
        authenticator=USERS, policy=OPEN, settings=settings or Settings(), observers=observers
    )
    async with Server([LOOPBACK], worker) as server:
        yield server


async def ended(stream: ProxiedStream) -> None:
    """End a stream in order."""
    await stream.send_eof()
    while await stream.receive(65536):
        pass


def test_a_connect_in_a_session_is_told_step_by_step(run: Run) -> None:
    async def scene() -> None:
        diary, counter = Diary(), Counter()
        async with (
            echoing() as port,
            observed(diary, counter) as server,
            Client(as_alice(server), session=True) as client,
        ):
            async with await client.connect("127.0.0.1", port, idempotent=True) as stream:
                await stream.send(b"you")
                await ended(stream)
            await until(lambda: counter.count == 2)  # the NOOP that fetched tokens, the CONNECT
            async with Client(as_alice(server), session=True) as another:
                await another.noop()
        connect = next(event for event in diary.events if isinstance(event, RemoteConnected)).id
        mine = [event for event in diary.events if getattr(event, "id", 0) == connect]
        assert [type(event) for event in mine] == [
            ConnectionOpened,
            TokenSpent,
            UserAuthenticated,
            RequestMade,
            RemoteConnected,
            ConnectionEnded,
        ]
        assert mine[3] == RequestMade(
            id=connect, user="alice", command="CONNECT", host="127.0.0.1", port=port
        )
        last = mine[-1]
        assert isinstance(last, ConnectionEnded)
        assert (last.bytes_up, last.user, last.token) == (3, "alice", "accepted")
        assert diary.kinds[0] is Listening
        assert {SessionOpened, SessionTornDown, Stopping} <= set(diary.kinds)

    run(scene())


def test_bindings_associations_and_sessions_are_in_the_live_table(run: Run) -> None:
    async def scene() -> None:
        diary = Diary()
        async with (
            echoing() as port,
            observed(diary) as server,
            Client(as_alice(server), session=True) as client,
        ):
            async with await client.connect("127.0.0.1", port) as stream:
                await stream.send(b"0123456789")
                assert await receive_exactly(stream, 16) == b"hello 0123456789"
                (info,) = server.connections
                assert (info.user, info.command, info.port, info.established) == (
                    "alice",
                    "CONNECT",
                    port,
                    True,
                )
                assert (info.bytes_up, info.bytes_down) == (10, 16)
                assert [session.user for session in server.connections.sessions] == ["alice"]
                await ended(stream)
            async with await client.bind() as listener:
                (info,) = server.connections.bindings
                assert (info.host, info.port) == listener.bound
                _, writer = await asyncio.open_connection(*listener.bound)
                async with await listener.accept():
                    assert [info.peer != "" for info in server.connections.bindings] == [True]
                writer.close()
            with udp_echo() as place:
                async with client.associate() as association:
                    for number in range(1, 6):  # the first takes the slow path, the others do not
                        await association.send(b"12345", (place.host, place.port))
                        assert (await association.receive())[0] == b"12345"
                        (info,) = server.connections.associations
                        assert (info.host, info.port) == association.bound
                        assert (info.bytes_up, info.bytes_down) == (5 * number, 5 * number)
            await until(lambda: len(server.connections) == 0)
            assert {BindingOpened, PeerAccepted, AssociationOpened} <= set(diary.kinds)

    run(scene())


def test_what_encrypted_transports_do_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "LOOK_SECONDS", 0.0)

    async def scene() -> None:
        diary = Diary()
        files = write_certificate(tmp_path)
        mine = write_certificate(tmp_path, "alice@example.com", stem="mine")
        listen = [
            f"socks6+tls://127.0.0.1:0?{files.listener_query}&client-ca={files.ca}",
            f"socks6+quic://127.0.0.1:0?{files.listener_query}",
        ]
        async with Server(listen, ServerWorker(policy=OPEN, observers=[diary])) as server:
            tls, quic = (url.partition("?")[0] for url in server.urls)
            asking = f"{tls}?ca={files.ca}&cert={mine.certificate}&key={mine.key}"
            async with Client(asking) as client:
                await client.noop()
            (secured,) = (event for event in diary.events if isinstance(event, ConnectionSecured))
            assert (secured.user, secured.version) == ("alice@example.com", "TLSv1.3")
            assert secured.cipher.startswith("TLS_")
            async with (
                Client(f"{quic}?ca={files.ca}", session=True) as client,
                await client.bind("127.0.0.1", backlog=2) as listener,
            ):
                _, writer = await asyncio.open_connection(*listener.bound)
                async with await listener.accept() as stream:
                    (pushed,) = (event for event in diary.events if isinstance(event, StreamPushed))
                    assert pushed.peer == "{}:{}".format(*writer.get_extra_info("sockname"))
                    assert pushed.id in {info.id for info in server.connections.bindings}
                    await stream.send(b"!")
                writer.close()
            os.truncate(files.certificate, 0)
            async with Client(asking) as client:
                await client.noop()
            (read,) = (event for event in diary.events if isinstance(event, CertificateRead))
            assert read.path == files.certificate
            assert read.reason

    run(scene())


def test_refusals_penalties_and_reloads_are_events(run: Run) -> None:
    async def scene() -> None:
        diary = Diary()
        worker = ServerWorker(authenticator=USERS, observers=[diary])
        worker.penalties.name_limit = 1
        async with Server([LOOPBACK], worker) as server:
            async with Client(as_alice(server)) as client:
                with pytest.raises(NotAllowed):
                    await client.connect("127.0.0.1", 1)
            worker.replace(authenticator=USERS, policy=OPEN)
            assert diary.kinds[-1] is Reloaded
            # a source of its own is never penalized: the penalty is tried as from another one
            worker.penalties.failed("203.0.113.1", 0.0, name=b"alice")
            assert diary.events[-1] == SourcePenalized(source="203.0.113.1", user="alice", seconds=60.0)
            with pytest.raises(AuthenticationFailed):
                async with Client(server.urls[0].replace("://", "://alice:wrong@")) as guesser:
                    await guesser.noop()

    run(scene())


def test_an_upstream_goes_down_and_comes_up_once_each(run: Run) -> None:
    async def scene() -> None:
        diary = Diary()
        async with echoing() as port, observed() as upstream:
            url = as_alice(upstream)
            worker = ServerWorker(
                policy=OPEN, outbound=UpstreamOutbound(Client(url, timeout=5.0)), observers=[diary]
            )
            async with Server([LOOPBACK], worker) as server, Client(server.urls[0]) as client:
                for _ in range(2):
                    async with await client.connect("127.0.0.1", port) as stream:
                        await ended(stream)
                upstream.abort()
                await upstream.serve_forever()
                for _ in range(2):
                    with pytest.raises(OSError, match="general failure"):
                        await client.connect("127.0.0.1", port)
        changes = [event for event in diary.events if isinstance(event, UpstreamUp | UpstreamDown)]
        assert [type(event) for event in changes] == [UpstreamUp, UpstreamDown]
        assert "wonder" not in repr(changes)

    run(scene())
