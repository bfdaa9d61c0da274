"""A proxy in memory that keeps sessions, or forgets and refuses them, as a test tells it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from socks6.client.client import Client
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import (
    AuthenticationData,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import listen_tcp
from socks6.protocol.methods.base import ClientMethod
from socks6.protocol.tokens import TokenWindow
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_exactly

BASE = 0xFFFFFFF0  # where windows begin: they cross the end of the numbers


@dataclass(kw_only=True)
class SessionProxy:
    """What it does, and what it has seen."""

    grants: bool = True  # sessions
    window: int = 16  # tokens; 0 for none
    late_id: bool = False  # the id stands in the Operation Reply only
    knows_sessions: bool = True  # without: options about them are passed over
    code: int = ReplyCode.SUCCEEDED
    rejects: int = 0  # so many tokens are rejected, whatever they are
    invalidates: int = 0  # so many requests are told that their session is invalid, whatever it is
    crowd: int = 0  # nothing is answered before so many have asked

    sessions: dict[bytes, TokenWindow | None] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    ran: list[Request] = field(default_factory=list)
    ends: list[ByteStream] = field(default_factory=list)  # of granted connections
    streams: list[ByteStream] = field(default_factory=list)  # all that came
    torn_down: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._crowded = asyncio.Event()

    def passwords(self) -> list[bool]:
        """Return for each request whether it carried credentials."""
        return [find(request.options, AuthenticationData) is not None for request in self.asked]

    def kinds(self, at: int = -1) -> set[type[Option]]:
        """Return what options a request carried."""
        return {type(option) for option in self.asked[at].options}

    def tokens(self) -> list[int]:
        """Return the tokens in all requests."""
        found = (find(request.options, IdempotenceExpenditure) for request in self.asked)
        return [option.token for option in found if option is not None]

    async def serve(self, stream: ByteStream) -> None:
        """Answer one request, and keep its stream."""
        self.streams.append(stream)
        try:
            request = await _receive_request(stream)
            self.asked.append(request)
            await self.turn()
            options = self._judge(request)
            refused = any(isinstance(option, SessionInvalid | IdempotenceRejected) for option in options)
            credentials = find(request.options, AuthenticationData)
            refused = refused or not (credentials or find(options, SessionOk))
            told = tuple(option for option in options if not (self.late_id and isinstance(option, SessionId)))
            await stream.send(AuthenticationReply(type=int(refused), options=told).encode())
            if not refused:
                self.ran.append(request)
                self.ends.append(stream)
                late = tuple(option for option in options if option not in told)
                await stream.send(OperationReply(code=self.code, options=late).encode())
            else:
                await stream.send_eof()
        except OSError:
            stream.abort()

    async def turn(self) -> None:
        """Wait until the request that has come is answered."""
        if len(self.asked) >= self.crowd:
            self._crowded.set()
        await self._crowded.wait()

    def _judge(self, request: Request) -> tuple[Option, ...]:
        if not self.knows_sessions:
            return ()
        claimed = find(request.options, SessionId)
        if claimed is None:
            return self._open(request) if find(request.options, SessionRequest) and self.grants else ()
        if claimed.id not in self.sessions or self.invalidates:
            self.invalidates = max(0, self.invalidates - 1)
            return (SessionInvalid(),)
        if find(request.options, SessionTeardown):
            self.torn_down.append(claimed.id)
            del self.sessions[claimed.id]
            return ()
        return SessionOk(), *self._within(claimed.id, request)

    def _open(self, request: Request) -> tuple[Option, ...]:
        option = SessionId(id=next(self._numbers).to_bytes(16, "big"))
        self.sessions[option.id] = None
        return option, *self._within(option.id, request)

    def _within(self, session: bytes, request: Request) -> tuple[Option, ...]:
        window = self.sessions[session]
        if window is None and self.window and find(request.options, IdempotenceRequest):
            window = self.sessions[session] = TokenWindow(BASE, self.window)
        spent = find(request.options, IdempotenceExpenditure)
        if spent is None:
            return () if window is None else (window.option(),)
        if self.rejects or window is None or not window.spend(spent.token):
            self.rejects = max(0, self.rejects - 1)
            return *(() if window is None else (window.option(),)), IdempotenceRejected()
        return window.option(), IdempotenceAccepted()


@asynccontextmanager
async def in_sessions(
    proxy: SessionProxy,
    *,
    session: bool | None = None,
    fast_open: bool = False,
    methods: Sequence[Callable[[], ClientMethod]] = (),
) -> AsyncIterator[Client]:
    """Give a client of the proxy that has a password."""
    async with asyncio.TaskGroup() as group:

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            group.create_task(proxy.serve(theirs))
            return ours

        url = "socks6://alice:secret@memory"
        async with Client(
            url, dial=dial, methods=methods, session=session, fast_open=fast_open, timeout=5.0
        ) as client:
            yield client


async def _receive_request(stream: ByteStream) -> Request:
    data = b""
    while len(data) < (size := Request.size(data)):
        piece = await receive_exactly(stream, size - len(data))
        if not piece:
            raise ConnectionAbortedError("no request")
        data += piece
    request = Request.decode(data)
    assert request.command in (Command.NOOP, Command.CONNECT)
    return request


@asynccontextmanager
async def fast_opening(proxy: SessionProxy) -> AsyncIterator[Client]:
    """Give a client that puts into SYNs what it may, over loopback, whether or not the kernel does so."""
    (listener,) = await listen_tcp("127.0.0.1", 0)

    async def accept() -> None:
        while True:
            await listener.wait_readable()
            while (stream := listener.accept_nowait()) is not None:
                group.create_task(proxy.serve(stream))

    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(accept())
        url = f"socks6://alice:secret@127.0.0.1:{listener.local.port}"
        async with Client(url, fast_open=True, timeout=5.0) as client:
            yield client
        accepting.cancel()
        await listener.aclose()
        for stream in proxy.streams:
            stream.abort()
