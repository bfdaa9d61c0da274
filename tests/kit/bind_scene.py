"""A server whose listeners are the test's, and clients that ask it for BIND."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from typing_extensions import override

from socks6.errors import OperationFailed
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import ListenBacklog, Option, SessionId
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.stream import ByteStream, Endpoint, Outbound, Protection
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.proxy.settings import BindSettings, Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Event
from tests.kit.bindings import ScriptedBinding
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.reading import receive_exactly

ANYWHERE = Endpoint("0.0.0.0", 0)
OTHER = Endpoint("2001:db8::7", 9)
FOUR = ListenBacklog(backlog=4)


class Log(Recorder):
    """A log that one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    @override
    def observe(self, event: Event) -> None:
        super().observe(event)
        if isinstance(event, ConnectionEnded):
            self.news.set()


class Scene:
    """A server whose listeners are the test's, and its clients."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        failure: OperationFailed | None = None,
        settings: BindSettings | None = None,
        way: Outbound | None = None,
    ) -> None:
        self.binding = ScriptedBinding(backlog=4)
        self.outbound = ScriptedOutbound(failure)
        self.outbound.binding = self.binding
        self.log = Log()
        self.worker = ServerWorker(
            outbound=way or self.outbound,
            policy=Policy(allow_private=True),
            observers=[self.log],
            settings=Settings(dialects=(DRAFT_12, GO_212), bind=settings or BindSettings()),
        )
        self._group = group

    def session(self) -> SessionId:
        """Open a session; return the option that names it."""
        assert self.worker.sessions is not None
        now = asyncio.get_running_loop().time()
        opened = self.worker.sessions.store.create(
            Identity(name="alice"), source="", protection=Protection.CLEAR, now=now
        )
        assert opened is not None
        return SessionId(id=opened.id)

    def end(self, session: SessionId) -> None:
        """End a session, without its connections."""
        assert self.worker.sessions is not None
        store, now = self.worker.sessions.store, asyncio.get_running_loop().time()
        found = store.find(session.id, Protection.CLEAR, now)
        assert found is not None
        store.tear_down(found, close=False)

    async def ask(
        self,
        *options: Option,
        place: Endpoint = ANYWHERE,
        session: SessionId | None = None,
        dialect: Dialect = DRAFT_12,
        early: bytes = b"",
    ) -> ByteStream:
        """Make a request; return the client's stream, behind the Authentication Reply."""
        client, server = memory_stream_pair()
        self._group.create_task(self.worker.serve_stream(server))
        if session is not None:
            options += (session,)
        request = Request(command=Command.BIND, host=place.host, port=place.port, options=options)
        await client.send(request.encode(dialect) + early)
        data = b""
        while len(data) < (size := AuthenticationReply.size(data, dialect)):
            data += await receive_exactly(client, size - len(data))
        assert AuthenticationReply.decode(data, dialect).type == 0
        return client

    async def summaries(self, count: int = 1) -> list[ConnectionEnded]:
        """Return what the log says, once it has so many lines."""
        while len(self.log.summaries) < count:
            self.log.news.clear()
            await self.log.news.wait()
        assert not self.log.errors
        return self.log.summaries


@asynccontextmanager
async def serving(
    *,
    failure: OperationFailed | None = None,
    settings: BindSettings | None = None,
    backlog: int = 0,
    way: Outbound | None = None,
) -> AsyncIterator[Scene]:
    """Serve; listeners are `way`'s, or the test's, with so much backlog. Nothing may be left of them."""
    async with asyncio.TaskGroup() as group:
        scene = Scene(group, failure=failure, settings=settings, way=way)
        scene.binding._backlog = backlog
        yield scene
    assert scene.worker.bindings.limits.count == 0


async def reply_from(client: ByteStream, dialect: Dialect = DRAFT_12) -> OperationReply:
    """Receive an Operation Reply."""
    data = b""
    while len(data) < OperationReply.size(data, dialect):
        piece = await client.receive(OperationReply.size(data, dialect) - len(data))
        assert piece
        data += piece
    return OperationReply.decode(data, dialect)


def place_of(reply: OperationReply) -> Endpoint:
    """Return where a successful reply says."""
    assert reply.code == 0
    return Endpoint(reply.host, reply.port)
