"""A worker that is given other users and another policy while it serves."""

import asyncio
import base64

import pytest
from typing_extensions import override

from socks6.message.options import SessionInvalid
from socks6.net.stream import ByteStream
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy, Rule
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator, NoAuthentication
from socks6.proxy.authentication.hashes import PasswordHash, PlainSecret
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionOpened, Event
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.reading import receive_exactly
from tests.kit.session_scene import Scene
from tests.kit.streams import until

CONNECT = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
CONNECTED = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")
FORBIDDEN = bytes.fromhex("06 00 0000  06 02 0000 0000 00 01 00000000")
DENY_ALL = Policy(rules=(Rule.parse("deny"),))


class Waiting(Recorder):
    """Tells when a client is there."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    @override
    def observe(self, event: Event) -> None:
        super().observe(event)
        if isinstance(event, ConnectionOpened):
            self.opened.set()


async def answer_to(client: ByteStream, request: bytes) -> bytes:
    await client.send(request)
    answer = b""
    while len(answer) < len(CONNECTED) and (piece := await client.receive(len(CONNECTED) - len(answer))):
        answer += piece
    return answer


def test_a_request_meets_the_policy_that_holds_when_it_comes(run: Run) -> None:
    async def scene() -> None:
        log = Waiting()
        worker = ServerWorker(outbound=ScriptedOutbound(), observers=[log])
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            await log.opened.wait()
            worker.replace(authenticator=NoAuthentication(), policy=DENY_ALL)
            assert await answer_to(client, CONNECT) == FORBIDDEN
            client.abort()

    run(scene())


def test_who_comes_later_meets_the_new_policy(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(outbound=ScriptedOutbound())
        worker.replace(authenticator=NoAuthentication(), policy=DENY_ALL)
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            assert await answer_to(client, CONNECT) == FORBIDDEN
            client.abort()

    run(scene())


def test_sessions_end_with_their_users_and_with_their_passwords(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        alice, bob = await proxy.open(name="alice"), await proxy.open(name="bob")
        kept = {"alice": PlainSecret.of(b"123456"), "bob": PlainSecret.of(b"654321")}
        proxy.worker.replace(authenticator=UserTable(kept), policy=Policy())
        for session_id in (alice, bob):  # nobody can tell that these are the passwords of before
            assert (await proxy.ask(session_id)).find(SessionInvalid)
        alice, bob = await proxy.open(name="alice"), await proxy.open(name="bob")
        proxy.worker.replace(authenticator=UserTable(dict(kept)), policy=Policy())
        assert (await proxy.ask(alice)).succeeded
        proxy.worker.replace(authenticator=UserTable({"alice": kept["alice"]}), policy=Policy())
        assert (await proxy.ask(alice)).succeeded
        assert (await proxy.ask(bob)).find(SessionInvalid)
        proxy.worker.replace(authenticator=NoAuthentication(), policy=Policy())
        assert (await proxy.ask(alice)).find(SessionInvalid)

    run(scene())


def test_connections_outlive_the_sessions_that_a_reload_ends(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        async with asyncio.TaskGroup() as group:
            client, _ = await proxy.connected(group, session_id)
            proxy.worker.replace(authenticator=UserTable({}), policy=Policy())
            await proxy.outbound.far.send(b"still here")
            assert await client.receive() == b"still here"
            client.abort()

    run(scene())


def test_a_policy_alone_ends_no_session(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        proxy.worker.replace(authenticator=proxy.worker.authenticator, policy=DENY_ALL)
        assert (await proxy.ask(session_id)).summary.reply == 0

    run(scene())


class HeldBack(Authenticator):
    """A table whose answers are held back."""

    def __init__(self, **passwords: PasswordHash) -> None:
        self.table = UserTable(passwords)
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        identity = await self.table.verify(credentials)
        self.asked.set()
        await self.may_answer.wait()
        return identity

    @override
    def credential_version(self, identity: Identity) -> object:
        return self.table.credential_version(identity)


ALICE, BOB = PlainSecret.of(b"123456"), PlainSecret.of(b"654321")
AS_ALICE = base64.b64encode(b"alice:123456")
SOCKS5_LOGIN = bytes.fromhex("05 01 02  01 05") + b"alice" + b"\x06123456"
SOCKS5_CONNECT = bytes.fromhex("05 01 00 01 c0000250 0050")


@pytest.mark.parametrize("left", [{}, {"alice": PlainSecret.of(b"another")}, {"alice": ALICE}])
def test_a_reload_during_a_check_does_not_slip_through(run: Run, left: dict[str, PasswordHash]) -> None:
    async def scene() -> None:
        outbound, users = ScriptedOutbound(), HeldBack(alice=ALICE)
        worker = ServerWorker(outbound=outbound, authenticator=users)
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server, "socks5"))
            await client.send(SOCKS5_LOGIN + SOCKS5_CONNECT)
            await users.asked.wait()
            worker.replace(authenticator=UserTable(left), policy=Policy())
            users.may_answer.set()
            answer = await receive_exactly(client, 4)
            assert answer == bytes.fromhex("05 02  01 00" if ALICE in left.values() else "05 02  01 01")
            client.abort()

    run(scene())


def test_who_proved_it_before_a_reload_asks_for_nothing_after_it(run: Run) -> None:
    async def scene() -> None:
        outbound, log = ScriptedOutbound(), Recorder()
        worker = ServerWorker(outbound=outbound, authenticator=UserTable({"alice": ALICE}), observers=[log])
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server, "socks5"))
            await client.send(SOCKS5_LOGIN)
            assert await receive_exactly(client, 4) == bytes.fromhex("05 02  01 00")
            worker.replace(authenticator=UserTable({"bob": BOB}), policy=Policy())
            await client.send(SOCKS5_CONNECT)
            assert await receive_exactly(client, 2) == bytes.fromhex("05 02")
            client.abort()
        assert not outbound.dialled
        assert log.summaries[0].reason == "the user is gone, or has another password, since a reload"

    run(scene())


def test_an_anonymous_client_is_not_let_in_by_a_reload_that_brings_users(run: Run) -> None:
    async def scene() -> None:
        log = Waiting()
        worker = ServerWorker(outbound=ScriptedOutbound(), observers=[log])
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            await log.opened.wait()
            await asyncio.sleep(0)
            worker.replace(authenticator=UserTable({"alice": ALICE}), policy=Policy())
            assert await answer_to(client, CONNECT) == FORBIDDEN
            client.abort()

    run(scene())


@pytest.mark.parametrize(
    ("users", "policy", "status"),
    [
        (UserTable({"bob": BOB}), Policy(), b"407"),
        (UserTable({"alice": PlainSecret.of(b"another")}), Policy(), b"407"),
        (UserTable({"alice": ALICE}), DENY_ALL, b"403"),
        (UserTable({"alice": ALICE, "bob": BOB}), Policy(), b"200"),
    ],
)
def test_each_request_on_an_http_connection_meets_what_holds_now(
    run: Run, users: UserTable, policy: Policy, status: bytes
) -> None:
    get = (
        b"GET http://192.0.2.80/ HTTP/1.1\r\nHost: 192.0.2.80\r\nProxy-Authorization: Basic %s\r\n\r\n"
        % AS_ALICE
    )
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def scene() -> None:
        outbound, dialled = ScriptedOutbound(), 0
        worker = ServerWorker(outbound=outbound, authenticator=UserTable({"alice": ALICE}))
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server, "http"))
            for expected in (b"200", status):
                await client.send(get)
                if expected == b"200":
                    dialled += 1
                    await until(lambda: len(outbound.dialled) == dialled)  # noqa: B023
                    await outbound.far.send(page)
                assert await receive_exactly(client, 12) == b"HTTP/1.1 " + expected
                if expected == b"200":
                    await receive_exactly(client, len(page) + len(b"Via: 1.1 socks6\r\n") - 12)
                worker.replace(authenticator=users, policy=policy)
            client.abort()

    run(scene())
