"""A judge of requests, which may wait: what it sees, what its answers do, and that its faults let nobody through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import GeneralFailure, HostUnreachable, NotAllowed
from socks6.message.codes import Command
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.live import ConnectionInfo
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import UnexpectedError
from tests.kit.loops import Run
from tests.kit.origins import echo, refusing_place
from tests.kit.outbounds import Recorder


class Near(Authenticator):
    """Knows who is at which address."""

    required = True

    def __init__(self) -> None:
        self.sources: list[str] = []

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.sources.append(source)
        await asyncio.sleep(0)
        known = isinstance(credentials, UsernamePasswordCredentials) and source == "127.0.0.1"
        return Identity(name="alice") if known else None


@asynccontextmanager
async def proxied(
    judge: Callable[[ProxyRequest, ConnectionInfo], Awaitable[None]],
    *,
    observer: Recorder | None = None,
    authenticator: Authenticator | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Client]:
    worker = ServerWorker(
        judge_request=judge,
        policy=Policy(allow_private=True),
        observers=[observer or Recorder()],
        authenticator=authenticator,
        settings=settings,
    )
    async with Server(["socks6://127.0.0.1:0"], worker) as server:
        user = "alice:secret@" if authenticator else ""
        async with Client(server.urls[0].replace("://", f"://{user}")) as client:
            yield client


def test_it_sees_the_whole_request_and_its_client(run: Run) -> None:
    seen: list[tuple[ProxyRequest, ConnectionInfo]] = []
    users = Near()

    async def judge(request: ProxyRequest, client: ConnectionInfo) -> None:
        await asyncio.sleep(0)
        seen.append((request, client))

    async def main() -> None:
        with echo() as place:
            async with proxied(judge, authenticator=users) as client:
                async with await client.connect(place.host, place.port, initial_data=b"first") as stream:
                    assert await stream.receive() == b"first"
                async with await client.bind(), client.associate():
                    pass
            request, info = seen[0]
            assert (request.host, request.port, request.initial_data) == (place.host, place.port, b"first")
            assert (info.source, info.user, info.inbound) == ("127.0.0.1", "alice", "socks6")
        assert [request.command for request, _ in seen] == [
            Command.CONNECT,
            Command.BIND,
            Command.UDP_ASSOCIATE,
        ]
        assert {request.identity.name for request, _ in seen} == {"alice"}
        assert set(users.sources) == {"127.0.0.1"}

    run(main())


@pytest.mark.parametrize(
    ("raised", "answer", "faults"),
    [
        (NotAllowed("not today"), NotAllowed, 0),
        (HostUnreachable("hidden"), HostUnreachable, 0),
        (KeyError("a fault"), GeneralFailure, 3),
        (TimeoutError("of its own"), GeneralFailure, 3),
    ],
)
def test_what_it_raises_is_the_reply_and_a_fault_lets_nobody_through(
    run: Run, raised: Exception, answer: type[Exception], faults: int
) -> None:
    async def judge(request: ProxyRequest, client: ConnectionInfo) -> None:
        raise raised

    async def main() -> None:
        log = Recorder()
        with refusing_place() as nobody:
            async with proxied(judge, observer=log) as client:
                with pytest.raises(answer):
                    await client.connect(nobody.host, nobody.port)
                with pytest.raises(answer):
                    await client.bind()
                with pytest.raises(answer):
                    await client.open_association("0.0.0.0", 0)
        assert len(log.of(UnexpectedError)) == faults

    run(main())


def test_it_has_as_long_as_a_handshake(run: Run) -> None:
    async def judge(request: ProxyRequest, client: ConnectionInfo) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with proxied(judge, settings=Settings(handshake_timeout=0.05)) as client:
            with pytest.raises(GeneralFailure):
                await client.connect("127.0.0.1", 9)

    run(main())
