"""What clients are told where nobody can tell now whether their credentials hold, and when."""

import asyncio
import base64
import socket

import pytest
from typing_extensions import override

from socks6.errors import AuthenticationBusy
from socks6.net.sockets import RESET_ON_CLOSE, SocketStream
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.reading import receive_all
from tests.kit.streams import until

REQUEST6 = (
    bytes.fromhex("06 01 0014 0050 00 01 c0000201  0004 0014 02 01 05") + b"alice" + b"\x06secret" + bytes(1)
)
REQUEST5 = bytes.fromhex("05 01 02  01 05") + b"alice" + b"\x06secret"
GET = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: Basic %s\r\n\r\n" % (
    base64.b64encode(b"alice:secret")
)


class Users(Authenticator):
    """Cannot tell, at once or ever."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.times = 0
        self._hangs = hangs

    @property
    @override
    def required(self) -> bool:
        return True

    @property
    @override
    def concurrency(self) -> int:
        return 1

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.asked.set()
        self.times += 1
        if self._hangs:
            await self.may_answer.wait()
        raise AuthenticationBusy("too much to do")


async def answer_to(
    inbound: str, request: bytes, users: Users, timeout: float = 10.0
) -> tuple[bytes, Recorder]:
    """Return the answer to a client that says this and no more."""
    log = Recorder()
    worker = ServerWorker(
        authenticator=users,
        outbound=ScriptedOutbound(),
        observers=[log],
        settings=Settings(handshake_timeout=timeout),
    )
    client, server = memory_stream_pair()
    await client.send(request)
    await client.send_eof()
    await worker.serve_stream(server, inbound)
    return await receive_all(client), log


BUSY = [
    ("socks6", REQUEST6, bytes.fromhex("06 01 0000")),  # not a word about the credentials
    ("socks5", REQUEST5, bytes.fromhex("05 02  01 02")),
    (
        "http",
        GET,
        b"HTTP/1.1 503 Service Unavailable\r\nProxy-Status: socks6; error=proxy_internal_error\r\n",
    ),
]


@pytest.mark.parametrize(("inbound", "request_", "answer"), BUSY)
def test_busy_is_not_wrong(run: Run, inbound: str, request_: bytes, answer: bytes) -> None:
    async def scene() -> None:
        told, log = await answer_to(inbound, request_, Users())
        assert told.startswith(answer)
        assert inbound == "http" or told == answer
        assert (log.summaries[0].ending, log.summaries[0].reason) == (Ending.FAILED, "too much to do")

    run(scene())


@pytest.mark.parametrize(("inbound", "request_", "answer"), BUSY)
def test_who_waits_too_long_for_its_turn_is_told_so(
    run: Run, inbound: str, request_: bytes, answer: bytes
) -> None:
    async def scene() -> None:
        told, _ = await answer_to(inbound, request_, Users(hangs=True), 0.1)
        assert told.startswith(answer)

    run(scene())


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    return client, server


def test_a_client_that_has_reset_is_not_looked_at(run: Run) -> None:
    async def scene() -> None:
        users, log = Users(hangs=True), Recorder()
        worker = ServerWorker(authenticator=users, observers=[log])
        (first, _), (second, _) = pairs = [connected_pair() for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for client, server in pairs:
                client.send(REQUEST6)
                group.create_task(worker.serve_stream(SocketStream(server)))
            await users.asked.wait()
            await until(lambda: len(worker.verifications) == 1)
            second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            second.close()
            users.may_answer.set()
            await until(lambda: len(log.summaries) == 1)
            first.close()
        assert users.times == 1
        assert log.summaries[0].ending is Ending.RESET

    run(scene())
