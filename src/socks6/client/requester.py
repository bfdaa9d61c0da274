"""Makes a client's requests: each on a stream of its own to the proxy, within the session where there is one.

How a request is made: `Client` limits its time, `Requester.request` repeats what the proxy refused for its session or its
token, `_attempt` what was lost with its connection, `_exchange` writes the request and reads the replies. `ClientSession`
decides about credentials, session and token; `ProxyConnector` opens the stream.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, replace
from typing import Final, NamedTuple, Protocol, TypeAlias

from socks6.client.connector import ProxyConnector
from socks6.client.session import ClientSession, RefusalReason, RequestSessionState, SessionLease
from socks6.dataclass import dataclass
from socks6.errors import (
    AuthenticationFailed,
    DecodeError,
    OperationFailed,
    ProxyUnreachable,
    RemoteProtocolError,
    Socks6Error,
    TlsFailed,
    TokenRejected,
    TtlExpired,
    VersionMismatch,
    operation_failure,
)
from socks6.message.address import is_literal, is_unspecified
from socks6.message.addressed import encode_addressed
from socks6.message.codes import AuthenticationType, Command, Leg, ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import (
    AuthenticationMethodSelection,
    IdempotenceRejected,
    ListenBacklog,
    Option,
    OptionTable,
    SessionInvalid,
    StackOption,
    StreamId,
    find,
    find_all,
)
from socks6.message.replies import PLAIN_REPLY_BYTES, AuthenticationReply, OperationReply, read_plain_reply
from socks6.message.requests import MAX_INITIAL_DATA, Request
from socks6.net.machine_io import feed, next_event
from socks6.net.stream import ByteStream, Endpoint
from socks6.net.transports.base import NotAnswered, StreamRequest
from socks6.net.wire_log import wire_trace
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import (
    AuthenticationAccepted,
    AuthenticationRefused,
    ClientEvent,
    Ended,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.machine import Machine
from socks6.protocol.methods.base import ClientMethod

TEARDOWN_SECONDS: Final = 2.0
MAYBE_CARRIED_OUT: Final = (
    "the proxy rejected the request's token: the network may have doubled the request, and the other copy may"
    " have been carried out"
)

BROKE: Final = "the connection to the proxy broke"
CONNECT: Final = Command.CONNECT.value  # as plain numbers: to hash the member of an Enum is a Python call
SUCCEEDED: Final = ReplyCode.SUCCEEDED.value
ACCEPTED: Final = AuthenticationReply(type=AuthenticationType.SUCCEEDED).encode()
LEAST_ANSWER_BYTES: Final = len(ACCEPTED) + PLAIN_REPLY_BYTES  # an answer that lets a request in has as many
MAX_PLAIN_ACCEPTANCE_BYTES: Final = 64  # with the options of a session and its window it has 20
NO_PASSWORD: Final = "the proxy wants a user name and a password; the URL has none"  # noqa: S105 - no password

MethodFactory: TypeAlias = Callable[[], ClientMethod]


class _PlainAnswer(NamedTuple):
    """The replies to a CONNECT that needed no conversation."""

    acceptance: AuthenticationReply
    reply: OperationReply


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedRequest:
    """A request that the proxy has granted, with the state of its conversation.

    `lease` keeps its session; the owner of the stream releases it when the stream is closed.
    """

    stream: ByteStream
    reply: OperationReply
    begun: Machine[ClientEvent] | None = (
        None  # None for a plain CONNECT: the stream is all that is left of it
    )
    lease: SessionLease | None = None

    @property
    def conversation(self) -> Machine[ClientEvent]:
        """The conversation, which goes on for every request but a CONNECT."""
        assert self.begun is not None  # noqa: S101
        return self.begun

    @property
    def bound(self) -> Endpoint:
        """The endpoint that the proxy's reply names."""
        return Endpoint(self.reply.host, self.reply.port)

    @property
    def options(self) -> tuple[StackOption, ...]:
        """The stack options that are in force, as the reply reports them."""
        return tuple(find_all(self.reply.options, StackOption)) if self.reply.options else ()

    async def aclose(self) -> None:
        """Close the stream, and release the session. Idempotent; when cancelled, it aborts."""
        try:
            await self.stream.aclose()
        finally:
            self.abort()

    def abort(self) -> None:
        """Abort the stream, and release the session. Idempotent."""
        self.stream.abort()
        if self.lease is not None:
            self.lease.release()


class RequestMaker(Protocol):
    """Makes requests of one proxy, whatever that speaks."""

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """See `Requester.request`."""

    async def open_session(self) -> bool:
        """See `Requester.open_session`."""

    async def aclose(self) -> None:
        """Close what is kept for the next requests. Raises nothing."""


class RequestFunction(Protocol):
    """Makes a request of the proxy on a stream of its own; see `Requester.request`."""

    def __call__(
        self, request: Request, *, needs_session: bool = False, within: GrantedRequest | None = None
    ) -> Awaitable[GrantedRequest]:
        """Return it granted. Raises Socks6Error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RefusedRequest:
    """A request that the proxy did not carry out."""

    reason: RefusalReason
    error: Socks6Error
    maybe_doubled: bool  # the refused request may have been the second copy of it


@dataclass(frozen=True, slots=True, eq=False)
class Requester:
    """Makes requests of one proxy. Any number may be under way at the same time."""

    connector: ProxyConnector
    _: KW_ONLY
    methods: Sequence[MethodFactory]
    dialect: Dialect
    option_table: OptionTable
    session: ClientSession

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        ask_session: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """Make a request on a stream of its own; return it once the proxy has granted it.

        A request that the proxy refuses for its session or token was not carried out, and is repeated once for
        either reason; but where the network may have doubled a request whose token is rejected, this raises
        TokenRejected. `ask_session` asks for a session also soon after the proxy gave none; `needs_session` asks for
        one though the client has none; `within` puts the request into the session of another one, which is open.

        Raises AuthenticationFailed, TokenRejected, OperationFailed, VersionMismatch, RemoteProtocolError,
        ProxyUnreachable; ValueError for a request that cannot be written.
        """
        if initial_data:
            self._check_initial_data(initial_data)
        if idempotent:
            await self._fetch_tokens()
        repeated: set[RefusalReason] = set()
        anew = False
        while True:
            if within is not None:
                state = self.session.join(within.lease, _now())
            else:
                state = self._begin(
                    spend=idempotent, anew=anew, ask=ask_session and not anew, need=needs_session
                )
            answer = await self._attempt(request, initial_data, state, idempotent)
            if isinstance(answer, GrantedRequest):
                return answer
            if answer.reason is RefusalReason.TOKEN and answer.maybe_doubled:
                raise TokenRejected(MAYBE_CARRIED_OUT)
            if within is not None or answer.reason in {RefusalReason.CREDENTIALS, *repeated}:
                raise answer.error
            repeated.add(answer.reason)
            anew = answer.reason is RefusalReason.SESSION

    def _begin(self, *, spend: bool, anew: bool, ask: bool, need: bool) -> RequestSessionState:
        """See `ClientSession.begin`."""
        session = self.session
        if not (need or session.enabled or session.is_open):
            return RequestSessionState()
        return session.begin(_now(), spend=spend, anew=anew, ask=ask, need=need)

    async def open_session(self) -> bool:
        """Open a session, and fetch tokens, with a NOOP; return whether there is a session. Raises as `request`."""
        session = self.session
        while session.is_opening and not session.is_open:
            opened = asyncio.Event()
            session.call_when_opened(opened.set)
            await opened.wait()
        if session.enabled and not session.is_open:
            await (await self.request(_noop_request(), ask_session=True)).aclose()
        return session.is_open

    async def aclose(self) -> None:
        """Tear the session down unless that would cut streams off (§ Session teardown), and close. Raises nothing.

        When cancelled, it closes without waiting; the session then ends by the proxy's own time-out.
        """
        try:
            await self._tear_down()
            await self.connector.aclose()
        finally:
            self.connector.abandon()

    async def _tear_down(self) -> None:
        options = self.session.leave(_now())
        if not options:
            return
        conversation = ClientConversation(
            _noop_request(options), dialect=self.dialect, trace=wire_trace(self.connector.url)
        )
        with contextlib.suppress(OSError, Socks6Error):
            async with asyncio.timeout(TEARDOWN_SECONDS):
                stream = await self.connector.connect(StreamRequest(Command.NOOP))
                try:
                    await self._receive_verdict(
                        conversation, stream
                    )  # whichever: the session is over by then
                finally:
                    stream.abort()

    async def _fetch_tokens(self) -> None:
        """Fetch tokens with one NOOP if there are none to spend and the proxy may give some; one NOOP at a time."""
        if not self.session.begin_fetching(_now()):
            return
        try:
            await (await self.request(_noop_request())).aclose()
        finally:
            self.session.end_fetching(_now())

    async def _attempt(
        self, request: Request, initial_data: bytes, state: RequestSessionState, idempotent: bool
    ) -> GrantedRequest | _RefusedRequest:
        """Make a request, once more if its connection is lost before any answer and a second copy does no harm.

        The condition is that of § TCP Fast Open on the Client-Proxy Leg: the request has a token, so that no proxy
        carries it out twice, or it has no initial data and the caller did not ask for idempotence.
        """
        doubling_is_safe = state.token is not None or not (initial_data or idempotent)
        answer: GrantedRequest | _RefusedRequest | None = None
        try:
            try:
                answer = await self._exchange(request, initial_data, state, doubling_is_safe)
            except NotAnswered:
                self.connector.doubt()
                try:
                    answer = await self._exchange(request, initial_data, state, doubling_is_safe, again=True)
                except ProxyUnreachable as error:
                    error.unsent = False  # the first time it was sent
                    raise
            return answer
        finally:
            self.session.end(state)
            if state.lease is not None and not isinstance(answer, GrantedRequest):
                state.lease.release()

    async def _exchange(
        self,
        request: Request,
        initial_data: bytes,
        state: RequestSessionState,
        doubling_is_safe: bool,
        *,
        again: bool = False,
    ) -> GrantedRequest | _RefusedRequest:
        """Write a request and read its replies. Raises NotAnswered where it may be made again: not `again`."""
        options = request.options
        backlog = bool(options) and find(options, ListenBacklog) is not None
        # § TCP Fast Open on the Client-Proxy Leg: data in the SYN, and 0-RTT data, may arrive twice
        early = self.connector.may_send_early(
            has_token=state.token is not None, doubling_is_safe=doubling_is_safe
        )
        repeatable = doubling_is_safe and not again
        plain = self._is_plain(request, state)
        conversation = None if plain else self._conversation(request, initial_data, state)
        if conversation is None:
            data = (
                encode_addressed(CONNECT, request.host, request.port, state.options, DRAFT_12) + initial_data
            )
        else:
            data = conversation.data_to_send() if early else b""
        stream = await self.connector.connect(
            StreamRequest(
                request.command,
                _client_leg_options(options) if options else (),
                data if early else None,
                new_connection=backlog and find(options, StreamId) is None,
                repeatable=repeatable,
                repeated=again,
            )
        )
        try:
            if plain:
                answers = self._receive_plain(stream, b"" if early else data)
                received = await (self.connector.first_answer(stream, answers) if repeatable else answers)
                if isinstance(received, _PlainAnswer):
                    if state.session is not None:
                        self.session.authenticated(state, received.acceptance, _now())
                    self.connector.answered(stream)
                    return GrantedRequest(stream=stream, reply=received.reply, lease=state.lease)
                conversation = self._conversation(request, initial_data, state)
                conversation.data_to_send()  # was sent
                feed(conversation, received)
            assert conversation is not None  # noqa: S101
            answer = self._receive_verdict(conversation, stream)
            verdict = await (self.connector.first_answer(stream, answer) if repeatable else answer)
            self.connector.heard_at = _now()
            if isinstance(verdict, AuthenticationRefused):
                stream.abort()
                reason = self.session.refused(state, verdict.reply, _now())
                return _RefusedRequest(
                    reason=reason, error=self._refused_for(verdict, state), maybe_doubled=early
                )
            self.session.authenticated(state, verdict.reply, _now())
            reply = await receive_reply(conversation, stream, OperationAnswered)
            self.session.operated(state, reply, _now())
            self.connector.answered(stream)
        except BaseException as error:
            stream.abort()
            if (silence := self.connector.silence) and isinstance(error, asyncio.CancelledError):
                error.add_note(silence)
            raise
        return GrantedRequest(stream=stream, reply=reply, begun=conversation, lease=state.lease)

    def _is_plain(self, request: Request, state: RequestSessionState) -> bool:
        """Return whether a request needs no conversation if its answer is a plain one, too."""
        return (
            request.command == CONNECT
            and not request.options
            and (not state.options or state.is_only_within)
            and not (self.methods and state.authenticates)
            and self.dialect is DRAFT_12
            and wire_trace(self.connector.url) is None
        )

    def _conversation(
        self, request: Request, initial_data: bytes, state: RequestSessionState
    ) -> ClientConversation:
        options = request.options
        return ClientConversation(
            replace(request, options=(*options, *state.options)) if state.options else request,
            methods=[make() for make in self.methods] if state.authenticates else (),
            initial_data=initial_data,
            dialect=self.dialect,
            table=self.option_table,
            announcements=bool(options) and find(options, ListenBacklog) is not None,
            trace=wire_trace(self.connector.url),
        )

    async def _receive_plain(self, stream: ByteStream, data: bytes) -> _PlainAnswer | bytes:
        """Send what is left of a request; return its answer if that is plain, and else what came.

        Plain are a successful Authentication Reply, its options short, and an Operation Reply for `read_plain_reply`. Reads no
        byte of what comes behind them. Raises ProxyUnreachable, TlsFailed.
        """
        try:
            received = await _ask(stream, data)
            self.connector.heard_at = _now()
            operation_at = len(ACCEPTED)
            if received.startswith(ACCEPTED[:2]) and len(received) >= operation_at:
                operation_at += int.from_bytes(received[2:4])
                if operation_at <= MAX_PLAIN_ACCEPTANCE_BYTES:
                    received = await _complete(stream, received, operation_at + PLAIN_REPLY_BYTES)
        except TlsFailed:
            raise
        except OSError as error:
            raise self.connector.explained(ProxyUnreachable(f"{BROKE}: {error}")) from error
        bound = read_plain_reply(received[operation_at:])
        acceptance = _acceptance(received[:operation_at], self.option_table) if bound is not None else None
        if bound is None or acceptance is None:
            return received
        return _PlainAnswer(acceptance, OperationReply(code=SUCCEEDED, host=bound[0], port=bound[1]))

    async def _receive_verdict(
        self, conversation: ClientConversation, stream: ByteStream
    ) -> AuthenticationAccepted | AuthenticationRefused:
        """Write what the conversation has to send; return how authentication ended. Raises Socks6Error."""
        try:
            event = await _next_event(conversation, stream)
        except TlsFailed:
            raise
        except ProxyUnreachable as error:
            raise self.connector.explained(error) from error
        if isinstance(event, AuthenticationAccepted | AuthenticationRefused):
            return event
        if isinstance(event, Ended):
            raise self.connector.explained(error_for(event))
        raise error_for(event)

    def _refused_for(self, refusal: AuthenticationRefused, state: RequestSessionState) -> Socks6Error:
        """Return the exception for a refusal, which says whose credentials were refused."""
        error, options = error_for(refusal), refusal.reply.options
        if (
            type(error) is not AuthenticationFailed
            or find(options, SessionInvalid)
            or not state.authenticates
        ):
            return error
        if not self.methods:
            return AuthenticationFailed(NO_PASSWORD)
        user = self.connector.url.username
        if user is None or find(
            options, AuthenticationMethodSelection
        ):  # methods of the caller's, or the proxy's
            return error
        return AuthenticationFailed(f"the proxy refused the password of user {user}")

    def _check_initial_data(self, initial_data: bytes) -> None:
        """Raise ValueError for more initial data than a negotiation allows, whether a session spares it or not."""
        too_long = len(initial_data) > MAX_INITIAL_DATA
        if too_long and any(self.dialect.advertises_offers or make().slow for make in self.methods):
            raise ValueError(f"{len(initial_data)} bytes of initial data; at most {MAX_INITIAL_DATA}")


def _client_leg_options(options: tuple[Option, ...]) -> tuple[StackOption, ...]:
    return tuple(option for option in find_all(options, StackOption) if option.leg & Leg.CLIENT_PROXY)


async def _ask(stream: ByteStream, data: bytes) -> bytes:
    """Send a request, if it is left to send; return what the answer begins with. Raises OSError."""
    try:
        if data:
            await stream.send(data)
    except OSError:
        received = stream.receive_nowait(LEAST_ANSWER_BYTES)  # it may have come before the stream broke
        if received is None:
            raise
        return received
    return await stream.receive(LEAST_ANSWER_BYTES)


async def _complete(stream: ByteStream, received: bytes, size: int) -> bytes:
    """Return so many bytes, which begin with those that were received; fewer if the stream ends. Raises OSError."""
    while len(received) < size and (piece := await stream.receive(size - len(received))):
        received += piece
    return received


@functools.lru_cache(maxsize=64)  # those of a session are the same again and again
@functools.lru_cache(maxsize=64)  # mostly the same bytes
def _acceptance(data: bytes, table: OptionTable) -> AuthenticationReply | None:
    """Return the successful Authentication Reply that `data` is; None for anything else."""
    try:
        reply = AuthenticationReply.decode(data, DRAFT_12, table)
    except DecodeError:
        return None
    return reply if reply.type == AuthenticationType.SUCCEEDED else None


async def receive_reply(
    conversation: Machine[ClientEvent], stream: ByteStream, kind: type[OperationAnswered | PeerConnected]
) -> OperationReply:
    """Return the successful reply to an operation, or BIND's second one, which names the peer (§ Handling BIND).

    Reads not one byte more than the reply, and may be cancelled and called again: bytes that have come of it are
    kept. Raises OperationFailed for another reply code, and other Socks6Errors.
    """
    event = await _next_event(conversation, stream)
    if not isinstance(event, kind):
        raise error_for(event)
    if event.reply.code != ReplyCode.SUCCEEDED:
        raise failure_of(event.reply, event.words)
    return event.reply


def failure_of(reply: OperationReply, words: str = "") -> OperationFailed:
    """Return the exception for an Operation Reply that is no success; `words` are what the proxy said instead of the code."""
    if not words:
        try:
            name = f", {ReplyCode(reply.code).name.lower().replace('_', ' ')}"
        except ValueError:
            name = ""
        words = f"{reply.code:02X}{name}"
    reason = f"the proxy replied {words}"
    if reply.code == ReplyCode.TTL_EXPIRED and is_literal(reply.host) and not is_unspecified(reply.host):
        return TtlExpired(f"{reason} at {reply.host}", reporter=reply.host)
    return operation_failure(reply.code, reason)


def error_for(event: ClientEvent | None) -> Socks6Error:
    """Return the exception for an event other than the expected one."""
    match event:
        case AuthenticationRefused() if find(event.reply.options, IdempotenceRejected) is not None:
            return TokenRejected("the proxy rejected the request's token")
        case AuthenticationRefused() if find(event.reply.options, SessionInvalid) is not None:
            return AuthenticationFailed("the proxy knows no such session")
        case AuthenticationRefused():
            return AuthenticationFailed(f"the proxy refused the credentials: {event.reason}")
        case Violation(kind=ViolationKind.VERSION):
            return VersionMismatch(event.reason)
        case Violation():
            return RemoteProtocolError(event.reason)
        case Ended():
            return ProxyUnreachable(event.reason)
        case _:
            return RemoteProtocolError(f"unexpected {event}")


async def _next_event(conversation: Machine[ClientEvent], stream: ByteStream) -> ClientEvent | None:
    try:
        return await next_event(conversation, stream, exact=True)
    except TlsFailed:  # over TLS 1.3 a client learns only now that its certificate was refused
        raise
    except OSError as error:
        # § Version Mismatch Replies: a proxy that closes with our request unread resets the connection
        conversation.receive_eof(_now())
        event = conversation.next_event()
        if isinstance(event, Violation) and event.kind is ViolationKind.VERSION:
            return event
        raise ProxyUnreachable(f"{BROKE}: {error}") from error


def _noop_request(options: tuple[Option, ...] = ()) -> Request:
    return Request(command=Command.NOOP, host="0.0.0.0", port=0, options=options)  # noqa: S104 - zeros, on the wire


def _now() -> float:
    return asyncio.get_running_loop().time()
