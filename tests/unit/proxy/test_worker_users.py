"""What becomes of a user's connections and requests when a users database changes, and what its limits do."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.errors import (
    AddressTypeNotSupported,
    AuthenticationFailed,
    GeneralFailure,
    NotAllowed,
    OutgoingAddressFailed,
)
from socks6.policy.rules import Policy
from socks6.proxy import worker as worker_module
from socks6.proxy.authentication.database_users import DatabaseUsers
from socks6.proxy.authentication.users_database import UsersDatabase
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import AuthenticatorDown, AuthenticatorUp, ConnectionEnded, Ending
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder
from tests.kit.streams import receive_exactly, until

SECRET: Final = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$vk+JgWgZGbXHtEqPQPhzXbD+QxxkJR5Fq2AXLhDyYaY"
OTHER: Final = "$argon2id$v=19$m=8,t=1,p=1$b3RoZXJvdGhlcg$kHEsSnsd3R5RSdkJIL3DyGN7FdPNLXRyCE7NCAWxDVg"
HERE: Final = "127.0.0.1"
OURS: Final = "127.0.0.9"
BASIC: Final = "YWxpY2U6c2VjcmV0"  # alice:secret


class Scene:
    """A server whose users alice and bob are in a database, and a host that says who has connected."""

    def __init__(self, path: Path) -> None:
        self.database = UsersDatabase(path, create=True)
        for name in ("alice", "bob"):
            self.database.add(name, {"hash": SECRET})
        self.log = Recorder()
        self.worker = ServerWorker(
            authenticator=DatabaseUsers(UsersDatabase(path)),
            policy=Policy(allow_private=True),
            observers=[self.log],
        )
        self.url = ""
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self, scheme: str = "socks6") -> AsyncIterator[None]:
        async def name_peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError):
                writer.write(f"{writer.get_extra_info('peername')[0]:<9}".encode())
                await reader.read()

        async with (
            await asyncio.start_server(name_peer, HERE, 0) as host,
            Server([f"{scheme}://{HERE}:0"], self.worker) as server,
        ):
            self.port = host.sockets[0].getsockname()[1]
            self.url = server.urls[0]
            try:
                yield
            finally:
                server.abort()
        self.database.close()

    def client(self, name: str = "alice", *, session: bool = False) -> Client:
        place = self.url.rpartition("/")[2]
        return Client(f"socks6://{name}:secret@{place}", session=session)

    async def set(self, name: str, **values: object) -> None:
        """Change a user, and wait until that is in force."""
        self.database.set(name, values)
        for change in await self.worker.authenticator.changes():
            self.worker.user_changed(change)

    async def peer(self, client: Client, host: str = HERE) -> str:
        """Return from where a host is reached."""
        async with await client.connect(host, self.port) as stream:
            return (await receive_exactly(stream, 9)).decode().strip()


@pytest.fixture
def run() -> Run:
    return Run("asyncio")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "users.db")


def test_a_user_that_is_disabled_loses_what_is_open_and_others_lose_nothing(
    scene: Scene, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CHANGES_SECONDS", 0.01)

    async def play() -> None:
        async with scene.running(), scene.client(session=True) as alice, scene.client("bob") as bob:
            hers, his = await alice.connect(HERE, scene.port), await bob.connect(HERE, scene.port)
            async with hers, his, alice.associate():
                await receive_exactly(hers, 9)
                await receive_exactly(his, 9)
                assert len(scene.worker.connections.sessions) == 1
                scene.database.set("alice", {"enabled": False})
                with pytest.raises(ConnectionResetError):
                    await hers.receive()
                await until(lambda: len(scene.worker.connections) == 1)
                assert scene.worker.connections.sessions == []
                with pytest.raises(AuthenticationFailed):
                    await alice.noop()
                assert await scene.peer(bob) == HERE
        ended = [event for event in scene.log.of(ConnectionEnded) if event.ending is Ending.KICKED]
        assert [(event.user, event.reason) for event in ended] == [("alice", "the user is disabled")] * 2
        assert not scene.log.errors

    run(play())


def test_another_password_ends_sessions_but_no_relay(scene: Scene, run: Run) -> None:
    async def play() -> None:
        async with scene.running(), scene.client(session=True) as alice:
            relay = await alice.connect(HERE, scene.port)
            await scene.set("alice", hash=OTHER)
            assert scene.worker.connections.sessions == []
            assert await receive_exactly(relay, 9)
            with pytest.raises(AuthenticationFailed):
                await alice.noop()
            relay.abort()

    run(play())


def test_another_password_is_needed_on_an_http_connection_too(scene: Scene, run: Run) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def play() -> None:
        async with scene.running("http"), await asyncio.start_server(answer, HERE, 0) as site:
            place = f"{HERE}:{site.sockets[0].getsockname()[1]}"
            reader, writer = await asyncio.open_connection(HERE, int(scene.url.rpartition(":")[2]))
            for expected in (b"200", b"200", b"407"):
                writer.write(
                    f"GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: Basic {BASIC}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.split()[1] == expected
                if expected == b"200":
                    assert await reader.readexactly(2) == b"ok"
                    await scene.set("alice", **next(changes))
            writer.close()

    changes = iter([{"note": "x"}, {"hash": OTHER}])
    run(play())


def test_a_request_between_login_and_removal_is_refused(scene: Scene, run: Run) -> None:
    async def play() -> None:
        async with scene.running("socks5"):
            reader, writer = await asyncio.open_connection(HERE, int(scene.url.rpartition(":")[2]))
            writer.write(b"\5\1\2\1\5alice\6secret")
            assert await reader.readexactly(4) == b"\5\2\1\0"
            scene.database.remove("alice")
            await scene.worker.authenticator.changes()
            writer.write(b"\5\1\0\1\x7f\0\0\1" + scene.port.to_bytes(2, "big"))
            assert (await reader.readexactly(2))[1] == 2
            writer.close()
        (record,) = scene.log.of(ConnectionEnded)
        assert record.reason == "the user was removed or disabled, or has expired"

    run(play())


def test_a_users_own_counts_hold_for_what_comes_next_in_a_session_too(scene: Scene, run: Run) -> None:
    async def play() -> None:
        async with scene.running(), scene.client(session=True) as alice:
            await scene.set("alice", connections=1, associations=1, bindings=1)
            async with await alice.connect(HERE, scene.port):
                with pytest.raises(GeneralFailure):
                    await scene.peer(alice)
                await scene.set("alice", connections=9)
                assert await scene.peer(alice) == HERE
                async with alice.associate():
                    with pytest.raises(GeneralFailure):
                        async with alice.associate():
                            pass
                    async with await alice.bind(HERE, 0):
                        with pytest.raises(GeneralFailure):
                            async with await alice.bind(HERE, 0):
                                pass

    run(play())


@pytest.mark.parametrize("host", [HERE, "localhost"])
def test_what_goes_out_goes_out_from_the_users_address(scene: Scene, run: Run, host: str) -> None:
    async def play() -> None:
        async with scene.running(), scene.client() as alice:
            await scene.set("alice", outgoing=OURS)
            assert await scene.peer(alice, host) == OURS
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as remote:
                remote.bind((HERE, 0))
                remote.setblocking(False)
                async with alice.associate() as association:
                    await association.send(b"x", (host, remote.getsockname()[1]))
                    await association.send(b"x", ("::1", remote.getsockname()[1]))
                    loop = asyncio.get_running_loop()
                    assert (await loop.sock_recvfrom(remote, 9))[1][0] == OURS
                with pytest.raises(NotAllowed):
                    async with alice.associate(HERE):
                        pass
            with pytest.raises(AddressTypeNotSupported):
                await scene.peer(alice, "::1")

    run(play())


def test_an_upstream_does_not_go_out_from_it() -> None:
    with pytest.raises(OutgoingAddressFailed, match="another proxy does the connecting"):
        UpstreamOutbound(Client("socks6://proxy.example")).from_address(OURS)


def test_an_address_that_the_machine_lacks_is_named_in_the_log(scene: Scene, run: Run) -> None:
    async def play() -> None:
        async with scene.running(), scene.client() as alice:
            await scene.set("alice", outgoing="192.0.2.9")
            for host in (HERE, "localhost"):
                with pytest.raises(GeneralFailure):
                    await scene.peer(alice, host)
            with pytest.raises(GeneralFailure):
                async with alice.associate():
                    pass
        ended = scene.log.of(ConnectionEnded)
        assert {(record.ending, record.reason) for record in ended} == {
            (Ending.REFUSED, "outgoing address 192.0.2.9: Cannot assign requested address")
        }

    run(play())


def test_what_cannot_be_read_is_reported_once(
    scene: Scene, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker_module, "CHANGES_SECONDS", 0.01)

    async def play() -> None:
        async with scene.running(), scene.client() as alice:
            assert await scene.peer(alice) == HERE
            users = scene.worker.authenticator
            assert isinstance(users, DatabaseUsers)
            for times in (1, 2):
                (tmp_path / "users.db").chmod(0o666)
                users.database.close()
                await until(lambda: len(scene.log.of(AuthenticatorDown)) == times)  # noqa: B023
                await asyncio.sleep(0.05)
                assert len(scene.log.of(AuthenticatorDown)) == times
                (tmp_path / "users.db").chmod(0o600)
                await until(lambda: len(scene.log.of(AuthenticatorUp)) == times)  # noqa: B023
        (event, *_) = scene.log.of(AuthenticatorDown)
        assert "others than its owner can change it" in event.reason
        assert not scene.log.errors

    run(play())
