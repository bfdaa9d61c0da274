"""A worker with users, and clients that come to it over memory with sessions and tokens."""

import asyncio
import dataclasses
from collections.abc import Mapping

from typing_extensions import override

from socks6.message.codes import AuthenticationType, Command
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import (
    AuthenticationData,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionRequest,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.net.stream import ByteStream, Endpoint, Protection
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.sessions import MemorySessionStore, SessionSettings
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.reading import receive_all

USERS: Mapping[str, str] = {"alice": "123456", "bob": "654321"}
HERE = "198.51.100.7"


def credentials(name: str = "alice", password: str = "123456") -> AuthenticationData:
    """Return what proves a user."""
    proof = UsernamePassword(username=name.encode(), password=password.encode())
    return AuthenticationData(method=2, data=proof.encode())


class Placed(MemoryStream):
    """A stream that comes from somewhere, more or less well protected."""

    __slots__ = ("_protection", "_remote")

    def __init__(self, stream: ByteStream, remote: str, protection: Protection) -> None:
        assert isinstance(stream, MemoryStream)
        super().__init__(incoming=stream._incoming, outgoing=stream._outgoing)
        self._remote = Endpoint(remote, 4000)
        self._protection = protection

    @property
    @override
    def remote(self) -> Endpoint:
        return self._remote

    @property
    @override
    def protection(self) -> Protection:
        return self._protection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client got back, all of it."""

    raw: bytes
    authentication: AuthenticationReply | None
    operation: OperationReply | None
    summary: ConnectionEnded

    @property
    def succeeded(self) -> bool:
        """Whether the client was let in."""
        return self.authentication is not None and self.authentication.type == AuthenticationType.SUCCEEDED

    def find(self, kind: type[Option]) -> Option | None:
        """Return an option of the Authentication Reply."""
        return find(self.authentication.options, kind) if self.authentication else None


class Scene:
    """One worker; each `ask` is a client that sends one request and no more."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        users: Mapping[str, str] | None = USERS,
        outbound: ScriptedOutbound | None = None,
    ) -> None:
        self.log = Recorder()
        self.outbound = outbound or ScriptedOutbound()
        self.store = MemorySessionStore(settings.sessions if settings else None)
        self.worker = ServerWorker(
            authenticator=None if users is None else UserTable.from_plain(users),
            outbound=self.outbound,
            settings=settings or Settings(),
            observers=[self.log],
            sessions=self.store,
        )

    @classmethod
    def with_sessions(cls, *, users: Mapping[str, str] | None = USERS, **settings: bool | float) -> "Scene":
        """Return a scene with settings of sessions."""
        sessions = dataclasses.replace(SessionSettings(), **settings)  # type: ignore[arg-type]  # names are the test's
        return cls(settings=Settings(sessions=sessions), users=users)

    async def ask(
        self,
        *options: Option,
        command: int = Command.NOOP,
        source: str = HERE,
        protection: Protection = Protection.CLEAR,
        raw: bytes | None = None,
    ) -> Answer:
        """Return the answer to a request."""
        near, far = memory_stream_pair()
        request = Request(command=command, host="192.0.2.80", port=80, options=options)
        await near.send(request.encode() if raw is None else raw)
        await near.send_eof()
        await self.worker.serve_stream(Placed(far, source, protection))
        try:
            data = await receive_all(near)
        except ConnectionResetError:  # how a quiet proxy treats strangers
            data = b""
        dialect = GO_212 if data[:1] == b"\xd4" else DRAFT_12
        size = AuthenticationReply.size(data, dialect) if data else 0
        rest = data[size:]
        return Answer(
            raw=data,
            authentication=AuthenticationReply.decode(data[:size], dialect) if data else None,
            operation=OperationReply.decode(rest, dialect) if rest else None,
            summary=self.log.summaries[-1],
        )

    async def open(
        self,
        *options: Option,
        name: str = "alice",
        source: str = HERE,
        protection: Protection = Protection.CLEAR,
    ) -> SessionId:
        """Open a session and return its id."""
        answer = await self.ask(
            credentials(name, USERS[name]), SessionRequest(), *options, source=source, protection=protection
        )
        session_id = answer.find(SessionId)
        assert isinstance(session_id, SessionId)
        return session_id

    async def window(self, session_id: SessionId, size: int = 8) -> IdempotenceWindow:
        """Ask for a window in a session."""
        answer = await self.ask(session_id, IdempotenceRequest(size=size))
        window = answer.find(IdempotenceWindow)
        assert isinstance(window, IdempotenceWindow)
        return window

    async def connected(self, group: asyncio.TaskGroup, *options: Option) -> tuple[ByteStream, bytes]:
        """Return a client's end of a CONNECT that stands, and the replies to it."""
        near, far = memory_stream_pair()
        request = Request(command=Command.CONNECT, host="192.0.2.80", port=80, options=options)
        await near.send(request.encode())
        group.create_task(self.worker.serve_stream(Placed(far, HERE, Protection.CLEAR)))
        return near, await near.receive()
