"""Serves one client connection after another over any byte stream: the proxy without listeners."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

from socks6.errors import AuthenticationBusy, CertificateRefused, ConfigurationError, TlsFailed
from socks6.message.options import STANDARD, OptionTable
from socks6.net.accept import ConnectionLimits
from socks6.net.eager import EagerTaskGroup
from socks6.net.encryption.contexts import ALPN
from socks6.net.local_addresses import LocalAddresses
from socks6.net.stream import AcceptedPeer, ByteStream, MultiplexedConnection, Outbound
from socks6.net.transports.tls import TlsStream
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.proxy.accounts import UsageStore
from socks6.proxy.authentication.base import Authenticator, UserChange, same_credentials
from socks6.proxy.connection import ClientConnection
from socks6.proxy.context import ProxyContext, RequestJudge
from socks6.proxy.inbounds.base import Inbound, PlainAdmission, Tunnel, linger, stay_silent
from socks6.proxy.inbounds.registry import StandardInbounds
from socks6.proxy.multiplexed import QuicConnectionContext
from socks6.proxy.sessions import SessionStore
from socks6.proxy.settings import Settings
from socks6.relay.datagrams.association_relay import best_forwarder
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.relay.datagrams.forwarder import DatagramForwarder
from socks6.relay.streams import StreamRelay
from socks6.telemetry import (
    ConnectionEnded,
    ConnectionSecured,
    Ending,
    Observer,
    Reloaded,
    UnexpectedError,
)

CHANGES_SECONDS: Final = 0.5  # after which a change of a user is noticed at the latest


class ServerWorker(ProxyContext):
    """Serves clients over any byte stream (§ Mode of operation), any number of them at the same time.

    `authenticator` knows the users, `policy` says what they may reach, `outbound` reaches it. `sessions` keeps the
    clients' sessions, by default in memory; `local_addresses` knows the addresses of this machine; `option_table` says which
    options are read, for an outbound that knows more stack options than the draft has. `judge_request` is awaited with each
    CONNECT, BIND and UDP ASSOCIATE, and the `ConnectionInfo` of its client, before the policy judges where it leads; what it raises is
    the reply. It has as long as a handshake. The datagrams of an association are the policy's alone. `usage_store` keeps what users
    with a quota have used.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        outbound: Outbound | None = None,
        settings: Settings | None = None,
        observers: Sequence[Observer] = (),
        inbounds: Mapping[str, Inbound] | None = None,
        forwarder: Callable[[], DatagramForwarder] = best_forwarder,
        sessions: SessionStore | None = None,
        local_addresses: LocalAddresses | None = None,
        option_table: OptionTable = STANDARD,
        judge_request: RequestJudge | None = None,
        usage_store: UsageStore | None = None,
    ) -> None:
        super().__init__(
            authenticator=authenticator,
            policy=policy,
            outbound=outbound,
            settings=settings,
            observers=observers,
            forwarder=forwarder,
            sessions=sessions,
            local_addresses=local_addresses,
            judge_request=judge_request,
            usage_store=usage_store,
        )
        self._inbounds: Final = inbounds or StandardInbounds(self.settings, option_table)
        self.relay: Final = StreamRelay(self.settings.relay)
        self._ids: Final = itertools.count(1)
        self._quic_connections: Final[set[QuicConnectionContext]] = set()

    def inbound(self, name: str) -> Inbound:
        """Return an inbound by its name; raises ConfigurationError for an unknown one."""
        try:
            return self._inbounds[name]
        except KeyError:
            raise ConfigurationError(f"no inbound {name!r}: one of {', '.join(self._inbounds)}") from None

    def replace(self, *, authenticator: Authenticator, policy: Policy) -> None:
        """Use these for every request from now on, on any connection; relays go on.

        Sessions end where the new authenticator does not know their users, or not by the same password; QUIC
        connections of such users authenticate their next request anew.
        """
        old = self.authenticator
        self.replace_rules(authenticator, policy)
        if old is not authenticator:
            for shared in tuple(self._quic_connections):
                shared.revoke(lambda identity: same_credentials(authenticator, old, identity))
        self.events.observe(Reloaded())

    async def watch_users(self) -> None:
        """Act on changes of users, as the authenticator finds them, until cancelled."""
        while True:
            await asyncio.sleep(CHANGES_SECONDS)
            with contextlib.suppress(AuthenticationBusy):  # which it reports itself
                for change in await self.authenticator.changes():
                    self.user_changed(change)

    def user_changed(self, change: UserChange) -> None:
        """Use what a user may do now: for its new requests, and for its connections.

        Those of a user that may not use the proxy any more end. One with another password has to give it for the next request.
        """
        identity = Identity(name=change.name)
        if change.refusal or change.new_password:
            if self.sessions is not None:
                self.sessions.store.revoke(lambda other: other != identity)
            for shared in tuple(self._quic_connections):
                shared.revoke(lambda other: other != identity)
        if change.refusal:
            for connection in tuple(self.connections.of_user(change.name)):
                connection.end(Ending.KICKED, change.refusal)
        elif (limits := self.authenticator.current_limits(identity)) is not None:
            self.accounts.replace_limits(change.name, limits)

    async def serve_stream(
        self,
        stream: ByteStream,
        inbound: str = "socks6",
        *,
        initial_data: bytes = b"",
        client_port: ClientPort | None = None,
        on_admitted: Callable[[ByteStream], None] | None = None,
    ) -> None:
        """Serve one client to the end and close its stream. Raises nothing that a client can cause.

        `initial_data` is what was already read from the stream; `client_port` is where the client may send datagrams over
        UDP. `on_admitted` is called with the stream once a request was admitted.
        """
        connection = self.open(stream, inbound, client_port=client_port, on_admitted=on_admitted)
        await self.serve(connection, self.handshake(connection, initial_data))

    def open(
        self,
        stream: ByteStream,
        inbound: str,
        *,
        client_port: ClientPort | None = None,
        on_admitted: Callable[[ByteStream], None] | None = None,
        shared: QuicConnectionContext | None = None,
    ) -> ClientConnection:
        """Return a client's new connection, which is in the live table until `close`; parameters as for `serve_stream`.

        `shared` is of the QUIC connection that it is one stream of.
        """
        connection = ClientConnection(
            self, stream, inbound, next(self._ids), client_port, on_admitted, shared
        )
        self.connections.add(connection)
        connection.opened()
        return connection

    def close(self, connection: ClientConnection) -> None:
        """Reset what is not closed of a connection, give back what it holds, and record how it went."""
        connection.stream.abort()
        try:
            connection.close()
        except Exception as error:  # noqa: BLE001 - a fault of ours stays its connection's; the log line is due all the same
            self.events.observe(UnexpectedError(where=f"connection {connection.id}, leaving", error=error))
        self.connections.discard(connection)
        connection.ended()

    def not_served(self, inbound: str, source: str, reason: str) -> None:
        """Record a client of another protocol over UDP, as those that come by a stream are."""
        if ConnectionEnded in self.events.wanted:
            self.events.observe(
                ConnectionEnded(
                    id=next(self._ids),
                    inbound=inbound,
                    source=source,
                    user="",
                    command="",
                    host="",
                    port=0,
                    peer="",
                    ending=Ending.MALFORMED,
                    reply=-1,
                    reason=reason,
                    seconds=0.0,
                    bytes_up=0,
                    bytes_down=0,
                    session="",
                    token="",
                )
            )

    def failed(self, connection: ClientConnection, error: Exception) -> None:
        """Record what ended a connection: a break of its stream, or a fault of ours, which stays its own."""
        if isinstance(error, OSError):
            connection.broke(error)
        else:
            connection.ending = Ending.ERROR
            self.events.observe(UnexpectedError(where=f"connection {connection.id}", error=error))

    async def serve_connection(
        self,
        connection: MultiplexedConnection,
        inbound: str = "socks6",
        *,
        limits: ConnectionLimits,
        by_callbacks: Callable[[QuicConnectionContext, EagerTaskGroup], Callable[[ByteStream], bool]] = (
            lambda *_: lambda _stream: False
        ),
    ) -> None:
        """Serve all streams of a connection to its end, and close it. Raises nothing that a client can cause.

        `limits` counts the streams. `by_callbacks` makes what is offered each of them first (`PlainConnects.serve`).
        """
        shared = QuicConnectionContext(connection, functools.partial(self._serve_pushed, inbound))
        self._quic_connections.add(shared)
        try:
            async with asyncio.TaskGroup() as group, EagerTaskGroup() as tasks:
                deadline = connection.started + self.settings.handshake_timeout
                shared.begin(group, deadline - asyncio.get_running_loop().time())
                serve_plain = by_callbacks(shared, tasks)

                def serve(stream: ByteStream) -> None:
                    source = stream.remote.host
                    if refusal := limits.enter(source):
                        self.turned_away(source, refusal)
                        stream.abort()
                    elif not serve_plain(stream):
                        tasks.start(self._serve_one(stream, inbound, shared, lambda: limits.leave(source)))

                await connection.serve_streams(serve)
        finally:
            self._quic_connections.discard(shared)
            shared.leave()

    async def aclose(self) -> None:
        """Free what the connections share; to be called when none runs any more. Idempotent."""
        if self.sessions is not None:
            self.sessions.close()
        await self.accounts.aclose()
        self.authenticator.close()
        await self.authenticator.wait_closed()
        await self.outbound.aclose()  # it may wait by the relay's poller
        self.relay.close()
        self.close_datagrams()
        self.local_addresses.close()

    async def _serve_one(
        self, stream: ByteStream, inbound: str, shared: QuicConnectionContext, leave: Callable[[], None]
    ) -> None:
        """Serve one stream of several."""
        try:
            first = await shared.enter()
            connection = self.open(stream, inbound, shared=shared)
            try:
                with shared.serving():
                    await self.serve(connection, self.handshake(connection))
            finally:
                if first:
                    shared.first_left(connection.ending)
        finally:
            stream.abort()
            leave()

    async def _serve_pushed(
        self, inbound: str, shared: QuicConnectionContext, stream: ByteStream, accepted: AcceptedPeer
    ) -> None:
        """Relay a stream that was opened for a peer."""
        connection = self.open(stream, inbound, shared=shared)
        connection.pushed(accepted.peer)

        async def tunnel() -> Tunnel:
            return Tunnel(remote=accepted.stream)

        with shared.serving():
            await self.serve(connection, tunnel())

    async def serve(
        self,
        connection: ClientConnection,
        handshake: Coroutine[None, None, Tunnel | None],
        *,
        take_over: Callable[[Tunnel], bool] = lambda _: False,
    ) -> bool:
        """Serve one client to the end, from where it stands. Raises nothing that a client can cause.

        `take_over` is offered its tunnel; if that is taken, the rest is the taker's, and this returns True.
        """
        stream = connection.stream
        connection.served_by_this_task()
        taken = False
        try:
            tunnel = await handshake
            if tunnel is None:
                await linger(stream, patient=connection.bytes_down > 0)
            elif not (taken := take_over(tunnel)):
                initial_data = tunnel.take_initial_data()
                connection.relayed(
                    await self.relay.relay(
                        stream, tunnel.remote, first=initial_data, on_joined=connection.relaying
                    )
                )
        except asyncio.CancelledError:
            if not connection.was_interrupted():
                connection.ending = Ending.STOPPED
                raise
        except Exception as error:  # noqa: BLE001 - the one place that keeps a fault of ours to its connection
            self.failed(connection, error)
        finally:
            if not taken:
                self.close(connection)
        return taken

    async def handshake(
        self, connection: ClientConnection, initial_data: bytes = b"", admission: PlainAdmission | None = None
    ) -> Tunnel | None:
        """Carry out a connection's handshake by its inbound, `initial_data` being what was read already; see `Inbound.serve`.

        An `admission` goes on from where it stands.
        """
        inbound = self.inbound(connection.inbound)
        self.monitor.add_handshake(connection.id, connection.deadline, connection.expire)
        try:
            if (tls := connection.stream.attribute(TlsStream)) is not None:
                await self._secure(connection, tls, inbound)
            if admission is not None:
                return await admission.serve()
            return await inbound.serve(connection, initial_data)
        finally:
            self.monitor.end_handshake(connection.id)

    async def _secure(self, connection: ClientConnection, stream: TlsStream, inbound: Inbound) -> None:
        """Shake hands, and record that. Raises TlsFailed, OSError."""
        try:
            if not connection.secured:
                await stream.handshake(quiet=self.settings.quiet)
                self.secured(connection, stream, inbound)
        except TlsFailed:
            await self.leave_unsecured(connection, stream)
            raise

    def secured(self, connection: ClientConnection, stream: TlsStream, inbound: Inbound) -> None:
        """Record a handshake, and take the identity from the certificate if one is asked for. Raises TlsFailed."""
        session = stream.session
        if ALPN in inbound.alpn and session.refused_protocols:
            # the draft has no ALPN, so a client need not offer any; but one that means another service is led astray
            raise TlsFailed(
                f"the client does not speak {ALPN}, but {', '.join(session.refused_protocols)} (ALPN)"
            )
        if session.certificate:  # none comes unless it was asked for, and checked
            if not session.certified_user:
                raise CertificateRefused("the client's certificate names no user")
            connection.certified = Identity(name=session.certified_user)
        connection.secured = True
        if ConnectionSecured in self.events.wanted:
            user = connection.default_identity.name
            self.events.observe(
                ConnectionSecured(id=connection.id, version=session.version, cipher=session.cipher, user=user)
            )

    async def leave_unsecured(self, connection: ClientConnection, stream: TlsStream) -> None:
        """Close to a client whose handshake failed: it may read OpenSSL's alert, unless the proxy is quiet."""
        if self.settings.quiet:
            await stay_silent(stream, connection.deadline)
        else:
            await linger(stream.beneath)
