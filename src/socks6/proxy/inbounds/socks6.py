"""The SOCKS 6 inbound: requests of the protocol itself.

A request is received and authenticated, by its credentials or its session, and then one of `COMMANDS` carries it out.
UDP ASSOCIATE is in `socks6_associate`.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import field, replace
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import AuthenticationBusy, OperationFailed, TtlExpired
from socks6.message.address import UNSPECIFIED, UNSPECIFIED_IPV4
from socks6.message.addressed import encode_addressed
from socks6.message.codes import AuthenticationType, Command, Leg, Method, ReplyCode
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    OptionTable,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    StackOption,
    StreamId,
    Ttl,
    find,
    find_all,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request, read_plain_connect, read_session_connect
from socks6.net.encryption.contexts import ALPN
from socks6.net.machine_io import DeferredWrite, flush, next_event
from socks6.net.scopes import on_failure
from socks6.net.stackopts.received import syn_brought_data
from socks6.net.stream import AcceptedPeer, Endpoint
from socks6.net.wire_log import wire_trace
from socks6.policy.identity import Identity
from socks6.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    CredentialsOffered,
    Ended,
    RequestReceived,
    ServerEvent,
    Violation,
    ViolationKind,
)
from socks6.protocol.methods.base import ServerMethod, check_methods
from socks6.protocol.methods.userpass import UsernamePasswordServer
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import (
    ClientDisconnected,
    PlainAdmission,
    PlainForm,
    PlainInbound,
    Tunnel,
    accept_peer,
    at_place,
    run_while_connected,
    stay_silent,
)
from socks6.proxy.inbounds.socks6_associate import associate
from socks6.proxy.multiplexed import QuicConnectionContext
from socks6.proxy.sessions import SessionMembership
from socks6.telemetry import Ending

METHODS: Final[Mapping[int, Callable[[], ServerMethod]]] = {
    Method.USERNAME_PASSWORD: UsernamePasswordServer,
}
DATA_IN_SYN: Final = "its first bytes came within the SYN, without a token: the network may double them"
ENDINGS: Final[Mapping[ViolationKind, Ending]] = {
    ViolationKind.VERSION: Ending.MALFORMED,
    ViolationKind.MALFORMED: Ending.MALFORMED,
    ViolationKind.FRAGMENTED: Ending.MALFORMED,
    ViolationKind.DEADLINE: Ending.NO_REQUEST,
}
SESSION_KINDS: Final = frozenset(
    (SessionRequest.kind, SessionId.kind)
)  # all others count within a session only
CREDENTIALS: Final = (AuthenticationData, AuthenticationMethodAdvertisement)
NO_ADDRESS: Final = UNSPECIFIED_IPV4
CONNECT: Final = Command.CONNECT.value  # as a plain number: to hash the member of an Enum is a Python call


PLAIN_FORM: Final = PlainForm(
    read_connect=read_plain_connect,
    admitted=AuthenticationReply(type=AuthenticationType.SUCCEEDED).encode(),
    success=lambda host, port: encode_addressed(ReplyCode.SUCCEEDED, host, port, (), DRAFT_12),
    failure=lambda failure, _: OperationReply(code=failure.code).encode(),
)


@dataclass(slots=True, eq=False, kw_only=True)
class Socks6Inbound(PlainInbound):
    """Serves SOCKS 6, and those of its older dialects that are enabled.

    `methods` are the authentication methods that it offers, each with a factory that makes one for a client. Unless
    `tfo_without_token`, what the network may double is refused (§ TCP Fast Open on the Client-Proxy Leg).
    """

    name = "socks6"
    alpn = (ALPN,)
    datagrams = True
    dialects: tuple[Dialect, ...] = (DRAFT_12,)
    option_table: OptionTable = STANDARD
    methods: Mapping[int, Callable[[], ServerMethod]] = field(default_factory=lambda: METHODS)
    quiet: bool = False
    ignore_fragmented: bool = False
    tfo_without_token: bool = True

    def __post_init__(self) -> None:
        check_methods(self.methods)  # when the proxy is configured, not when a client comes
        # without token it is to be known how its data came
        may_be_plain = DRAFT_12 in self.dialects and self.tfo_without_token
        knows_sessions = self.option_table is STANDARD
        form = replace(
            PLAIN_FORM, admit=self.admit, admit_by_session=_admit_by_session if knows_sessions else None
        )
        self.plain_forms = {DRAFT_12.version: form} if may_be_plain else {}

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        return await self.admit(connection, initial_data).serve()

    def admit(self, connection: ClientConnection, data: bytes) -> "_Admission":
        """Return the admission of a request that begins with `data`."""
        conversation = ServerConversation(
            methods=self.methods,
            authentication_required=connection.authentication_required,
            deadline=connection.deadline,
            dialects=self.dialects,
            table=self.option_table,
            quiet=self.quiet,
            whole_request=self.ignore_fragmented,
            trace=wire_trace(connection.source),
            inbound=connection.inbound,
        )
        if data:
            conversation.receive_data(data, connection.proxy.loop.time())
        return _Admission(self, conversation, connection)

    async def go_on(self, admission: "_Admission") -> Tunnel | None:
        """Admit a request and carry it out; see `serve`."""
        conversation, connection = admission.conversation, admission.connection
        request = await admission.receive()
        if request is not None and not admission.token_spent:
            await connection.wait_confirmed()
        tunnel = None if request is None else await self._carry_out(request, admission)
        if tunnel is None:
            await flush(conversation, connection.stream)
        if self.quiet and not conversation.authenticated:
            await stay_silent(connection.stream, connection.deadline)
        return tunnel

    async def _carry_out(self, request: ProxyRequest, admission: "_Admission") -> Tunnel | None:
        """Carry out the command; None when there is nothing to relay."""
        operation = Operation(admission.conversation, admission.connection, request)
        if not (self.tfo_without_token or admission.token_spent) and _may_come_twice(operation):
            operation.refuse(ReplyCode.NOT_ALLOWED, DATA_IN_SYN)
            return None
        command = COMMANDS.get(request.command)
        if command is None:
            reason = f"command {request.command} is not supported"
            operation.refuse(ReplyCode.COMMAND_NOT_SUPPORTED, reason)
            return None
        return await command(operation)


# Who the client is.


def _admit_by_session(
    connection: ClientConnection, data: bytes, *, names: bool = False
) -> tuple[ProxyRequest, PlainForm] | None:
    """Admit a CONNECT whose only option is the id of its session, as `_Admission` does with a conversation."""
    read = read_session_connect(data, names=names)
    if read is None:
        return None
    host, port, size, session_id = read
    membership = connection.membership() if port and host not in UNSPECIFIED else None
    if membership is None or membership.session is not None:
        return None
    session = membership.find(session_id)
    if session is None:  # which a conversation answers
        return None
    membership.join(session)
    window = session.window
    return ProxyRequest(
        command=CONNECT,
        host=host,
        port=port,
        identity=session.identity,
        session=connection.admitted(session.identity, session),
        initial_data=data[size:],
    ), _form_within_session(0 if window is None else window.base, 0 if window is None else window.size)


@functools.lru_cache(maxsize=1024)
def _form_within_session(base: int, size: int) -> PlainForm:
    """Return how a plain CONNECT within a session is answered; `base` and `size` are those of its window of tokens, if any."""
    window = (IdempotenceWindow(base=base, size=size),) if size else ()
    reply = AuthenticationReply(type=AuthenticationType.SUCCEEDED, options=(SessionOk(), *window))
    return replace(PLAIN_FORM, admitted=reply.encode())


class _Admission(PlainAdmission):
    """Receives one request and authenticates it."""

    def __init__(
        self, inbound: Socks6Inbound, conversation: ServerConversation, connection: ClientConnection
    ) -> None:
        self._inbound = inbound
        self.conversation: Final = conversation
        self.connection: Final = connection
        self._negotiation: SessionNegotiation | None = None
        self._request: Request | None = None
        self._identity = connection.default_identity
        self._admitted: ProxyRequest | None = None
        self._event: ServerEvent | None = None  # that takes waiting, or refuses the client

    @property
    def token_spent(self) -> bool:
        """Whether a token was spent for the request: a replay would be refused."""
        return self._negotiation is not None and self._negotiation.membership.token_spent

    @override
    async def serve(self) -> Tunnel | None:
        return await self._inbound.go_on(self)

    @override
    def form(self) -> PlainForm:
        conversation = self.conversation

        def answer(reply: OperationReply) -> bytes:
            conversation.send_reply(reply)
            return conversation.data_to_send()

        return PlainForm(
            read_connect=read_plain_connect,
            admitted=conversation.data_to_send(),
            success=lambda host, port: answer(OperationReply(code=ReplyCode.SUCCEEDED, host=host, port=port)),
            failure=lambda failure, _: answer(OperationReply(code=failure.code)),
        )

    @override
    def admit_nowait(self) -> ProxyRequest | None:
        connection = self.connection
        while self._admitted is None:
            event = self._event = self._event or self.conversation.next_event()
            match event:
                # no replay of an early request may end a session
                case RequestReceived() if connection.shared is None or not find(
                    event.request.options, SessionTeardown
                ):
                    self._begin(event.request)
                case CredentialsOffered() if known := connection.known_identity(event.credentials):
                    self._verified(known)
                case Authenticated() if self._request is not None:
                    self._admitted = self._settle(self._request, self._identity)
                case _:
                    return None
            self._event = None
        return self._admitted

    async def receive(self) -> ProxyRequest | None:
        """Return the request once it was admitted; None if the client was refused."""
        connection = self.connection
        while (admitted := self.admit_nowait()) is None:
            event, self._event = self._event, None
            if event is None:
                event = await next_event(self.conversation, connection.stream)
                if event is not None:
                    self._event = event
                    continue
            match event:
                case RequestReceived():
                    await connection.wait_confirmed()
                    self._begin(event.request)
                case CredentialsOffered():
                    try:
                        self._verified(await connection.verify(event.credentials))
                    except AuthenticationBusy as busy:
                        self._give_up(busy)
                        connection.refused(Ending.FAILED, str(busy))
                        return None
                case _:
                    self._record_refusal(event)
                    return None
        return admitted

    def _verified(self, identity: Identity | None) -> None:
        self.conversation.verified(accepted=identity is not None)
        self._identity = identity or self.connection.default_identity

    def _give_up(self, busy: AuthenticationBusy) -> None:
        """Answer a client whose credentials cannot be checked."""
        conversation = self.conversation
        if not busy.is_fault or self.connection.proxy.settings.quiet:
            conversation.refuse(reason=str(busy))
            return
        # a refusal would blame the password: nothing is carried out, and reply 01 says that it is the proxy
        conversation.verified(accepted=True)
        conversation.next_event()
        conversation.send_authenticated()
        conversation.send_reply(OperationReply(code=ReplyCode.GENERAL_FAILURE))

    def _begin(self, request: Request) -> None:
        """Admit a request on the strength of its session, or judge its credentials."""
        self._request = request
        self._negotiation = SessionNegotiation.of(request.options, self.connection)
        if self._negotiation is not None:
            self._negotiation.begin(self.conversation)
        elif self.connection.session is not None:
            self.conversation.accept_session()
        else:
            self.conversation.authenticate()

    def _settle(self, request: Request, identity: Identity) -> ProxyRequest | None:
        """Answer a request whose client is known; None if it is refused all the same."""
        conversation, connection, negotiation = self.conversation, self.connection, self._negotiation
        if negotiation is None:
            identity = connection.session.identity if connection.session else identity
            conversation.send_authenticated()
        else:
            identity = negotiation.settle(conversation, identity)
        if conversation.state is not ServerState.OPERATING:
            return None
        stream_id = find(request.options, StreamId)
        return ProxyRequest(
            command=request.command,
            host=request.host,
            port=request.port,
            identity=identity,
            session=connection.admitted(identity, negotiation.membership.session if negotiation else None),
            options=tuple(find_all(request.options, StackOption)),
            stream_id=None if stream_id is None else stream_id.id,
            initial_data=conversation.unread(),
        )

    def _record_refusal(self, event: ServerEvent | None) -> None:
        """Record why there is no request to carry out."""
        match event:
            case AuthenticationRefused():
                ending = self._negotiation.refusal if self._negotiation else Ending.UNAUTHENTICATED
                self.connection.refused(ending, "" if ending is Ending.DONE else event.reason)
            case Violation():
                self.connection.refused(ENDINGS[event.kind], event.reason)
            case Ended():
                self.connection.refused(Ending.NO_REQUEST, event.reason)
            case _:
                raise AssertionError(f"unexpected {event}")


class SessionNegotiation:
    """The session and idempotence options of one request, and the answer to them (§ Session options).

    Nothing here waits: between a token's being found good and its being spent no other request gets a turn, and it is
    spent before the request is honoured (§ Spending a token).

    `refusal` is the ending of a request that is refused: a client that comes with the id of a session that
    is over, or with a token that is spent, or that tears down its session and wants nothing else, is not
    guessing passwords.
    """

    __slots__ = ("_by_id", "_known", "_options", "membership", "refusal")

    def __init__(self, options: tuple[Option, ...], membership: SessionMembership) -> None:
        self._options = options
        self.membership = membership
        self._by_id = False
        self._known: Identity | None = None  # the identity of all of the connection
        self.refusal = Ending.UNAUTHENTICATED

    @classmethod
    def of(cls, options: tuple[Option, ...], connection: ClientConnection) -> "SessionNegotiation | None":
        """Return the negotiation that a request calls for; None if it has nothing to do with sessions."""
        if connection.session is None and not any(option.kind in SESSION_KINDS for option in options):
            return None
        membership = connection.membership()
        return None if membership is None else cls(options, membership)

    def begin(self, conversation: ServerConversation) -> None:
        """Admit the request on the strength of its session, or judge its own credentials, or refuse it."""
        named = find(self._options, SessionId)
        if self.membership.session is not None:
            self._known = self.membership.session.identity
            if named is not None and find(self._options, SessionTeardown):
                self.membership.tear_down_by_id(named.id)
            elif named is not None:  # it need not be named, but if it is, rightly, that is answered
                self._by_id = self.membership.find(named.id) is self.membership.session
            conversation.accept_session()
            return
        if named is None:
            conversation.authenticate()
            return
        session = self.membership.find(named.id)
        if session is None:
            self.refusal = Ending.REFUSED
            conversation.refuse((SessionInvalid(),), reason="no such session")
        elif find(self._options, SessionTeardown):
            self.membership.tear_down(session)  # § Tearing down the session: the request is part of none
            if not any(isinstance(option, CREDENTIALS) for option in self._options):
                self.refusal = Ending.DONE
            conversation.authenticate(known=True)
        else:
            self._by_id = True
            self.membership.join(session)
            conversation.accept_session()

    def settle(self, conversation: ServerConversation, identity: Identity) -> Identity:
        """Answer a request that was admitted, or refuse it for its token; return its identity."""
        identity = self._known or identity
        new_id = self._open(identity)
        session = self.membership.session
        if session is None:
            conversation.send_authenticated()
            return identity
        answer: list[Option] = [SessionOk()] if self._by_id else []
        rejected = _spends(self._options) and not self.membership.spend(_token(self._options))
        if rejected and new_id:
            self.membership.abandon()
        else:
            if asked := find(self._options, IdempotenceRequest):
                session.grant(min(asked.size, self.membership.settings.window))
            answer += [session.window.option()] if session.window else []
        if rejected:
            self.refusal = Ending.REFUSED
            conversation.refuse((*answer, IdempotenceRejected()), reason="the token cannot be spent")
        else:
            answer += [IdempotenceAccepted()] if _spends(self._options) else []
            conversation.send_authenticated((*answer, *new_id), with_success=new_id)
        return session.identity

    def _open(self, identity: Identity) -> tuple[SessionId, ...]:
        """Open a session if the request asks for one and belongs to none; return its id."""
        if self.membership.session is not None or find(self._options, SessionRequest) is None:
            return ()
        new_id = self.membership.open(identity)
        return () if new_id is None else (SessionId(id=new_id),)


def _spends(options: Iterable[Option]) -> bool:
    """Return whether a token is to be spent, be it one that cannot be read: that must not pass as none."""
    kind = IdempotenceExpenditure.kind
    return any(option.kind == kind for option in options)


def _token(options: tuple[Option, ...]) -> int | None:
    expenditure = find(options, IdempotenceExpenditure)
    return None if expenditure is None else expenditure.token


# What it asks for.


@dataclass(frozen=True, slots=True)
class Operation:
    """A request that was admitted: its Authentication Reply is queued, and its Operation Reply is due."""

    conversation: ServerConversation
    connection: ClientConnection
    request: ProxyRequest

    def refuse(self, code: int, reason: str) -> None:
        """Record a refusal and queue its reply."""
        self.connection.answered(self.request, code, reason)
        self.conversation.send_reply(OperationReply(code=code))


def _may_come_twice(operation: Operation) -> bool:
    """Return whether data of the application came within the SYN, or so soon after it that it looks the same."""
    raw, request = operation.connection.stream.raw_socket, operation.request
    brings_data = request.command == Command.CONNECT and bool(request.initial_data)
    return brings_data and raw is not None and syn_brought_data(raw)


async def _noop(operation: Operation) -> None:
    """Answer: a NOOP always succeeds, whatever address it names (§ Requests)."""
    operation.connection.answered(operation.request, ReplyCode.SUCCEEDED)
    operation.conversation.send_reply(OperationReply(code=ReplyCode.SUCCEEDED))


async def _connect(operation: Operation) -> Tunnel | None:
    """Connect (§ Handling CONNECT); both replies leave together where that takes no time."""
    conversation, request = operation.conversation, operation.request
    answer = await DeferredWrite(conversation, operation.connection.stream).begin()
    try:
        remote = await operation.connection.connect(request)
    except OperationFailed as failure:
        conversation.send_reply(_refusal(failure, request))
        await answer.flush()
        return None
    with on_failure(remote.stream.abort):
        conversation.send_reply(_success(remote.bound, remote.options))
        await answer.flush()
    return Tunnel(remote=remote.stream, initial_data=request.initial_data[remote.first_data_sent :])


def _refusal(failure: OperationFailed, request: ProxyRequest) -> OperationReply:
    """Return the reply for a failure: no address, but for the router that a client's TTL asked about.

    An extension of ours (docs/decisions/0008): it lets a client trace the route from the proxy.
    """
    match failure:
        case TtlExpired(reporter=str() as router) if any(
            option.leg & Leg.PROXY_REMOTE for option in find_all(request.options, Ttl)
        ):
            return OperationReply(code=failure.code, host=router)
        case _:
            return OperationReply(code=failure.code)


def _success(
    bound: Endpoint, options: tuple[StackOption, ...], stream_id: int | None = None
) -> OperationReply:
    answered: tuple[Option, ...] = options if stream_id is None else (*options, StreamId(id=stream_id))
    return OperationReply(
        code=ReplyCode.SUCCEEDED, host=bound.host or NO_ADDRESS, port=bound.port, options=answered
    )


async def _bind(operation: Operation) -> Tunnel | None:
    """Bind, answer, and wait for a peer; or keep the binding open for later requests' peers (§ Handling BIND)."""
    conversation, connection = operation.conversation, operation.connection
    answer = await DeferredWrite(conversation, connection.stream).begin()
    try:
        binding = await connection.bind(operation.request)
    except OperationFailed as failure:
        conversation.send_reply(OperationReply(code=failure.code))
        await answer.flush()
        return None
    try:
        if isinstance(binding, BacklogListener):
            await _keep_listening(operation, binding, answer)
            return None
        conversation.send_reply(_success(binding.bound, binding.options))
        await answer.flush()
        return await accept_peer(
            conversation,
            connection,
            binding,
            operation.request,
            succeed=lambda accepted: conversation.send_reply(_success(accepted.peer, accepted.options)),
            fail=lambda code: conversation.send_reply(OperationReply(code=code)),
        )
    finally:
        await binding.aclose()


async def _keep_listening(operation: Operation, listener: BacklogListener, answer: DeferredWrite) -> None:
    """Keep the binding as long as the client stays; what it sends here is dropped (§ Listen Backlog options)."""
    conversation, shared = operation.conversation, operation.connection.shared
    stream_id = operation.request.stream_id
    if shared is None:
        conversation.send_reply(_success(listener.bound, listener.options))
        await answer.flush()
        await _announce(operation, listener)
        return
    try:
        shared.claim_bind(stream_id)
    except OperationFailed as failure:
        operation.refuse(failure.code, failure.reason)
        await answer.flush()
        return
    try:
        conversation.send_reply(_success(listener.bound, listener.options, stream_id))
        await answer.flush()
        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(
                _push(shared, listener, conversation.dialect, stream_id), name="push peers"
            )
            await _announce(operation, listener)
            pushing.cancel()
    finally:
        shared.leave_bind(stream_id)


async def _push(
    shared: QuicConnectionContext, listener: BacklogListener, dialect: Dialect, stream_id: int | None
) -> None:
    """Give each peer a stream of its own, for as long as the connection lasts."""
    with contextlib.suppress(OSError):  # the connection is over, or the listener is: nothing else ends it
        while True:
            accepted = await listener.accept()
            reply = _success(accepted.peer, accepted.options, stream_id)
            await shared.push(accepted, reply.encode(dialect))


async def _announce(operation: Operation, listener: BacklogListener) -> None:
    """Run the listener, and announce its peers where they are to be announced, until the client leaves."""
    conversation, connection = operation.conversation, operation.connection

    async def announce(accepted: AcceptedPeer) -> None:
        conversation.send_announcement(_success(accepted.peer, accepted.options))
        try:
            await flush(conversation, connection.stream)
        except OSError as error:
            raise ClientDisconnected(str(error), broke=True) from error

    async def serve() -> None:
        announces = listener.announces or conversation.dialect.version == GO_212.version
        await listener.run(announce if announces else None)

    try:
        await run_while_connected(connection.stream, serve, lambda _: None)
    except ClientDisconnected as left:
        conversation.receive_eof(asyncio.get_running_loop().time())
        connection.refused(left.ending, str(left))
    except OperationFailed as failure:
        connection.failed(at_place(operation.request, listener), failure)
        conversation.send_reply(OperationReply(code=failure.code))


async def _associate(operation: Operation) -> None:
    """Open an association and serve it until the stream ends (§ Handling UDP ASSOCIATE)."""
    await associate(operation.conversation, operation.connection, operation.request)


# Each queues the Operation Reply, or sends it, and returns the tunnel to relay, or None when all is done.
COMMANDS: Final[Mapping[int, Callable[[Operation], Awaitable[Tunnel | None]]]] = {
    Command.NOOP: _noop,
    Command.CONNECT: _connect,
    Command.BIND: _bind,
    Command.UDP_ASSOCIATE: _associate,
}
