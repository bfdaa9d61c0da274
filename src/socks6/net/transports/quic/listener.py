"""Accepts QUIC connections at a UDP port that it shares."""

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from socks6.distribution import install_hint
from socks6.errors import ConfigurationError
from socks6.net.accept import source_of
from socks6.net.datagrams.shared import QUIC_BYTES, Arrival, SharedPort, SharedPorts
from socks6.net.encryption.contexts import ALPN, ReloadingContext, TlsParameters
from socks6.net.eviction import ClientsByNetwork
from socks6.net.resolve import ResolvedAddress
from socks6.net.scopes import on_failure
from socks6.net.sockets import endpoint
from socks6.net.stream import Endpoint, SocketAddress, check_idle, wake
from socks6.net.transports.base import ListenParameters, OpenConnectionListeners, refuse_without_certificate
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import (
    CID_BYTES,
    Backend,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    TicketStore,
    load_backend,
    read_identity,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE, Offenders
from socks6.net.transports.quic.libraries import DEFAULT, LIBRARIES, unvetted_version
from socks6.net.transports.quic.packets import (
    LONG,
    SMALLEST_INITIAL,
    VERSIONS,
    Header,
    RetryTokenPayload,
    RetryTokens,
    StatelessResets,
    read_header,
    split_by_destination,
    version_negotiation,
)
from socks6.net.transports.tcp import listen_at_each, listener_url

HANDSHAKE_SECONDS: Final = 10.0
RETRY_FROM: Final = 64  # handshakes at the same time; then clients first prove their address
MAX_HANDSHAKES: Final = 1_000  # beyond, a newcomer replaces one of the source with the most
BUSY: Final = 0x2  # CONNECTION_REFUSED


def listen(parameters: ListenParameters) -> OpenConnectionListeners:
    """Return what listens with QUIC, its identity following the files. Raises ConfigurationError."""
    backend = backend_for(parameters)
    if parameters.tls.certificate is None:
        return refuse_without_certificate(parameters.url)

    def read(tls: TlsParameters) -> ServerIdentity:
        identity = read_identity(tls)
        backend.check(identity)
        return identity

    files = ReloadingContext(parameters.tls, read, on_reload=parameters.on_reload)

    async def open_listeners(ports: SharedPorts) -> list[QuicListener]:
        def open_one(address: ResolvedAddress, port: int) -> QuicListener:
            shared = ports.open(address.socket_address[0], port)
            with on_failure(shared.close):
                url = listener_url(parameters.scheme, shared.sock)
                return QuicListener(shared, backend, files.current, url=url)

        return await listen_at_each(parameters.host, parameters.port, open_one)

    return open_listeners


def backend_for(parameters: ListenParameters) -> Backend:
    """Return the library for a listener. Raises ConfigurationError for one that cannot do what is asked."""
    backend = load_backend(parameters.quic_backend or DEFAULT)
    if parameters.tls.client_ca is not None:
        raise ConfigurationError(
            f"{parameters.url}: client certificates are asked for, and {backend.name} does not check them:"
            " leave them to a listener with TLS, and have QUIC clients give a password"
        )
    if not parameters.is_local and (version := unvetted_version(backend.name)):
        raise ConfigurationError(
            f"{parameters.url} can be reached by others, and what strangers can do to {backend.name} {version} is not known:"
            f" {install_hint(LIBRARIES[backend.name].extra)}, choose the other library (backend=), or listen on loopback"
        )
    return backend


class QuicListener:
    """Gives connections from the moment that their first stream comes, or their handshake is done."""

    def __init__(
        self,
        port: SharedPort,
        backend: Backend,
        identity: Callable[[], ServerIdentity],
        *,
        url: str,
        alpn: str = ALPN,
        retry_from: int = RETRY_FROM,
    ) -> None:
        """`identity` is asked for each new connection, so that certificates can be renewed. The port is ours."""
        self.port: Final = port
        self.url: Final = url
        self.local: Final = endpoint(port.sock.getsockname())
        self._backend = backend
        self._identity = identity
        self._alpn = alpn
        self._retry_from = retry_from
        self._loop = asyncio.get_running_loop()
        self._tokens = RetryTokens()
        self._resets = StatelessResets(identity().key)
        self._tickets = TicketStore()
        self._by_cid: dict[bytes, _AcceptedConnection] = {}
        self._connections: dict[_AcceptedConnection, None] = {}
        self._handshakes: ClientsByNetwork[_AcceptedConnection] = ClientsByNetwork()
        self._ready: deque[QuicConnection] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False  # no more connections are accepted
        self._over = False
        self.retries = 0
        self._offenders = Offenders()
        self.on_refused: Callable[[str, str], None] = lambda _source, _reason: None  # that came to nothing
        self.noise = 0  # packets that only looked like a connection's first
        port.register(QUIC_BYTES, self.datagrams_received, in_rows=True)

    async def accept(self) -> QuicConnection:
        while not self._ready:
            if self.closed:
                raise OSError("the listener was closed")
            check_idle(self._waiter, "another task accepts from this listener already")
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._ready.popleft()

    def stop(self) -> None:
        """Accept no more connections; those that are there stay. Idempotent."""
        self.closed = True
        for accepted in list(self._handshakes):
            accepted.connection.abort()
        for accepted in self._connections:
            accepted.connection.refuse_streams()
        wake(self._waiter)

    async def aclose(self) -> None:
        self.stop()
        if self._over:
            return
        self._over = True
        async with asyncio.TaskGroup() as group:
            for accepted in list(self._connections):
                group.create_task(accepted.connection.aclose())
        self.port.close()

    def datagrams_received(self, arrivals: Sequence[Arrival]) -> None:
        """Take what came in one turn."""
        touched: dict[_AcceptedConnection, None] = {}
        for arrival in arrivals:
            for part in _by_connection(arrival):
                accepted = self._hand_in(part)
                if accepted is not None:
                    touched[accepted] = None
        for accepted in touched:
            accepted.connection.batch_ended()
            self._look_at(accepted)

    def _hand_in(self, arrival: Arrival) -> "_AcceptedConnection | None":
        """Give a connection its packets; return that connection, None if there is none."""
        data = arrival.data
        accepted = None if data[0] & LONG else self._by_cid.get(data[1 : 1 + CID_BYTES])
        if accepted is None and (header := read_header(data)) is not None:
            accepted = self._by_cid.get(header.destination) or self._admit(header, arrival)
        if accepted is not None:
            accepted.local_address = arrival.local
            accepted.connection.packets_received(arrival.data, arrival.size, arrival.source)
        return accepted

    # New connections.

    def _admit(self, header: Header, arrival: Arrival) -> "_AcceptedConnection | None":
        """Accept a new client, send it a Retry first to prove its address, or ignore it."""
        first_size = min(arrival.size, len(arrival.data))
        if header.version is None:  # of a connection of before a restart
            packet = self._resets.answer(header.destination, first_size)
            if packet is not None:
                self.port.send(packet, arrival.source, arrival.local)
            return None
        if first_size < SMALLEST_INITIAL or self.closed:
            return None
        if header.version not in VERSIONS:
            if header.version:
                packet = version_negotiation(header, secrets.randbits(8))
                self.port.send(packet, arrival.source, arrival.local)
            return None
        return self._welcome(header, arrival) if header.initial else None

    def _welcome(self, header: Header, arrival: Arrival) -> "_AcceptedConnection | None":
        """Begin a connection with its first packet, if that is one."""
        now = self._loop.time()
        token = (
            self._tokens.read(header.token, header.destination, arrival.source, now) if header.token else None
        )
        if token is None and len(self._handshakes) >= self._retry_from:
            self._send_retry(header, arrival)
            return None
        if not self._backend.is_genuine(arrival.data[: header.end], header.destination, header.number_at):
            self.noise += 1
            return None
        if token is not None and not self._tokens.spend(token, now):
            return None
        return self._let_in(header, arrival, token)

    def _send_retry(self, header: Header, arrival: Arrival) -> None:
        self.retries += 1
        retry_cid = secrets.token_bytes(CID_BYTES)
        packet = self._backend.retry_packet(
            header.version or VERSIONS[0],
            retry_cid,
            header.source,
            header.destination,
            self._tokens.make(arrival.source, header.destination, retry_cid, self._loop.time()),
        )
        self.port.send(packet, arrival.source, arrival.local)

    def _make(self, header: Header, arrival: Arrival, token: RetryTokenPayload | None) -> QuicEngine:
        engine = self._backend.server(
            ServerParameters(
                identity=self._identity(),
                tickets=self._tickets,
                first_cid=token.first_cid if token else header.destination,
                retry_cid=token.retry_cid if token else None,
                reset_token=self._resets.token,
                alpn=self._alpn,
            )
        )
        if self._offenders.has(source_of(arrival.source[0]), self._loop.time()):
            engine.suspect()
        return engine

    def _let_in(
        self, header: Header, arrival: Arrival, token: RetryTokenPayload | None
    ) -> "_AcceptedConnection":
        engine = self._make(header, arrival, token)
        accepted = _AcceptedConnection(self.port, arrival.local)
        connection = accepted.connection = QuicConnection(engine, accepted, arrival.source, is_client=False)
        cids = {header.destination, engine.cid}

        def on_cid(cid: bytes, issued: bool) -> None:
            if issued:
                cids.add(cid)
                self._by_cid[cid] = accepted
            elif len(cids) > 1:
                cids.discard(cid)
                self._by_cid.pop(cid, None)

        def on_over() -> None:
            for cid in cids:
                self._by_cid.pop(cid, None)
            self._left(accepted)

        connection.on_cid = on_cid
        connection.on_over = on_over
        self._connections[accepted] = None
        for cid in cids:
            self._by_cid[cid] = accepted
        loser = self._handshakes.next_to_evict() if len(self._handshakes) >= MAX_HANDSHAKES else None
        self._handshakes.add(accepted, arrival.source[0])
        if loser is not None:
            self._handshakes.discard(loser)
            loser.connection.close(BUSY, "too many handshakes at the same time")
        accepted.timer = self._loop.call_later(HANDSHAKE_SECONDS, connection.abort)
        return accepted

    def _left(self, accepted: "_AcceptedConnection") -> None:
        """Forget a connection that is over, and report one that came to nothing."""
        self._connections.pop(accepted, None)
        self._shook_hands(accepted)
        end = accepted.connection.terminated
        if end is not None and (accepted.connection.handshake is None or end.code == EXCESSIVE_CODE):
            if accepted.connection.handshake is not None:
                self._offenders.note(source_of(accepted.connection.remote.host), self._loop.time())
            self.on_refused(accepted.connection.remote.host, end.reason or f"code {end.code:#x}")

    def _shook_hands(self, accepted: "_AcceptedConnection") -> None:
        """Count a connection among the handshakes no longer: it is done, or over."""
        accepted.shakes_hands = False
        self._handshakes.discard(accepted)
        accepted.timer.cancel()

    def _look_at(self, accepted: "_AcceptedConnection") -> None:
        """Give a connection out that is worth it by now."""
        connection = accepted.connection
        if connection.handshake is not None and accepted.shakes_hands:
            self._shook_hands(accepted)
        if connection.over is not None or accepted.given:
            return
        if connection.handshake is not None or connection.streams:
            accepted.given = True
            self._ready.append(connection)
            wake(self._waiter)


def _by_connection(row: Arrival) -> Iterable[Arrival]:
    """Return a row in parts, each of one connection's packets."""
    if row.size >= len(row.data):
        return (row,)
    parts = tuple(split_by_destination(row.data, row.size))
    if len(parts) == 1:
        return (row,)
    return [row._replace(data=row.data[begin:end], size=min(row.size, end - begin)) for begin, end in parts]


class _AcceptedConnection:
    """One connection at the port."""

    __slots__ = ("_port", "connection", "given", "local_address", "shakes_hands", "sock", "timer")

    connection: QuicConnection
    timer: asyncio.TimerHandle  # until its handshake takes too long

    def __init__(self, port: SharedPort, local_address: bytes) -> None:
        """`local_address` is that which the client sends to; empty where the port has but one."""
        self._port = port
        self.sock = port.sock
        self.given = False
        self.shakes_hands = True
        self.local_address = local_address

    @property
    def local(self) -> Endpoint:
        listening = endpoint(self._port.sock.getsockname())
        if not self.local_address:
            return listening
        family = socket.AF_INET if len(self.local_address) == 4 else socket.AF_INET6
        return Endpoint(socket.inet_ntop(family, self.local_address), listening.port)

    def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:
        if self._port.sock.fileno() >= 0:
            self._port.send_many(packets, remote, self.local_address)
