"""A worker that is given other users and another policy while it serves."""

import asyncio

from typing_extensions import override

from socks6.net.stream import ByteStream
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder, ScriptedOutbound

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
