"""One client connection: what its inbound may ask of the proxy, and what the log will say."""

import asyncio
import dataclasses
import socket
from collections.abc import Callable
from typing import Final, Protocol

from socks6.errors import CertificateRefused, GeneralFailure, NotAllowed, OperationFailed, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.message.codes import Command, Leg, ReplyCode
from socks6.message.options import Tos, find
from socks6.net.accept import source_of
from socks6.net.encryption.contexts import ALPN
from socks6.net.shares import Shares
from socks6.net.stackopts.received import received_tos
from socks6.net.stream import (
    Binding,
    ByteStream,
    ConnectResult,
    Endpoint,
    Outbound,
)
from socks6.net.transports.tls import TlsStream
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator, Verifier, same_credentials
from socks6.proxy.authentication.verification import VerificationQueue
from socks6.proxy.commands.associate import associate
from socks6.proxy.commands.bind import bind
from socks6.proxy.commands.connect import connect
from socks6.proxy.inbounds.base import Call, Inbound, OpenedAssociation
from socks6.proxy.limits import Holder, HolderLimits, holder_of
from socks6.proxy.listeners import Listeners
from socks6.proxy.membership import SessionManager, SessionMembership
from socks6.proxy.multiplexed import MultiplexedVisit
from socks6.proxy.own_machine import OwnMachine
from socks6.proxy.presence import Presence, Watch
from socks6.proxy.sessions import Session
from socks6.proxy.settings import Settings
from socks6.relay.datagrams.association_relay import ClientPort, DatagramRelay
from socks6.relay.streams import RelayResult
from socks6.telemetry import ConnectionSummary, Ending

COMMAND_NAMES: Final = {command.value: command.name for command in Command}
INBOUNDS_WITH_ALPN: Final = ("socks6", "mixed")
ANSWER_SECONDS: Final = 0.5  # of the handshake's time, kept for telling a client that the proxy is busy


class Workplace(Protocol):
    """What a visit needs of the worker that serves it."""

    @property
    def authenticator(self) -> Authenticator:
        """Who knows the users, for who comes now."""

    @property
    def policy(self) -> Policy:
        """What they may reach."""

    @property
    def outbound(self) -> Outbound:
        """How it is reached."""

    @property
    def settings(self) -> Settings:
        """How clients are served."""

    @property
    def listeners(self) -> Listeners:
        """The places that are bound for clients."""

    @property
    def machine(self) -> OwnMachine:
        """What is this machine's own."""

    @property
    def verifications(self) -> VerificationQueue:
        """Whose credentials are checked when."""

    @property
    def session_manager(self) -> SessionManager | None:
        """The sessions, if there are any."""

    @property
    def datagrams(self) -> DatagramRelay:
        """What joins associations with their clients."""

    @property
    def associations(self) -> HolderLimits:
        """How many associations there may be."""

    @property
    def descriptors(self) -> Shares:
        """The connections for which there are descriptors, in shares by holder."""

    @property
    def seats(self) -> HolderLimits:
        """How many connections each user may have."""

    @property
    def presence(self) -> Presence:
        """What notices that clients are gone."""

    def request_arrived(self, visit: "Visit") -> None:
        """Stop the handshake's clock: the client has said what it wants."""


class Visit:
    """One client connection: what its inbound may ask (Engine, Authenticator), and what the log will say."""

    __slots__ = (
        "_asked",
        "_associated",
        "_cancellations",
        "_descriptor",
        "_gone",
        "_held",
        "_known",
        "_own_session",
        "_part",
        "_seat",
        "_shared",
        "_task",
        "_vouching",
        "bytes_down",
        "bytes_up",
        "certified",
        "client_port",
        "command",
        "deadline",
        "ending",
        "host",
        "id",
        "inbound",
        "peer",
        "port",
        "reason",
        "reply",
        "source",
        "started",
        "stream",
        "user",
        "worker",
    )  # fmt: skip

    def __init__(
        self,
        worker: Workplace,
        stream: ByteStream,
        inbound: Inbound,
        number: int,
        *,
        session: Session | None = None,
        client_port: ClientPort | None = None,
        shared: MultiplexedVisit | None = None,
        known: Callable[[ByteStream], None] | None = None,
    ) -> None:
        """`shared` is what it has in common with the visits of other streams of its connection.

        `known` is told of the stream when its client was let in.
        """
        self.worker = worker
        self._own_session = session
        self._shared = shared
        self.client_port = client_port if shared is None else shared.port
        self._known = known
        self._seat: Holder | None = None  # whose connection it counts as
        self._descriptor: Holder | None = None  # whose share of the descriptors it takes
        self._held: Holder | None = None  # of the association that the client has
        self._associated: Endpoint | None = None  # where its port is, if on this machine
        self._part: SessionMembership | None = None
        self._task = asyncio.current_task()  # which serves it
        self._cancellations = self._task.cancelling() if self._task else 0  # that are none of ours
        self._gone = False  # the client has reset its stream while something was done for it
        self._vouching = worker.authenticator  # who let the client in, or would
        self._asked = False  # whether a whole request was here
        self.stream = stream
        self.inbound = inbound
        self.id = number
        self.source = stream.remote.host
        self.started = asyncio.get_running_loop().time()
        self.deadline = self.started + worker.settings.handshake_timeout
        self.certified: Identity | None = None  # whom the client's certificate names
        self.user = ""
        self.command = ""
        self.host = ""
        self.port = 0
        self.peer = ""
        self.bytes_up = 0
        self.bytes_down = 0
        self.reply = -1
        self.ending = Ending.DONE
        self.reason = ""

    # What the inbound may ask.

    @property
    def users(self) -> Authenticator:
        """Return who knows the users now: a reload may change that at any time."""
        return self.worker.authenticator

    @property
    def policy(self) -> Policy:
        """Return what clients may reach now."""
        return self.worker.policy

    @property
    def authenticator(self) -> Verifier:
        """Return this visit: it asks the worker's authenticator and keeps count."""
        return self

    @property
    def required(self) -> bool:
        """Return whether clients must authenticate: not those who have a certificate that does."""
        return self.users.required and self.certified is None

    @property
    def stranger(self) -> Identity:
        """Return who a client without credentials is."""
        return self.certified or ANONYMOUS

    async def verify(self, credentials: Credentials) -> Identity | None:
        """Ask the authenticator, when it is this source's turn; a certificate says it all.

        Raises AuthenticationBusy where there is no answer in time, OSError when the client is gone.
        """
        if self.certified is not None:
            return self.certified
        deadline = self._verification_deadline()
        while True:
            users = self.users
            with self._watched():
                identity = await self.worker.verifications.verify(
                    lambda: self.users,
                    credentials,
                    source=self.source,
                    deadline=deadline,
                    present=lambda: not self.stream.was_reset(),
                )
            if users is self.users:  # else a reload came between
                break
        self._vouching = users
        if identity is None and self.worker.verifications.shuts_out(credentials, self.source):
            self.reason = "too many failed attempts"
        return identity

    def stands(self, identity: Identity) -> bool:
        """Return whether those who know the users now say of a client what those did who let it in."""
        return self.certified is not None or same_credentials(self.users, self._vouching, identity)

    def _verification_deadline(self) -> float:
        """Return by when credentials have to be checked so that the answer can still be sent."""
        patience = self.worker.settings.handshake_timeout
        ahead = min(ANSWER_SECONDS, patience / 10)
        begun = asyncio.get_running_loop().time() if self._asked else self.started
        return begun + patience - ahead

    @property
    def session(self) -> Session | None:
        """Return what every request belongs to without naming it."""
        return self._own_session if self._shared is None else self._shared.session

    @property
    def company(self) -> MultiplexedVisit | None:
        """Return what the streams of the client's connection have in common."""
        return self._shared

    def admitted(self, identity: Identity, session: Session | None) -> Session | None:
        """Have a connection of many streams know who it is from."""
        if session is not None or (self._shared is not None and self._shared.session is not None):
            self._vouching = self.users  # a reload ends the sessions of those who do not stand any more
        if self._shared is None or not self.stands(identity):
            return session
        return self._shared.admitted(identity, session)

    async def wait_handshake_confirmed(self) -> None:
        """Wait until the client has proven to be there, where what it sent may be a replay. Raises OSError."""
        if self._shared is not None:
            await self._shared.connection.wait_handshake_confirmed()

    def participate(self) -> SessionMembership | None:
        """Return this connection's part in sessions, made when it is first asked for."""
        if self._part is None and self.worker.session_manager is not None:
            self._part = SessionMembership(
                self.worker.session_manager,
                self.stream,
                self._vouching,
                self.session,
                certified=self.certified,
            )
        return self._part

    async def connect(self, call: Call) -> ConnectResult:
        """Judge and carry out a CONNECT. Raises OperationFailed."""
        self._begin(call)
        try:
            self._check_standing(call)
            self._take_seat(call.identity)
            self._take_descriptor(call.identity)
            with self._watched():
                connection = await connect(
                    self._marked(call),
                    policy=self.policy,
                    outbound=self.worker.outbound,
                    client=self.stream.attribute(socket.socket),
                    holder=holder_of(call.identity, self.source),
                )
        except OperationFailed as failure:
            self.answered(call, failure.code, failure.reason)
            raise
        self.reply = 0
        self.bytes_up += connection.first_data_sent
        self.ending, self.reason = Ending.DONE, ""  # whatever befell an earlier call of the same client
        return connection

    @property
    def datagrams(self) -> DatagramRelay:
        """Return what joins associations with their clients."""
        return self.worker.datagrams

    async def associate(self, call: Call) -> OpenedAssociation:
        """Judge and carry out an UDP ASSOCIATE, within the limits. Raises OperationFailed."""
        self._begin(call)
        try:
            self._check_standing(call)
            self._take_seat(call.identity)
            self._held = self.worker.associations.enter(call.identity, self.source)
            with self._watched():
                association = await associate(
                    self._marked(call),
                    policy=self.policy,
                    outbound=self.worker.outbound,
                    client=self.stream,
                    advertised=self.worker.settings.bind.advertise,
                    owner=call.session or (call.identity.name, self.source),
                    holder=holder_of(call.identity, self.source),
                )
        except OperationFailed as failure:
            self.answered(call, failure.code, failure.reason)
            raise
        if self.worker.outbound.resolves:
            self._associated = association.channel.bound
            self.worker.machine.bound.add(self._associated, udp=True)
        self.reply = 0
        self.host, self.port = association.bound
        return association

    async def bind(self, call: Call) -> Binding:
        """Judge and carry out a BIND. Raises OperationFailed."""
        self._begin(call)
        try:
            self._check_standing(call)
            self._take_seat(call.identity)
            with self._watched():
                binding = await bind(
                    self._marked(call),
                    policy=self.policy,
                    outbound=self.worker.outbound,
                    client=self.stream,
                    listeners=self.worker.listeners,
                    settings=self.worker.settings.bind,
                )
        except OperationFailed as failure:
            self.answered(call, failure.code, failure.reason)
            raise
        self.reply = 0
        self.host, self.port = binding.bound
        return binding

    def peer_came(self, peer: Endpoint) -> None:
        """Note who connected to the place that was bound."""
        self.peer = f"[{peer.host}]:{peer.port}" if ":" in peer.host else f"{peer.host}:{peer.port}"

    def was_pushed(self, peer: Endpoint) -> None:
        """Note that the stream is for a peer of an earlier BIND."""
        self.command = Command.BIND.name
        self.reply = 0
        self.user = self.session.identity.name if self.session else ""
        self.peer_came(peer)

    def answered(self, call: Call, code: int, reason: str = "") -> None:
        """Note a call that has its answer."""
        self._note(call)
        self.reply = int(code)
        self.reason = reason
        if code:
            self.ending = Ending.REFUSED if code == ReplyCode.NOT_ALLOWED else Ending.FAILED

    def carried(self, bytes_up: int, bytes_down: int) -> None:
        """Count bytes of the stream."""
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down

    def refused(self, ending: Ending, reason: str) -> None:
        """Note why the client was sent away without a call."""
        self.ending = ending
        self.reason = self.reason or reason

    # What befalls it.

    def was_let_in(self) -> None:
        """Have a client that was let in give way to no stranger."""
        known, self._known = self._known, None
        if known is not None:
            known(self.stream)

    async def secure(self, stream: TlsStream) -> None:
        """Shake hands, and see who has come if certificates tell. Raises TlsFailed, OSError."""
        await stream.handshake(quiet=self.worker.settings.quiet)
        session = stream.session
        if self.inbound.name in INBOUNDS_WITH_ALPN and session.refused_protocols:
            # the draft knows no ALPN, so a client need not say; but one that means another service is led astray
            raise TlsFailed(
                f"the client does not speak {ALPN}, but {', '.join(session.refused_protocols)} (ALPN)"
            )
        if session.wants_certificate:
            if not session.certified_user:
                raise CertificateRefused("the client's certificate names no user")
            self.certified = Identity(name=session.certified_user)

    def expire(self) -> None:
        """End a handshake that takes too long."""
        self.ending = Ending.NO_REQUEST
        self.reason = "the handshake took too long"
        self.stream.abort()

    def was_left(self) -> bool:
        """Tell, within the cancelled task, whether that is because the client is gone, and note it."""
        left = self._gone and self._task is not None and self._task.uncancel() <= self._cancellations
        if left and self.ending is Ending.DONE:  # else it was we who ended it
            self.ending, self.reason = Ending.RESET, "the client was gone before it had its answer"
        return left

    def was_torn_down(self) -> bool:
        """Note, if it was so, that the visit was cancelled together with its session; return whether it was."""
        torn_down = self._part is not None and self._part.was_closed()
        if torn_down:
            self.ending = Ending.STOPPED
            self.reason = "its session was torn down"
        return torn_down

    def leave(self) -> None:
        """Belong to no session any more, and hold nothing. Idempotent."""
        self._leave_seat()
        if self._descriptor is not None:
            self.worker.descriptors.give_back(self._descriptor)
            self._descriptor = None
        if self._held is not None:
            self.worker.associations.leave(self._held)
            self._held = None
        if self._associated is not None:
            self.worker.machine.bound.remove(self._associated, udp=True)
            self._associated = None
        if self._part is not None:
            self._part.leave()

    def broke(self, error: OSError) -> None:
        """Note that the client's stream broke during the handshake, unless it was we who ended it."""
        if self.ending is Ending.DONE:
            self.ending = _ending_for(error)
            self.reason = str(error)

    def relayed(self, result: RelayResult) -> None:
        """Note how the relay went."""
        self.carried(result.bytes_up, result.bytes_down)
        self.ending = result.ending
        self.reason = result.reason

    def summary(self) -> ConnectionSummary:
        """Return what the log will say."""
        return ConnectionSummary(
            id=self.id,
            inbound=self.inbound.name,
            source=self.source or "unix",
            user=self.user or (self._part.user if self._part else ""),
            command=self.command,
            host=without_trailing_dot(self.host),
            port=self.port,
            peer=self.peer,
            ending=self.ending,
            reply=self.reply,
            reason=self.reason,
            seconds=asyncio.get_running_loop().time() - self.started,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            session=self._part.note if self._part else "",
            token=self._part.token if self._part else "",
        )

    def _take_seat(self, identity: Identity) -> None:
        """Count as a connection of a user, whose clients have names. Raises GeneralFailure when it has too many."""
        if self._seat is not None and self._seat[0] == identity.name:
            return
        self._leave_seat()
        if identity.name:
            self._seat = self.worker.seats.enter(identity, self.source)

    def _take_descriptor(self, identity: Identity) -> None:
        """Take of the user's, or source's, share of the descriptors. Raises GeneralFailure when there is none left.

        This machine's own nameless clients have all that there are, as with connections.
        """
        if self._descriptor is not None or not (identity.name or source_of(self.source)):
            return
        holder = holder_of(identity, self.source)
        if not self.worker.descriptors.may_take(holder):
            raise GeneralFailure(f"{holder[0] or holder[1]} has its share of the descriptors that there are")
        self.worker.descriptors.take(holder)
        self._descriptor = holder

    def _leave_seat(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            self.worker.seats.leave(seat)

    def _watched(self) -> Watch:
        """Return a context in which the visit's task is cancelled should the client be gone."""
        return self.worker.presence.watch(self.id, self.stream, self._client_gone)

    def _client_gone(self) -> None:
        if self._task is not None and not self._gone:
            self._gone = True
            self._task.cancel()

    def _marked(self, call: Call) -> Call:
        """Return the call with the TOS that the client itself sends with, if that is to be copied."""
        raw = self.stream.attribute(socket.socket)
        if not self.worker.settings.copy_tos or raw is None or find(call.options, Tos):
            return call
        tos = received_tos(raw)
        if tos is None:
            return call
        return dataclasses.replace(call, options=(*call.options, Tos(leg=Leg.BOTH, tos=tos)))

    def _begin(self, call: Call) -> None:
        """Note that the client has said what it wants."""
        self._asked = True
        self.worker.request_arrived(self)
        self._note(call)

    def _check_standing(self, call: Call) -> None:
        """Raise NotAllowed if a reload came since the client was let in, and it would not be now."""
        if not self.stands(call.identity):
            raise NotAllowed("the user is gone, or has another password, since a reload")

    def _note(self, call: Call) -> None:
        """Keep what the log will say of a call, not the call: its first data may be long."""
        self.user = call.identity.name
        self.command = COMMAND_NAMES.get(call.command, str(call.command))
        self.host = call.host
        self.port = call.port


def _ending_for(error: OSError) -> Ending:
    match error:
        case CertificateRefused():
            return Ending.UNAUTHENTICATED
        case TlsFailed():
            return Ending.MALFORMED
        case _:
            return Ending.RESET
