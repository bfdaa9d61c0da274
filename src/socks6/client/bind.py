"""BIND as a client uses it: a port that listens at the proxy, and the streams of its peers (§ Handling BIND).

`open_listener` makes the request and returns the listener that suits the answer: `SinglePeerBind` makes one BIND for each peer,
`BacklogBind` keeps the port with one and fetches peers with others (§ Listen Backlog options), `PushBind` takes the streams that
the proxy opens for peers over QUIC.
"""

import asyncio
import contextlib
import errno
import itertools
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from functools import partial
from typing import Final, TypeAlias

from socks6.client.options import with_defaults
from socks6.client.requester import GrantedRequest, RequestFunction, failure_of, receive_reply
from socks6.client.stream import ProxiedStream
from socks6.compat import override
from socks6.errors import (
    ConnectionTimedOut,
    DecodeError,
    OperationFailed,
    ProxyUnreachable,
    RemoteProtocolError,
    Socks6Error,
)
from socks6.message.codes import Command, ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import ListenBacklog, Option, OptionTable, StackOption, StreamId, find, find_all
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.machine_io import next_event
from socks6.net.scopes import on_failure, time_limit
from socks6.net.sockets import probe_when_idle
from socks6.net.stream import ByteStream, Endpoint, MultiplexedConnection, Substream
from socks6.protocol.events import PeerConnected

BIND_RETRY_SECONDS: Final = (0.1, 5.0)  # between BINDs that come to nothing: at first, and at most
REBIND_PAUSES_SECONDS: Final = (0.05, 0.2, 0.8)  # for the proxy to free the port of the last peer
SHORT_BIND_SECONDS: Final = 1.0  # a BIND that the proxy ends sooner, without a peer, is not repeated at once
KEEPALIVE_SECONDS: Final = 30  # a proxy that is silently gone is missed after four times as long
PUSHED_REPLY_SECONDS: Final = 10.0  # for the reply that each pushed stream begins with
MAX_IN_FLIGHT: Final = 32  # accept-BINDs, and peers that wait for accept(), whatever the backlog
MAX_READY_PEERS: Final = 128  # pushed peers that wait for accept(), whatever the backlog; more are reset
MAX_FAILURES: Final = 5  # of accept-BINDs in a row, while none waits at the proxy: then the listener fails
DEFAULT_BACKLOG: Final = 100  # peers that may wait, as asyncio's default; the proxy may grant fewer
MAX_HANDSHAKES: Final = 100  # TLS handshakes under way; more peers wait at the proxy

ConnectedCallback: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
PeerHandler: TypeAlias = Callable[[ProxiedStream], Awaitable[None]]


class BindListener(ABC):
    """A port that listens at the proxy. An async context manager that closes it; see `Client.bind`.

    `bound` is the public address; `backlog` how many peers the proxy keeps waiting, 0 if it serves one BIND
    after the other; `options` are the stack options in force on the port.
    """

    def __init__(self, granted: GrantedRequest) -> None:
        self.bound = Endpoint(granted.reply.host, granted.reply.port)
        self.options = tuple(find_all(granted.reply.options, StackOption))
        self.backlog = 0
        self._closed = False
        self._ready: deque[ProxiedStream] = deque()

    async def accept(self, *, timeout: float | None = None) -> ProxiedStream:
        """Return the stream of a peer that has connected; its `peer` says which one.

        Raises ConnectionTimedOut after `timeout` seconds; None, the default, is no limit: where the proxy limits how
        long a BIND waits, the next one is made. Cancelling loses no peer. Raises OperationFailed;
        ProxyUnreachable when the proxy has ended the port; OSError when the listener was closed.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._accept()
        except Socks6Error:
            self._check_open()
            raise
        except TimeoutError as error:
            raise ConnectionTimedOut(f"no peer connected within {timeout} s") from error

    @abstractmethod
    async def aclose(self) -> None:
        """Close the port; accepted streams stay open. Idempotent."""

    async def __aenter__(self) -> "BindListener":
        """Return the listener."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    @abstractmethod
    async def _accept(self) -> ProxiedStream: ...

    def _connected(self, granted: GrantedRequest, reply: OperationReply) -> ProxiedStream:
        """Return the stream behind a second reply; options that it does not name are as in the first reply."""
        named = tuple(find_all(reply.options, StackOption))
        first = tuple(option for option in self.options if not isinstance(option, ListenBacklog))
        options = tuple(find_all(with_defaults(named, first), StackOption))
        peer = Endpoint(reply.host, reply.port)
        return ProxiedStream(granted.stream, self.bound, options, peer=peer, lease=granted.lease)

    def _abort_ready(self) -> None:
        while self._ready:
            self._ready.popleft().abort()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the listener was closed")


class SinglePeerBind(BindListener):
    """One BIND for each peer, the next one at the same port where the proxy lets it.

    `host` is the requested host: the address in a reply may be one that the proxy cannot bind. `eager` makes the
    next BIND as soon as there is a peer, so that the port is hardly ever closed; else `accept` makes it.
    """

    def __init__(
        self,
        make_request: RequestFunction,
        granted: GrantedRequest,
        host: str,
        options: tuple[Option, ...],
        *,
        eager: bool,
    ) -> None:
        super().__init__(granted)
        self._make_request = make_request
        self._host = host
        self._request_options = options
        self._eager = eager
        self._waiting: GrantedRequest | None = granted  # the BIND whose peer is yet to come
        self._turn = asyncio.Lock()  # one caller reads, so that `_ready` holds at most one peer
        self._closing = asyncio.Event()
        self._asked_at = asyncio.get_running_loop().time()
        self._short_binds = 0  # in a row
        self._next_bind_at = 0.0  # not before

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._closing.set()
        self._abort_ready()
        self._drop_waiting()

    @override
    async def _accept(self) -> ProxiedStream:
        async with self._turn:
            if not self._ready:
                while not self._ready:
                    await self._await_peer(self._waiting or await self._bind_again())
                if self._eager:
                    await self._bind_ahead()
            self._check_open()
            return self._ready.popleft()

    async def _await_peer(self, granted: GrantedRequest) -> None:
        """Append a peer to `_ready`; on the proxy's time limit, drop the BIND and pace the next one."""
        try:
            reply = await receive_reply(granted.conversation, granted.stream, PeerConnected)
        except ConnectionTimedOut:
            self._drop_waiting()
            now = asyncio.get_running_loop().time()
            self._short_binds = self._short_binds + 1 if now - self._asked_at < SHORT_BIND_SECONDS else 0
            self._next_bind_at = now + retry_pause(self._short_binds) if self._short_binds else now
        except Socks6Error:
            self._drop_waiting()
            raise
        else:
            self._short_binds = 0
            self._waiting = None
            self._ready.append(self._connected(granted, reply))

    async def _bind_ahead(self) -> None:
        try:
            await self._bind_once()
        except Socks6Error as error:  # the next `accept` tries again, and raises
            logging.getLogger("socks6").debug("no further BIND yet reason=%r", str(error))

    async def _bind_again(self) -> GrantedRequest:
        """Bind the same port once more; repeat where it is not free yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_bind_at):
                await self._closing.wait()
        for pause in REBIND_PAUSES_SECONDS:
            try:
                return await self._bind_once()
            except OperationFailed:
                await asyncio.sleep(pause)
        return await self._bind_once()

    async def _bind_once(self) -> GrantedRequest:
        self._check_open()
        request = Request(
            command=Command.BIND, host=self._host, port=self.bound.port, options=self._request_options
        )
        self._waiting = granted = await self._make_request(request)
        self._asked_at = asyncio.get_running_loop().time()
        if self._closed:
            self._drop_waiting()
        self._check_open()
        bound = Endpoint(granted.reply.host, granted.reply.port)
        if bound != self.bound:
            logging.getLogger("socks6").warning("the proxy listens elsewhere now bound=%s port=%d", *bound)
            self.bound = bound
        return granted

    def _drop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.abort()


class _HeldPort(BindListener):
    """A port that is kept by the stream of its first BIND, which is watched: when that ends, so does the port."""

    def __init__(self, first: GrantedRequest, backlog: int) -> None:
        super().__init__(first)
        self.backlog = backlog
        self._first = first
        self._changed = asyncio.Event()  # a peer is ready, or the listener is over
        self._announced = asyncio.Event()  # the proxy announces a peer (dialect 212)
        self._failure: Exception | None = None
        self._running = asyncio.create_task(self._run(), name="socks6 held port")  # until `aclose`

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._first.abort()
        self._running.cancel()
        self._changed.set()
        try:
            await asyncio.wait([self._running])
        finally:
            self._abort_ready()

    def fail(self, error: Exception) -> None:
        """Make `accept` raise this once no peer is ready any more. The first error counts."""
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

    async def _run(self) -> None:
        """Follow the first stream to its end, which ends the port."""
        try:
            while isinstance(
                event := await next_event(self._first.conversation, self._first.stream, exact=True),
                PeerConnected,
            ):
                if event.reply.code != ReplyCode.SUCCEEDED:
                    self.fail(failure_of(event.reply))
                    return
                self._announced.set()
            reason = getattr(event, "reason", "its stream is over")
            self.fail(ProxyUnreachable(f"the proxy has ended the port: {reason}"))
        except OSError as error:
            self.fail(ProxyUnreachable(f"the stream that keeps the port broke: {error}"))


class BacklogBind(_HeldPort):
    """Keeps accept-BINDs waiting at the proxy, as many as the backlog allows (§ Listen Backlog options).

    The proxy may announce each peer on the first stream too (dialect 212); each arrives on an accept-BIND anyway.
    `at_a_time` bounds the accept-BINDs for a proxy that takes fewer than the backlog.
    """

    def __init__(
        self,
        make_request: RequestFunction,
        granted: GrantedRequest,
        options: tuple[Option, ...],
        backlog: int,
        *,
        at_a_time: int | None = None,
    ) -> None:
        super().__init__(granted, backlog)
        self._make_request = make_request
        # the bind address and port supplied by the proxy in the initial Operation Reply
        self._accept_bind = Request(
            command=Command.BIND, host=self.bound.host, port=self.bound.port, options=options
        )
        if granted.stream.raw_socket is not None:
            probe_when_idle(granted.stream.raw_socket, KEEPALIVE_SECONDS)
        self._in_flight = min(backlog, at_a_time or MAX_IN_FLIGHT, MAX_IN_FLIGHT)
        self._room = asyncio.Semaphore(self._in_flight)
        self._waiting = 0  # accept-BINDs that the proxy has granted

    @override
    async def _accept(self) -> ProxiedStream:
        stream = await super()._accept()
        self._room.release()
        return stream

    @override
    async def _run(self) -> None:
        """Fetch peers until the first stream ends, the accept-BINDs fail, or the listener is closed."""
        try:
            async with asyncio.TaskGroup() as group:
                work = [super()._run(), *(self._fetch_peers() for _ in range(self._in_flight))]
                tasks = [group.create_task(job, name="socks6 accept") for job in work]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        finally:
            self.fail(ProxyUnreachable("the port was given up"))
            self._first.abort()

    async def _fetch_peers(self) -> None:
        """Make one accept-BIND after the other; return after too many failures in a row."""
        failures, reason = 0, Socks6Error()
        short_binds = 0  # in a row, without a peer
        now = asyncio.get_running_loop().time
        while failures < MAX_FAILURES or self._waiting:
            await self._room.acquire()
            stream = None
            asked_at = now()
            try:
                stream = await self._fetch_peer()
            except Socks6Error as error:
                failures, reason = failures + 1, error
            else:
                failures = 0
                short_binds = (
                    short_binds + 1 if stream is None and now() - asked_at < SHORT_BIND_SECONDS else 0
                )
            if stream is None:
                self._room.release()
            else:
                self._ready.append(stream)
                self._changed.set()
            if failures or short_binds:
                await self._pause(failures + short_binds)
        self.fail(reason)

    async def _fetch_peer(self) -> ProxiedStream | None:
        """Return a peer's stream; None when the proxy's time limit for the accept-BIND has passed."""
        granted = await self._make_request(self._accept_bind, within=self._first)
        self._waiting += 1
        try:
            with on_failure(granted.abort):
                reply = await receive_reply(granted.conversation, granted.stream, PeerConnected)
        except ConnectionTimedOut:
            return None
        finally:
            self._waiting -= 1
        return self._connected(granted, reply)

    async def _pause(self, attempts: int) -> None:
        """Wait before asking again; less if a peer is announced meanwhile."""
        self._announced.clear()
        async with time_limit(retry_pause(attempts)):
            await self._announced.wait()


class PushBind(_HeldPort):
    """Takes the streams that the proxy opens for peers (the QUIC extension of the older Go implementation, "option 2")."""

    def __init__(
        self, granted: GrantedRequest, backlog: int, stop_routing: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(granted, backlog)
        self._stop_routing = stop_routing

    @override
    async def aclose(self) -> None:
        self._closed = True
        try:
            await self._stop_routing()
        finally:
            await super().aclose()

    def add_peer(self, stream: ByteStream, reply: OperationReply) -> None:
        """Keep a peer for `accept`; abort it where the backlog is full."""
        if self._closed or len(self._ready) >= min(self.backlog, MAX_READY_PEERS):
            stream.abort()
            return
        granted = GrantedRequest(begun=self._first.conversation, stream=stream, reply=reply)
        self._ready.append(self._connected(granted, reply))
        self._changed.set()


class PushedStreamRouter:
    """Routes the streams that a proxy opens to their `PushBind`: by connection, and by StreamId."""

    def __init__(self, dialect: Dialect, option_table: OptionTable, *, numbered: bool) -> None:
        """`numbered`: every BIND carries a StreamId; else none does."""
        self._dialect = dialect
        self._option_table = option_table
        self._numbers: Iterator[int] | None = itertools.count(1) if numbered else None
        self._listeners: dict[MultiplexedConnection, dict[int | None, PushBind]] = {}
        self._accepting: dict[MultiplexedConnection, asyncio.Task[None]] = {}  # until `_remove`

    def next_id(self) -> tuple[StreamId, ...]:
        """Return the option for the next BIND; () where BINDs are not numbered."""
        return () if self._numbers is None else (StreamId(id=next(self._numbers) & 0xFFFFFFFF),)

    def open(self, granted: GrantedRequest, connection: MultiplexedConnection, backlog: int) -> PushBind:
        """Return the listener for a BIND that was granted on a connection."""
        stream_id = _stream_id_of(granted.reply)
        listener = PushBind(granted, backlog, partial(self._remove, connection, stream_id))
        self._listeners.setdefault(connection, {})[stream_id] = listener
        connection.allow_peer_streams(True)
        if connection not in self._accepting:
            accepting = asyncio.create_task(self._accept(connection), name="socks6 pushed streams")
            self._accepting[connection] = accepting
        return listener

    async def _remove(self, connection: MultiplexedConnection, stream_id: int | None) -> None:
        """Reset streams with this id from now on. Idempotent."""
        listeners = self._listeners.get(connection, {})
        listeners.pop(stream_id, None)
        accepting = None if listeners else self._accepting.pop(connection, None)
        if accepting is not None:
            self._listeners.pop(connection, None)
            connection.allow_peer_streams(False)  # resets streams that nothing has accepted
            accepting.cancel()
            await asyncio.wait([accepting])

    async def _accept(self, connection: MultiplexedConnection) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    stream = await connection.accept()
                    group.create_task(self._route(connection, stream), name="socks6 pushed stream")
        except* OSError as errors:
            for listener in self._listeners.pop(connection, {}).values():
                listener.fail(ProxyUnreachable(f"the connection to the proxy broke: {errors.exceptions[0]}"))

    async def _route(self, connection: MultiplexedConnection, stream: ByteStream) -> None:
        """Give a stream to its listener, by the reply that it begins with."""
        try:
            with on_failure(stream.abort):
                async with asyncio.timeout(PUSHED_REPLY_SECONDS):
                    reply = await _read_reply(stream, self._dialect, self._option_table)
        except (OSError, DecodeError, RemoteProtocolError):  # TimeoutError is one
            return
        listener = self._listeners.get(connection, {}).get(_stream_id_of(reply))
        if listener is None or reply.code != ReplyCode.SUCCEEDED:
            stream.abort()
        else:
            listener.add_peer(stream, reply)


class BindServer(asyncio.AbstractServer):
    """Serves the peers of a `BindListener`, from its creation until it is closed.

    Used as an `asyncio.Server`: `close` it, wait for it, or enter it as an async context manager. It has no
    `sockets`, which are at the proxy; peers reach it at `bound`. Connections that are being served stay open.
    """

    sockets: tuple[()] = ()

    def __init__(self, listener: BindListener, serve: PeerHandler) -> None:
        self._listener = listener
        self._serve = serve
        self._room = asyncio.Semaphore(MAX_HANDSHAKES)
        self._failure: Exception | None = None
        self._running = asyncio.create_task(self._run(), name="socks6 reverse server")  # until `wait_closed`

    @property
    def bound(self) -> Endpoint:
        """Where peers connect to."""
        return self._listener.bound

    @property
    def backlog(self) -> int:
        """How many peers may wait at the proxy; 0 if it accepts one at a time."""
        return self._listener.backlog

    @property
    def options(self) -> tuple[StackOption, ...]:
        """The stack options in force on the port."""
        return self._listener.options

    @override
    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that it runs on."""
        return self._running.get_loop()

    @override
    async def start_serving(self) -> None:
        """Do nothing: it serves from the start."""

    @override
    def is_serving(self) -> bool:
        """Return whether peers are accepted."""
        return not (self._running.done() or self._running.cancelling())

    @override
    def close(self) -> None:
        """Stop accepting peers. Idempotent."""
        self._running.cancel()

    @override
    async def wait_closed(self) -> None:
        """Wait until no peer is accepted any more and the port at the proxy is closed."""
        await asyncio.wait([self._running])
        await self._listener.aclose()  # again, if it was closed before it began to run

    @override
    async def serve_forever(self) -> None:
        """Serve until it is closed; when cancelled, close. Raises OperationFailed, ProxyUnreachable if the port ended."""
        try:
            await self.wait_closed()
        finally:
            self.close()
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        async with self._listener, asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._room.acquire()
                    stream = await self._listener.accept()
                    group.create_task(self._hand_over(stream), name="socks6 reverse peer")
            except Socks6Error as error:
                self._failure = error
                logging.getLogger("socks6").warning(
                    "server at the proxy ended bound=%s port=%d reason=%r", *self.bound, str(error)
                )

    async def _hand_over(self, stream: ProxiedStream) -> None:
        try:
            with on_failure(stream.abort):
                await self._serve(stream)
        except (Socks6Error, OSError) as error:  # this peer alone is gone, or speaks no TLS
            logging.getLogger("socks6").debug("peer lost peer=%s port=%d reason=%r", *stream.peer, str(error))
        finally:
            self._room.release()


async def open_listener(
    make_request: RequestFunction,
    endpoint: Endpoint,
    options: tuple[Option, ...],
    backlog: int,
    *,
    eager: bool,
    push_router: PushedStreamRouter | None,
    dialect: Dialect = DRAFT_12,
) -> BindListener:
    """Open a port at the proxy; return the listener that suits its answer. Raises Socks6Error.

    `push_router` routes the streams that the proxy opens for peers; None where it can open none.
    """
    numbered = push_router.next_id() if push_router else ()
    wanted = (*options, ListenBacklog(backlog=backlog), *numbered) if backlog else options
    request = Request(command=Command.BIND, host=endpoint.host, port=endpoint.port, options=wanted)
    # § Listen Backlog options: provided that the request is part of a session
    granted = await make_request(request, needs_session=backlog > 0 and dialect.backlog_needs_session)
    answer = find(granted.reply.options, ListenBacklog)
    substream = granted.stream.attribute(Substream)
    if backlog and answer is not None and answer.backlog:
        if push_router is not None and substream is not None:
            return push_router.open(granted, substream.connection, answer.backlog)
        return BacklogBind(make_request, granted, options, answer.backlog, at_a_time=dialect.accept_binds)
    listener = SinglePeerBind(make_request, granted, endpoint.host, options, eager=eager and backlog > 0)
    if backlog:
        logging.getLogger("socks6").warning(
            "the proxy keeps no backlog bound=%s port=%d asked=%d: it takes one peer after the other,"
            " and refuses those that come in between; a socks6 server without users keeps one with"
            " bind.backlog-without-session or sessions.anonymous",
            *listener.bound,
            backlog,
        )
    return listener


def retry_pause(attempts: int) -> float:
    """Return the seconds to wait after this many BINDs failed in a row."""
    shortest, longest = BIND_RETRY_SECONDS
    return min(shortest * 2.0 ** min(attempts - 1, 16), longest)


def _stream_id_of(reply: OperationReply) -> int | None:
    option = find(reply.options, StreamId)
    return None if option is None else option.id


async def _read_reply(stream: ByteStream, dialect: Dialect, table: OptionTable) -> OperationReply:
    """Read one reply, and nothing beyond it. Raises DecodeError, RemoteProtocolError, OSError."""
    data = b""
    while (missing := OperationReply.size(data, dialect) - len(data)) > 0:
        more = await stream.receive(missing)
        if not more:
            raise RemoteProtocolError("a pushed stream ended within its reply")
        data += more
    return OperationReply.decode(data, dialect, table)
