"""A worker that is given other users and another policy while it serves."""

import asyncio

from typing_extensions import override

from socks6.message.options import SessionInvalid
from socks6.net.stream import ByteStream
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.hashes import PlainSecret
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.session_scene import Scene

CONNECT = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
CONNECTED = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")
FORBIDDEN = bytes.fromhex("06 00 0000  06 02 0000 0000 00 01 00000000")
NOWHERE = Policy(rules=(Rule.parse("deny"),))


class Waiting(Recorder):
    """Tells when a client is there."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    @override
    def connection_opened(self, connection_id: int, source: str) -> None:
        super().connection_opened(connection_id, source)
        self.opened.set()


async def answer_to(client: ByteStream, request: bytes) -> bytes:
    await client.send(request)
    answer = b""
    while len(answer) < len(CONNECTED) and (piece := await client.receive(len(CONNECTED) - len(answer))):
        answer += piece
    return answer


def test_who_is_here_keeps_the_policy_that_he_met(run: Run) -> None:
    async def scene() -> None:
        log = Waiting()
        worker = ServerWorker(outbound=ScriptedOutbound(), observer=log)
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve_stream(server))
            await log.opened.wait()
            worker.replace(authenticator=NoAuthentication(), policy=NOWHERE)
            assert await answer_to(client, CONNECT) == CONNECTED
            client.abort()

    run(scene())


def test_who_comes_later_meets_the_new_policy(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(outbound=ScriptedOutbound())
        worker.replace(authenticator=NoAuthentication(), policy=NOWHERE)
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
        proxy.worker.replace(authenticator=proxy.worker.authenticator, policy=NOWHERE)
        assert (await proxy.ask(session_id)).summary.reply == 0

    run(scene())
