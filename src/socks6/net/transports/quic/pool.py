"""A client's QUIC connections to its proxy: each request is a stream of one that is there, if one suits."""

import asyncio
import errno
from collections.abc import Awaitable, Sequence
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ProxyUnreachable, TlsFailed
from socks6.message.codes import Command, Leg
from socks6.net.dial import interleaved, reach_known_or_fresh
from socks6.net.resolve import ResolvedAddress
from socks6.net.scopes import on_failure, time_limit, waiting_for
from socks6.net.stackopts.table import apply_options
from socks6.net.stream import ByteStream, Endpoint, SocketAddress
from socks6.net.transports.base import AnswerT, Connector, ConnectParameters, NotAnswered, StreamRequest
from socks6.net.transports.quic.client import NETWORK_CHANGED, QuicConnector
from socks6.net.transports.quic.connection import QuicConnection, QuicStream
from socks6.net.transports.quic.engine import load_backend, read_own
from socks6.net.transports.quic.libraries import DEFAULT

ADDRESS_ATTEMPT_SECONDS: Final = 2.0  # what each address of the proxy gets, but the last one
CLOSE_SECONDS: Final = 0.5  # what was sent last gets to arrive before a client is gone
MAX_CONNECTIONS_PER_COMMAND: Final = 64  # for one command; then requests go by one that is blocked, too
RECENTLY_HEARD_SECONDS: Final = 1.0  # after something was heard: the proxy is taken to be there still
NETWORK_CHANGE_ATTEMPTS: Final = 3  # at a connection whose network changes while it begins
UNUSED_SECONDS: Final = 20.0  # without a stream: the proxy may have ended such a connection by now
UNANSWERED: Final = "the proxy does not answer any more"
SILENT: Final = "nothing answers QUIC at UDP port {port}: a firewall, or a listener without QUIC"
CLOSED: Final = "{words} (UDP port {port} is closed: there is no QUIC)"
FALLBACK: Final = "; socks6+auto:// falls back to TLS"


@dataclass(slots=True)
class _PooledConnection:
    """A connection, and what it is for."""

    connection: QuicConnection
    loop: asyncio.AbstractEventLoop
    command: int | None = None  # one for each connection, NOOP apart (the QUIC extension); None: none so far


class QuicConnectionPool(Connector):
    """Makes streams to one proxy. A connection that is over, or stuck, is replaced when it is needed."""

    def __init__(self, proxy: ConnectParameters) -> None:
        """Read the files that the parameters name. Raises ConfigurationError."""
        self._proxy = proxy
        self._connector = QuicConnector(
            proxy.host, proxy.tls, load_backend(proxy.quic_backend or DEFAULT), identity=read_own(proxy.tls)
        )
        self._pool: list[_PooledConnection] = []

    @override
    async def open(self, ask: StreamRequest) -> QuicStream:
        """Return a new stream. Raises TlsFailed, CertificateRefused, OSError."""
        self._pool = [
            pooled for pooled in self._pool if pooled.connection.over is None and not pooled.loop.is_closed()
        ]
        for pooled in () if ask.new_connection else self._candidates(ask.command):
            stream = await self._stream_of(pooled, ask)
            if stream is not None:
                await _begin(stream, ask)
                return stream
        return await self._dial(ask)

    @override
    async def first_answer(self, stream: ByteStream, answer: Awaitable[AnswerT]) -> AnswerT:
        """See `Connector.first_answer`: the proxy has ended the connection, started anew perhaps, or answers no probes."""
        quic = stream.attribute(QuicStream)
        if quic is None:
            return await answer
        connection = quic.connection
        doubted = False

        def doubt() -> None:
            nonlocal doubted
            if not (quic.heard or doubted):
                doubted = True
                quic.failed(ConnectionAbortedError(errno.ECONNABORTED, UNANSWERED))

        try:
            with connection.watched(doubt):
                return await answer
        except ProxyUnreachable as error:
            if doubted:
                raise NotAnswered(UNANSWERED) from error
            if quic.heard or connection.over is None or connection.ended_here:
                raise
            raise NotAnswered(str(error)) from error

    @override
    def close(self) -> None:
        """Close unused connections, and the others when their last stream ends. Idempotent."""
        for connection in self._given_up():
            connection.close_when_unused()

    @override
    async def aclose(self) -> None:
        """As `close`; unused connections are closed, and the proxy notified, on return. Idempotent.

        Cancelling cuts short nothing but the waiting.
        """
        connections = self._given_up()
        try:
            async with asyncio.TaskGroup() as group:
                for connection in connections:
                    connection.close_when_unused()
                    if connection.unused:
                        group.create_task(_leave(connection), name="socks6 leaving")
        finally:
            for connection in connections:  # also where a task had no time to begin
                connection.abandon()

    @override
    def abandon(self) -> None:
        """As `aclose`, without waiting: what is on its way has a moment to arrive. Idempotent."""
        for connection in self._given_up():
            connection.abandon()

    @override
    def loses_packets(self) -> bool:
        return any(pooled.connection.loses_packets() for pooled in self._pool)

    def _given_up(self) -> list[QuicConnection]:
        """Return the connections of this loop, and keep none."""
        pool, self._pool = self._pool, []
        return [pooled.connection for pooled in pool if pooled.loop is _loop()]

    def _candidates(self, command: int) -> list[_PooledConnection]:
        """Return the connections that a request may go by, the best first.

        Many streams that wait for credit mean as many connections: beyond a limit requests share these.
        """
        here = [
            pooled
            for pooled in self._pool
            if pooled.loop is _loop() and _suits(pooled, command) and not pooled.connection.is_leaving
        ]
        usable = [pooled for pooled in here if pooled.connection.usable]
        if usable or len(here) < MAX_CONNECTIONS_PER_COMMAND:
            if len(usable) > 1:  # one that still shakes hands may never have done so
                usable.sort(key=lambda pooled: pooled.connection.handshake is None)
            return usable
        answering = (pooled for pooled in here if pooled.connection.answers)
        return sorted(answering, key=lambda pooled: pooled.connection.streams)

    async def _stream_of(self, pooled: _PooledConnection, ask: StreamRequest) -> QuicStream | None:
        """Return a stream of a connection that is there; None if it does not suit."""
        command = ask.command
        connection = pooled.connection
        if connection.over is not None or not _suits(pooled, command):  # others had their turn meanwhile
            return None
        if connection.unused and _loop().time() - connection.last_used > UNUSED_SECONDS:
            connection.close()
            return None
        before = pooled.command
        if command != Command.NOOP:
            pooled.command = command
        if command == Command.BIND:
            connection.allow_peer_streams(True)  # the first may come before the reply has been read
        try:
            await self._connector.ready(connection)
            stream = connection.open_nowait() if await _is_there(connection, ask) else None
        except TlsFailed:
            raise
        except OSError:
            stream = None
        if stream is None and before is None:
            pooled.command = before
        return stream

    async def _dial(self, ask: StreamRequest) -> QuicStream:
        """Return the first stream of a new connection."""
        port = self._proxy.port
        try:
            with waiting_for(f"{SILENT.format(port=port)}{FALLBACK}"):
                return await reach_known_or_fresh(
                    self._proxy.resolver,
                    Endpoint(self._proxy.host, port),
                    lambda some: self._dial_one_of(interleaved(some), ask),
                    QuicStream.abort,
                )
        except ConnectionRefusedError as error:
            raise ConnectionRefusedError(
                error.errno, CLOSED.format(words=error.strerror, port=port)
            ) from error

    async def _dial_one_of(self, addresses: Sequence[ResolvedAddress], ask: StreamRequest) -> QuicStream:
        """Return the first stream of a new connection to the first address that answers."""
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(ADDRESS_ATTEMPT_SECONDS):
                    return await self._dial_address(address.socket_address, ask)
            except TlsFailed:
                raise
            except OSError:
                continue  # TimeoutError is one
        return await self._dial_address(addresses[-1].socket_address, ask)

    async def _dial_address(self, address: SocketAddress, ask: StreamRequest) -> QuicStream:
        for _ in range(NETWORK_CHANGE_ATTEMPTS - 1):
            try:
                return await self._dial_once(address, ask)
            except OSError as error:
                if error.errno != NETWORK_CHANGED:
                    raise
        return await self._dial_once(address, ask)

    async def _dial_once(self, address: SocketAddress, ask: StreamRequest) -> QuicStream:
        at_once = ask.early_data is not None and self._connector.has_ticket
        connection = self._connector.begin(address)
        command = None if ask.command == Command.NOOP else ask.command
        connection.allow_peer_streams(command == Command.BIND)  # nothing else would take them
        self._pool.append(_PooledConnection(connection, _loop(), command))
        with on_failure(connection.close_when_unused):  # others may wait for it too
            stream = connection.open_nowait() if at_once else None
            if stream is not None:
                await _begin(stream, ask)
            await self._connector.ready(connection)
            if stream is None:
                stream = await connection.open()
                await _begin(stream, ask)
        return stream


async def _is_there(connection: QuicConnection, ask: StreamRequest) -> bool:
    """Return whether a connection is available for a request.

    A request that must not be repeated is not sent to a proxy that may be gone: a PING checks first.
    """
    if ask.repeatable or _loop().time() - connection.last_received_at <= RECENTLY_HEARD_SECONDS:
        return connection.answers
    return await connection.is_alive()


def _suits(pooled: _PooledConnection, command: int) -> bool:
    return command == Command.NOOP or pooled.command in {None, command}


async def _begin(stream: QuicStream, ask: StreamRequest) -> None:
    if ask.client_leg_options:
        apply_options(stream.connection.carrier_socket, ask.client_leg_options, Leg.CLIENT_PROXY)
    await stream.send(ask.early_data or b"")


async def _leave(connection: QuicConnection) -> None:
    """Close in order, if the proxy is there to take what was sent."""
    if connection.handshake is None:
        connection.abandon()
        return
    try:
        async with time_limit(CLOSE_SECONDS):
            await connection.aclose()
    finally:
        connection.close()


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
