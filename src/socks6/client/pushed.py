"""BIND with a backlog over QUIC: the proxy opens a stream for each peer (the QUIC extension of the older Go implementation, "option 2")."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from typing import Final

from typing_extensions import override

from socks6.client.listener import BindListener
from socks6.client.request import failure_of
from socks6.client.requester import GrantedRequest
from socks6.client.stream import ProxiedStream
from socks6.errors import DecodeError, ProxyUnreachable, RemoteProtocolError
from socks6.message.codes import ReplyCode
from socks6.message.dialect import Dialect
from socks6.message.options import OptionTable, StreamId, find
from socks6.message.replies import OperationReply
from socks6.net.machine_io import next_event
from socks6.net.stream import ByteStream, MultiplexedConnection
from socks6.protocol.events import PeerConnected

PUSHED_REPLY_SECONDS: Final = 10.0  # what the reply gets that each pushed stream begins with
MAX_READY_PEERS: Final = 128  # peers that wait for accept(), whatever the backlog; more are reset


class PushedStreamRouter:
    """Gives the streams that a proxy opens to whom they are for: by connection, and by StreamID."""

    def __init__(self, dialect: Dialect, option_table: OptionTable, *, numbered: bool) -> None:
        """`numbered` has each BIND carry a StreamID: always, else never."""
        self._dialect = dialect
        self._option_table = option_table
        self._numbers: Iterator[int] | None = itertools.count(1) if numbered else None
        self._routers: dict[MultiplexedConnection, _ConnectionStreams] = {}

    @property
    def numbered(self) -> bool:
        """Whether BINDs carry a StreamID."""
        return self._numbers is not None

    def new_id(self) -> tuple[StreamId, ...]:
        """Return the option for one BIND more; () where they have none."""
        return () if self._numbers is None else (StreamId(id=next(self._numbers) & 0xFFFFFFFF),)

    def open(self, granted: GrantedRequest, connection: MultiplexedConnection, backlog: int) -> "PushBind":
        """Return the listener whose first BIND was granted."""
        router = self._routers.get(connection)
        if router is None:
            router = _ConnectionStreams(
                connection, self._dialect, self._option_table, lambda: self._routers.pop(connection, None)
            )
            self._routers[connection] = router
        told = find(granted.reply.options, StreamId)
        return PushBind(granted, router, None if told is None else told.id, backlog)


class _ConnectionStreams:
    """The streams that a proxy opens in one connection."""

    def __init__(
        self,
        connection: MultiplexedConnection,
        dialect: Dialect,
        option_table: OptionTable,
        on_end: Callable[[], object],
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._option_table = option_table
        self._on_end = on_end
        self._listeners: dict[int | None, PushBind] = {}
        self._running: asyncio.Task[None] | None = None

    def add(self, number: int | None, listener: "PushBind") -> None:
        """Have streams with this id, None for without one, go to `listener`."""
        self._listeners[number] = listener
        self._connection.allow_peer_streams(True)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="socks6 pushed streams")  # until `remove`

    async def remove(self, number: int | None) -> None:
        """Have them be reset. Idempotent."""
        self._listeners.pop(number, None)
        if not self._listeners and self._running is not None:
            running, self._running = self._running, None
            self._on_end()
            self._connection.allow_peer_streams(
                False
            )  # peers that the proxy has just pushed are told that nobody is here
            running.cancel()
            await asyncio.wait([running])

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    stream = await self._connection.accept()
                    group.create_task(self._sort(stream), name="socks6 pushed stream")
        except* OSError as errors:
            self._on_end()
            for listener in self._listeners.values():
                listener.fail(ProxyUnreachable(f"the connection to the proxy broke: {errors.exceptions[0]}"))

    async def _sort(self, stream: ByteStream) -> None:
        """Find out whom a stream is for."""
        try:
            async with asyncio.timeout(PUSHED_REPLY_SECONDS):
                reply = await _read_reply(stream, self._dialect, self._option_table)
        except (OSError, DecodeError, RemoteProtocolError):  # TimeoutError is one
            stream.abort()
            return
        except BaseException:
            stream.abort()
            raise
        told = find(reply.options, StreamId)
        listener = self._listeners.get(None if told is None else told.id)
        if listener is None or reply.code != ReplyCode.SUCCEEDED:
            stream.abort()
        else:
            listener.take(stream, reply)


class PushBind(BindListener):
    """Takes peers as they come. The stream of the BIND stays open and is watched: when it ends, so does the port."""

    def __init__(
        self, granted: GrantedRequest, router: _ConnectionStreams, number: int | None, backlog: int
    ) -> None:
        super().__init__(granted)
        self.backlog = backlog
        self._first = granted
        self._router = router
        self._number = number
        self._ready: deque[ProxiedStream] = deque()
        self._changed = asyncio.Event()  # somebody is ready, or all is over
        self._failure: Exception | None = None
        router.add(number, self)
        self._watching = asyncio.create_task(self._watch(), name="socks6 first BIND")  # until `aclose`

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._first.abort()
        self._watching.cancel()
        self._changed.set()
        try:
            await self._router.remove(self._number)
            await asyncio.wait([self._watching])
        finally:
            while self._ready:
                self._ready.popleft().abort()

    def take(self, stream: ByteStream, reply: OperationReply) -> None:
        """Have a peer wait for `accept`; one too many is reset, as a full backlog does."""
        if self._closed or len(self._ready) >= min(self.backlog, MAX_READY_PEERS):
            stream.abort()
            return
        granted = GrantedRequest(
            conversation=self._first.conversation,
            stream=stream,
            authentication=self._first.authentication,
            reply=reply,
        )
        self._ready.append(self._connected(granted, reply))
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """Have `accept` raise from now on, once those who are ready are gone. The first reason counts."""
        self._failure = self._failure or error
        self._changed.set()

    @override
    async def _accept(self) -> ProxiedStream:
        while not self._ready:
            self._check_open()
            if self._failure is not None:
                raise copy(self._failure) from self._failure
            self._changed.clear()
            await self._changed.wait()
        return self._ready.popleft()

    async def _watch(self) -> None:
        """Follow the first stream to its end, and keep the reason."""
        try:
            while isinstance(
                event := await next_event(self._first.conversation, self._first.stream, exact=True),
                PeerConnected,
            ):
                if event.reply.code != ReplyCode.SUCCEEDED:
                    self.fail(failure_of(event.reply))
                    return
            reason = getattr(event, "reason", "its stream is over")
            self.fail(ProxyUnreachable(f"the proxy has ended the port: {reason}"))
        except OSError as error:
            self.fail(ProxyUnreachable(f"the stream that keeps the port broke: {error}"))


async def _read_reply(stream: ByteStream, dialect: Dialect, table: OptionTable) -> OperationReply:
    """Read one reply, and nothing beyond it. Raises DecodeError, OSError."""
    data = b""
    while (missing := OperationReply.size(data, dialect) - len(data)) > 0:
        more = await stream.receive(missing)
        if not more:
            raise RemoteProtocolError("a pushed stream ended within its reply")
        data += more
    return OperationReply.decode(data, dialect, table)
