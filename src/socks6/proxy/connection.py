"""One client's connection, or one stream of a QUIC connection: its state, its log record, and what it may do.

An inbound turns the client's bytes into a `ProxyRequest` and awaits `connect`, `bind` or `associate`, which judge the
request, count it against the limits, carry it out (`commands`, `bind`) and return what came of it, or raise
OperationFailed, whose code is the reply. Everything that decides or records is a plain method, which waits for nothing.
"""

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from socks6.errors import (
    AuthenticationBusy,
    CertificateRefused,
    GeneralFailure,
    NotAllowed,
    OperationFailed,
    OutgoingAddressFailed,
    TlsFailed,
    UpstreamFailed,
)
from socks6.message.address import is_literal, without_trailing_dot
from socks6.message.codes import Command, Leg, ReplyCode
from socks6.message.options import Tos, find
from socks6.net.accept import source_of
from socks6.net.sockets import bytes_received_by
from socks6.net.stackopts.received import received_tos
from socks6.net.stream import (
    AbortCode,
    Binding,
    ByteStream,
    CodedAbortStream,
    ConnectResult,
    Endpoint,
)
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.user_limits import NO_LIMITS
from socks6.protocol.methods.base import Credentials
from socks6.proxy.accounts import USED_UP, Account
from socks6.proxy.authentication.base import WRONG_CREDENTIALS, same_credentials
from socks6.proxy.bind import BindOperation
from socks6.proxy.commands import OpenedAssociation, ProxyRequest, associate, connect
from socks6.proxy.context import ProxyContext, RequestJudge
from socks6.proxy.limits import Holder, holder_of
from socks6.proxy.live import ConnectionInfo, Traffic
from socks6.proxy.multiplexed import QuicConnectionContext
from socks6.proxy.sessions import Session, SessionMembership
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.relay.joined import JoinedStreams
from socks6.relay.streams import RelayResult
from socks6.telemetry import (
    CUT_OFF,
    AssociationOpened,
    BindingOpened,
    ConnectionEnded,
    ConnectionOpened,
    Ending,
    LimitReached,
    PeerAccepted,
    RemoteConnected,
    RequestMade,
    SessionOpened,
    SessionTornDown,
    StreamPushed,
    TokenSpent,
    UnexpectedError,
    UserAuthenticated,
    UserRefused,
)

COMMAND_NAMES: Final = {command.value: command.name for command in Command}
ABORT_CODES: Final = {Ending.KICKED: AbortCode.KICKED, Ending.QUOTA: AbortCode.QUOTA}
ANSWER_SECONDS: Final = 0.5  # of the handshake's time, kept for answering that the proxy is busy


class ClientConnection:
    """One client's connection, from accept to the end. Belongs to the task that serves it."""

    __slots__ = (
        "_associated", "_authenticator", "_cancellations", "_descriptor", "_end_relay", "_has_request", "_held_association",
        "_interruption", "_membership", "_on_admitted", "_task", "_user_connection", "account", "bytes_down",
        "bytes_up", "certified", "client_port", "command", "deadline", "ending", "greeting", "host", "id", "inbound", "outbound", "peer", "port", "proxy",
        "reason", "reply", "secured", "shared", "source", "started", "stream", "times", "traffic", "user",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - by name they would cost each CONNECT 1 µs
        self,
        proxy: ProxyContext,
        stream: ByteStream,
        inbound: str,
        connection_id: int,
        client_port: ClientPort | None = None,
        on_admitted: Callable[[ByteStream], None] | None = None,
        shared: QuicConnectionContext | None = None,
    ) -> None:
        """`inbound` is the name of the protocol that the client speaks; `client_port` takes its datagrams over UDP.

        `shared` is what the streams of a QUIC connection have in common. `on_admitted` is called with the stream once a
        request was admitted.
        """
        self.proxy: Final = proxy
        self.stream = stream
        self.inbound: Final = inbound
        self.id: Final = connection_id
        self.shared: Final = shared
        self.client_port: Final = client_port if shared is None else shared.port
        self.source: Final = stream.remote.host
        self.started: Final = proxy.loop.time()
        self.times: list[float] | None = (
            None  # of the request, of its host's addresses, of its success; 0 for not yet
        )
        self.deadline: Final = self.started + proxy.settings.handshake_timeout  # of the handshake
        self.secured = False  # TLS has been agreed on
        self.certified: Identity | None = None  # whom the client's certificate names
        self._on_admitted = on_admitted
        self._authenticator = proxy.authenticator  # which let the client in, or would
        self._has_request = False
        self._membership: SessionMembership | None = None
        # what is given back at the end
        self._user_connection: Holder | None = None
        self._descriptor: Holder | None = None
        self._held_association: Holder | None = None
        self.account: Account | None = None  # of a user with a bandwidth or a quota
        self._associated: Endpoint | None = None  # the association's port on this machine
        self.greeting = b""  # what the client began with, if that was answered before the inbound serves it
        # the task that serves it, and who cancels that
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0  # that are not `interrupt`'s
        self._interruption: tuple[Ending, str] | None = None
        self._end_relay: Callable[[Ending, str], None] | None = None  # of a relay that no task waits for
        # the record
        self.user = ""
        self.command = ""
        self.outbound = ""
        self.host = ""
        self.port = 0
        self.peer = ""
        self.bytes_up = 0  # but for those that `traffic` counts
        self.bytes_down = 0
        self.traffic: Traffic | None = None  # the relay at work, which counts for itself
        self.reply = -1
        self.ending = Ending.DONE
        self.reason = ""

    # Who the client is.

    @property
    def is_local(self) -> bool:
        """Whether the client is on this machine: at a loopback address, or on a Unix socket."""
        return not source_of(self.source)

    @property
    def authentication_required(self) -> bool:
        """Whether the client must authenticate: not if its certificate does."""
        return self.proxy.authenticator.required and self.certified is None

    @property
    def default_identity(self) -> Identity:
        """Who the client is if it offers no credentials."""
        return self.certified or ANONYMOUS

    def known_identity(self, credentials: Credentials) -> Identity | None:
        """Return whom the credentials prove if that is known at once; None where `verify` is to be asked."""
        if self.certified is not None:
            return self.certified
        authenticator = self.proxy.authenticator
        identity = self.proxy.verifications.known(authenticator, credentials, self.source)
        if identity is not None:
            self._authenticator = authenticator
        return identity

    async def verify(self, credentials: Credentials) -> Identity | None:
        """Check the credentials when it is this source's turn; a certificate's identity needs no check.

        Raises AuthenticationBusy where there is no answer in time, OSError when the client is gone.
        """
        if self.certified is not None:
            return self.certified
        proxy = self.proxy
        deadline = self._verification_deadline()
        while True:
            authenticator = proxy.authenticator
            try:
                with self.watching_client():
                    identity = await proxy.verifications.verify(
                        lambda: proxy.authenticator,
                        credentials,
                        source=self.source,
                        deadline=deadline,
                        present=lambda: not self.stream.was_reset(),
                    )
            except AuthenticationBusy as busy:
                if isinstance(fault := busy.__cause__, Exception) and busy.is_fault:
                    proxy.events.observe(
                        UnexpectedError(where=f"connection {self.id}, authenticator", error=fault)
                    )
                raise
            if authenticator is proxy.authenticator:  # else a reload came between
                break
        self._authenticator = authenticator
        if identity is None:
            self._note_refusal(credentials)
        return identity

    def _note_refusal(self, credentials: Credentials) -> None:
        """Record why credentials were refused."""
        reason = self._authenticator.refusal(credentials, self.source)
        if self.proxy.verifications.shuts_out(credentials, self.source):
            reason = "too many failed attempts"
        if reason != WRONG_CREDENTIALS:
            self.reason = reason
        self._report_refused_user((credentials.subject or b"").decode(errors="replace"), reason)

    def still_vouched(self, identity: Identity) -> bool:
        """Return whether a client that was admitted on this connection would be now, after any reload."""
        if self.certified is not None:
            return True
        return same_credentials(self.proxy.authenticator, self._authenticator, identity)

    def admitted(self, identity: Identity, session: Session | None) -> Session | None:
        """Record that a request was authenticated, `session` being its own; return the session that it belongs to."""
        if session is not None or self.session is not None:
            self._authenticator = self.proxy.authenticator  # a reload ends the sessions of users that changed
        if self.shared is None or not self.still_vouched(identity):
            return session
        return self.shared.admitted(identity, session)

    async def wait_confirmed(self) -> None:
        """Wait until what the client sent is known to be no replay of an earlier connection. Raises OSError."""
        if self.shared is not None:
            await self.shared.connection.wait_handshake_confirmed()

    @property
    def session(self) -> Session | None:
        """The session that every request belongs to without naming it: that of a QUIC connection."""
        return None if self.shared is None else self.shared.session

    def membership(self) -> SessionMembership | None:
        """Return this connection's membership in sessions, always the same; None where there are no sessions."""
        if self._membership is None and self.proxy.sessions is not None:
            self._membership = SessionMembership(
                self.proxy.sessions,
                self.stream,
                self._authenticator,
                self._session_ended,
                self._session_event,
                session=self.session,
                certified=self.certified,
            )
        return self._membership

    # What it may do: decisions and records, none of which waits.

    def begin(self, request: ProxyRequest) -> None:
        """Note a request, which ends the handshake: its client is known, and is evicted for no stranger."""
        if self.proxy.timed:
            self.times = [time.monotonic(), 0.0, 0.0]  # uvloop's clock stands still within a turn
        is_new = not (self._has_request and self.user == request.identity.name)
        self._has_request = True
        self.proxy.monitor.end_handshake(self.id)
        on_admitted, self._on_admitted = self._on_admitted, None
        if on_admitted is not None:
            on_admitted(self.stream)
        self._note(request)
        self._report_request(is_new=is_new)

    def admit(self, request: ProxyRequest) -> None:
        """Count a request against the limits of its user or source. Raises OperationFailed.

        NotAllowed, too, if a reload or a change of the user came since the client was admitted, and it would not be now.
        """
        identity = request.identity
        if identity.name and self.certified is None:
            limits = self.proxy.authenticator.current_limits(identity)
            if limits is None:
                raise NotAllowed("the user was removed or disabled, or has expired")
            if limits is not identity.limits:
                request.identity = identity = dataclasses.replace(identity, limits=limits)
        if self._authenticator is not self.proxy.authenticator and not self.still_vouched(identity):
            raise NotAllowed("the user is gone, or has another password, since a reload")
        if (
            identity.limits is not NO_LIMITS
            or self.account is not None
            or identity.name in self.proxy.accounts.replaced
        ):
            self._enter_account(identity)
        try:
            self._count(request.command, identity)
        except GeneralFailure as failure:
            if LimitReached in self.proxy.events.wanted:
                self.proxy.events.observe(
                    LimitReached(id=self.id, source=self.source or "unix", reason=failure.reason)
                )
            raise

    def _enter_account(self, identity: Identity) -> None:
        """Take the account of the request's user, if that has one. Raises NotAllowed if its quota is used up."""
        if self.account is not None and self.account.name != identity.name:
            self.account.leave(self)
            self.account = None
        self.account = self.proxy.accounts.enter(identity, self)

    def take_account(self, account: Account) -> None:
        """Be bound by an account from now on."""
        self.account = account
        if self.traffic is not None:
            self._limit(self.traffic, account)

    def quota_reached(self) -> None:
        """End as `end` does, but what was counted still arrives."""
        if isinstance(self.traffic, JoinedStreams):
            self._set_abort_code(Ending.QUOTA)
            self.traffic.end(Ending.QUOTA, USED_UP)
        else:
            self.end(Ending.QUOTA, USED_UP)

    def _limit(self, traffic: Traffic, account: Account) -> None:
        traffic.limit(account.up, account.down)
        if account.is_used_up:  # since the request was admitted
            self.proxy.loop.call_soon(self.quota_reached)

    def _count(self, command: int, identity: Identity) -> None:
        name = "" if self._user_connection is None else self._user_connection[0]
        if name != identity.name:
            self._give_back_user_connection()
            if identity.name:
                self._user_connection = self.proxy.user_connections.enter(identity, self.source)
        if command == Command.CONNECT:
            self._take_descriptor(identity)
        elif command == Command.UDP_ASSOCIATE:
            self._held_association = self.proxy.associations.enter(identity, self.source)

    def connected(self, bound: Endpoint, bytes_sent: int = 0) -> None:
        """Record a CONNECT that succeeded, `bytes_sent` of its initial data being on their way already."""
        if RemoteConnected in self.proxy.events.wanted:
            self.proxy.events.observe(RemoteConnected(id=self.id, host=bound.host, port=bound.port))
        self.reply = 0
        if bytes_sent and self.account is not None:
            self.account.up.spend(bytes_sent)
        if self.times is not None:
            self.times[2] = time.monotonic()
        self.bytes_up += bytes_sent
        self.ending, self.reason = Ending.DONE, ""  # however an earlier request of the same client ended

    def failed(self, request: ProxyRequest, failure: OperationFailed) -> None:
        """Record a request that failed."""
        self.answered(request, failure.code, failure.reason)
        if isinstance(failure, UpstreamFailed):
            self.ending = Ending.UPSTREAM
        elif isinstance(failure, OutgoingAddressFailed):
            self.ending = Ending.REFUSED

    def answered(self, request: ProxyRequest, code: int, reason: str = "") -> None:
        """Record a request that was answered with a reply code."""
        self._note(request)
        if not self._has_request:  # answered at once
            self._report_request(is_new=True)
        self.reply = int(code)
        self.reason = reason
        if code:
            self.ending = Ending.REFUSED if code == ReplyCode.NOT_ALLOWED else Ending.FAILED

    def refused(self, ending: Ending, reason: str) -> None:
        """Record why the client was sent away without a request."""
        self.ending = ending
        self.reason = self.reason or reason

    def peer_connected(self, peer: Endpoint) -> None:
        """Record the peer that connected to the binding."""
        self.peer = f"[{peer.host}]:{peer.port}" if ":" in peer.host else f"{peer.host}:{peer.port}"
        if PeerAccepted in self.proxy.events.wanted:
            self.proxy.events.observe(PeerAccepted(id=self.id, peer=self.peer))

    def pushed(self, peer: Endpoint) -> None:
        """Record that the stream was opened for a peer of an earlier BIND."""
        self.command = Command.BIND.name
        self.reply = 0
        if self.session is not None:
            identity = self.session.identity
            self.user = identity.name
            try:
                self._enter_account(identity)
            except NotAllowed:  # its quota was used up just now
                self.proxy.loop.call_soon(self.quota_reached)
        self.peer_connected(peer)
        if StreamPushed in self.proxy.events.wanted:
            self.proxy.events.observe(StreamPushed(id=self.id, peer=self.peer))

    def carried(self, bytes_up: int, bytes_down: int) -> None:
        """Count bytes of the stream, instead of `traffic` if there is any."""
        self.traffic = None
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down

    def relaying(self, traffic: Traffic) -> None:
        """Let the live table read the counts of the relay at work, which its user's account bounds; `carried` or `relayed` follows."""
        self.traffic = traffic
        if self.account is not None:
            self._limit(traffic, self.account)

    def relaying_by_callbacks(self, joined: JoinedStreams) -> None:
        """As `relaying`; no task serves the connection any more, so that `interrupt` ends the relay."""
        self.traffic = joined
        self._end_relay = joined.end
        if self.account is not None:
            self._limit(joined, self.account)

    def relayed(self, result: RelayResult) -> None:
        """Record how the relay went."""
        self.carried(result.bytes_up, result.bytes_down)
        self.ending = result.ending
        self.reason = result.reason

    def broke(self, error: OSError) -> None:
        """Record that the client's stream broke during the handshake, unless an ending is recorded already."""
        if self.ending is Ending.DONE:
            self.ending = _ending_for(error)
            if self.ending is Ending.UNAUTHENTICATED:
                self._report_refused_user("", str(error))
            self.reason = str(error)

    # What is done for it.

    async def connect(self, request: ProxyRequest) -> ConnectResult:
        """Judge and carry out a CONNECT. Raises OperationFailed, whose code is the reply to send."""
        proxy = self.proxy
        self.begin(request)
        try:
            self.admit(request)
            proxy.monitor.watch(self.id, self.stream, self._client_gone)
            if proxy.judge_request is not None:
                await self._judge(request, proxy.judge_request)
            if proxy.settings.copy_tos:
                request = self._with_received_tos(request)
            connection = await connect(
                request,
                policy=proxy.policy,
                outbound=proxy.outbound,
                client=self.stream.attribute(socket.socket) if request.options else None,
                holder=holder_of(request.identity, self.source),
                on_address=None if self.times is None or is_literal(request.host) else self._looked_up,
            )
        except OperationFailed as failure:
            self.failed(request, failure)
            raise
        finally:
            proxy.monitor.forget(self.id)
        self.outbound = connection.outbound
        self.connected(connection.bound, connection.first_data_sent)
        return connection

    async def associate(self, request: ProxyRequest) -> OpenedAssociation:
        """Judge and carry out an UDP ASSOCIATE. Raises OperationFailed."""
        proxy = self.proxy
        with self._carrying_out(request):
            if proxy.judge_request is not None:
                await self._judge(request, proxy.judge_request)
            association = await associate(
                self._with_received_tos(request),
                policy=proxy.policy,
                outbound=proxy.outbound,
                client=self.stream,
                advertised=proxy.settings.bind.advertise,
                owner=request.session or (request.identity.name, self.source),
                holder=holder_of(request.identity, self.source),
            )
        if proxy.outbound.resolves:
            self._associated = association.channel.bound
            proxy.machine.bound.add(self._associated, udp=True)
        self._succeeded()
        self.host, self.port = association.bound
        if AssociationOpened in proxy.events.wanted:
            proxy.events.observe(AssociationOpened(id=self.id, host=self.host, port=self.port))
        return association

    async def bind(self, request: ProxyRequest) -> Binding:
        """Judge and carry out a BIND; the host and port are where. Raises OperationFailed.

        A request with a backlog may get a BacklogListener, to be run as long as the client stays.
        """
        with self._carrying_out(request):
            if self.proxy.judge_request is not None:
                await self._judge(request, self.proxy.judge_request)
            binding = await BindOperation(
                request=self._with_received_tos(request),
                policy=self.proxy.policy,
                outbound=self.proxy.outbound,
                client=self.stream,
                bindings=self.proxy.bindings,
                settings=self.proxy.settings.bind,
            ).run()
        self._succeeded()
        self.host, self.port = binding.bound
        if BindingOpened in self.proxy.events.wanted:
            self.proxy.events.observe(BindingOpened(id=self.id, host=self.host, port=self.port))
        return binding

    async def _judge(self, request: ProxyRequest, judge: RequestJudge) -> None:
        """Ask the user's judge. Raises OperationFailed: the judge's own, or reply 01 for its fault or want of time."""
        try:
            async with asyncio.timeout(self.proxy.settings.handshake_timeout) as limit:
                await judge(request, self.info())
        except OperationFailed:
            raise
        except Exception as error:
            if limit.expired():
                raise GeneralFailure("the request could not be judged in time") from error
            self.proxy.events.observe(UnexpectedError(where=f"connection {self.id}, judge", error=error))
            raise GeneralFailure("the request could not be judged") from error

    @contextlib.contextmanager
    def _carrying_out(self, request: ProxyRequest) -> Iterator[None]:
        """Begin and admit a request, record its failure, and give it up should the client be gone."""
        self.begin(request)
        try:
            self.admit(request)
            with self.watching_client():
                yield
        except OperationFailed as failure:
            self.failed(request, failure)
            raise

    @contextlib.contextmanager
    def watching_client(self) -> Iterator[None]:
        """Interrupt the task, should the client reset its stream meanwhile."""
        self.proxy.monitor.watch(self.id, self.stream, self._client_gone)
        try:
            yield
        finally:
            self.proxy.monitor.forget(self.id)

    # How it begins and ends.

    def served_by_this_task(self) -> None:
        """Note which task `interrupt` is to cancel: the current one."""
        self._task = asyncio.current_task(self.proxy.loop)
        self._cancellations = self._task.cancelling() if self._task else 0

    def opened(self) -> None:
        """Let observers know that the connection is there."""
        if ConnectionOpened in self.proxy.events.wanted:
            source = self.source or "unix"
            self.proxy.events.observe(ConnectionOpened(id=self.id, source=source, inbound=self.inbound))

    def ended(self) -> None:
        """Let observers know that it is over, and how it went."""
        if ConnectionEnded in self.proxy.events.wanted:
            self.proxy.events.observe(self.summary())

    def expire(self) -> None:
        """End a handshake that takes too long."""
        self.ending = Ending.NO_REQUEST
        raw = self.stream.attribute(socket.socket)
        silent = raw is not None and bytes_received_by(raw) == 0
        self.reason = "the client sent nothing in time" if silent else "the handshake took too long"
        self.stream.abort()

    def interrupt(self, ending: Ending, reason: str) -> None:
        """Cancel the task that serves the connection, `was_interrupted` then records why; or end the relay that callbacks serve."""
        if self._end_relay is not None:
            self._end_relay(ending, reason)
        elif self._interruption is None and self._task is not None:
            self._interruption = ending, reason
            self._task.cancel()

    def end(self, ending: Ending, reason: str) -> None:
        """End it from outside, whatever it is about: see `LiveTable.end`."""
        self._set_abort_code(ending)
        if self._end_relay is None and self._task is None:  # a handshake by callbacks, which the abort ends
            self.ending, self.reason = ending, reason
            self.stream.abort()
            return
        self.interrupt(ending, reason)
        if self._end_relay is not None:  # the relay is over, and only delivers
            self.stream.abort()

    def _set_abort_code(self, ending: Ending) -> None:
        """Let the client know why its stream is aborted, where the transport can."""
        if (code := ABORT_CODES.get(ending)) is not None and (
            coded := self.stream.attribute(CodedAbortStream)
        ) is not None:
            coded.abort_code = code

    def was_interrupted(self) -> bool:
        """Return, within the cancelled task, whether `interrupt` alone cancelled it, and record the reason."""
        if self._interruption is None or self._task is None or self._task.uncancel() > self._cancellations:
            return False
        if self.ending is Ending.DONE or self._interruption[0] in CUT_OFF:
            self.ending, self.reason = self._interruption
        return True

    def close(self) -> None:  # noqa: C901 - one thing after the other
        """End the handshake, leave the session and give back what is held. Idempotent."""
        self._task = self._end_relay = None
        if self.traffic is not None:  # of a relay that was cancelled
            self.carried(self.traffic.bytes_up, self.traffic.bytes_down)
        if not self._has_request:  # else `begin` has done so
            self.proxy.monitor.end_handshake(self.id)
        if self._user_connection is not None:
            self._give_back_user_connection()
        if self.account is not None:
            self.account.leave(self)
            self.account = None
        if self._descriptor is not None:
            self.proxy.descriptors.give_back(self._descriptor)
            self._descriptor = None
        if self._held_association is not None:
            self.proxy.associations.leave(self._held_association)
            self._held_association = None
        if self._associated is not None:
            self.proxy.machine.bound.remove(self._associated, udp=True)
            self._associated = None
        if self._membership is not None:
            self._membership.leave()

    def summary(self) -> ConnectionEnded:
        """Return the record."""
        membership = self._membership
        begun, addressed, succeeded = self.times or (0.0, 0.0, 0.0)
        return ConnectionEnded(
            id=self.id,
            inbound=self.inbound,
            source=self.source or "unix",
            user=self.user or (membership.user if membership else ""),
            command=self.command,
            host=without_trailing_dot(self.host),
            port=self.port,
            peer=self.peer,
            ending=self.ending,
            reply=self.reply,
            reason=self.reason,
            seconds=self.proxy.loop.time() - self.started,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            session=membership.note if membership else "",
            token=membership.token if membership else "",
            outbound=self.outbound_name,
            handshake_seconds=max(0.0, begun - self.started) if begun else 0.0,
            lookup_seconds=addressed - begun if addressed else 0.0,
            connect_seconds=succeeded - begun if succeeded else 0.0,
        )

    def info(self) -> ConnectionInfo:
        traffic = self.traffic
        return ConnectionInfo(
            id=self.id,
            inbound=self.inbound,
            source=self.source or "unix",
            user=self.user,
            command=self.command,
            host=without_trailing_dot(self.host),
            port=self.port,
            peer=self.peer,
            established=self.reply == 0,
            seconds=self.proxy.loop.time() - self.started,
            bytes_up=self.bytes_up + (traffic.bytes_up if traffic is not None else 0),
            bytes_down=self.bytes_down + (traffic.bytes_down if traffic is not None else 0),
        )

    @property
    def outbound_name(self) -> str:
        """How the request went out, as in `ConnectionEnded`."""
        return self.outbound or (self.proxy.outbound_name if self.command else "")

    def _succeeded(self) -> None:
        self.reply = 0
        if self.times is not None:
            self.times[2] = time.monotonic()

    def _looked_up(self) -> None:
        if self.times is not None and not self.times[1]:
            self.times[1] = time.monotonic()

    def _client_gone(self) -> None:
        self.interrupt(Ending.RESET, "the client was gone before it had its answer")

    def _session_event(self, note: str, user: str) -> None:
        events = self.proxy.events
        match note:
            case "new" if SessionOpened in events.wanted:
                events.observe(SessionOpened(id=self.id, user=user))
            case "ended" if SessionTornDown in events.wanted:
                events.observe(SessionTornDown(id=self.id, user=user))
            case "accepted" | "rejected" if TokenSpent in events.wanted:
                events.observe(TokenSpent(id=self.id, user=user, accepted=note == "accepted"))
            case _:
                pass

    def _session_ended(self) -> None:
        self.interrupt(Ending.STOPPED, "its session was torn down")

    def _verification_deadline(self) -> float:
        """Return by when credentials have to be checked so that the answer can still be sent."""
        seconds = self.proxy.settings.handshake_timeout
        begun = self.proxy.loop.time() if self._has_request else self.started
        return begun + seconds - min(ANSWER_SECONDS, seconds / 10)

    def _take_descriptor(self, identity: Identity) -> None:
        """Take of the user's, or source's, share of the descriptors. Raises GeneralFailure when there is none left.

        This machine's own nameless clients have all that there are, as with connections.
        """
        if self._descriptor is not None or not (identity.name or source_of(self.source)):
            return
        holder = holder_of(identity, self.source)
        if not self.proxy.descriptors.may_take(holder):
            raise GeneralFailure(f"{holder[0] or holder[1]} has its share of the descriptors that there are")
        self.proxy.descriptors.take(holder)
        self._descriptor = holder

    def _give_back_user_connection(self) -> None:
        holder, self._user_connection = self._user_connection, None
        if holder is not None:
            self.proxy.user_connections.leave(holder)

    def _with_received_tos(self, request: ProxyRequest) -> ProxyRequest:
        """Return the request with the TOS that the client itself sends with, if that is to be copied."""
        raw = self.stream.attribute(socket.socket)
        if not self.proxy.settings.copy_tos or raw is None or find(request.options, Tos):
            return request
        tos = received_tos(raw)
        if tos is None:
            return request
        return dataclasses.replace(request, options=(*request.options, Tos(leg=Leg.BOTH, tos=tos)))

    def _report_refused_user(self, user: str, reason: str) -> None:
        if UserRefused in self.proxy.events.wanted:
            source = self.source or "unix"
            self.proxy.events.observe(
                UserRefused(id=self.id, source=source, inbound=self.inbound, user=user, reason=reason)
            )

    def _report_request(self, *, is_new: bool) -> None:
        """Report the request to observers, and its user if that is new."""
        events = self.proxy.events
        if is_new and UserAuthenticated in events.wanted:
            events.observe(UserAuthenticated(id=self.id, user=self.user))
        if RequestMade in events.wanted:
            events.observe(
                RequestMade(id=self.id, user=self.user, command=self.command, host=self.host, port=self.port)
            )

    def _note(self, request: ProxyRequest) -> None:
        """Keep what the record says of a request, not the request: its initial data may be long."""
        self.user = request.identity.name
        self.command = COMMAND_NAMES.get(request.command, str(request.command))
        self.host = request.host
        self.port = request.port


def _ending_for(error: OSError) -> Ending:
    match error:
        case CertificateRefused():
            return Ending.UNAUTHENTICATED
        case TlsFailed():
            return Ending.MALFORMED
        case _:
            return Ending.RESET
