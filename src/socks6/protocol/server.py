"""The server's side of one conversation, from the request's first byte to the stream or association."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from socks6.compat import override
from socks6.errors import DecodeError, LocalProtocolError
from socks6.message.address import UnknownAddressType
from socks6.message.codes import AuthenticationType, Command, ReplyCode
from socks6.message.datagrams import Datagram, decode_message, message_size
from socks6.message.dialect import DRAFT_12, DatagramLayout, Dialect
from socks6.message.first_bytes import describe_client, is_ambiguous, refusal_for
from socks6.message.options import (
    STANDARD,
    AuthenticationMethodAdvertisement,
    Option,
    OptionTable,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import MAX_INITIAL_DATA, Request
from socks6.protocol.admission import Admission, CredentialsPending, Granted, MethodSelected, Verdict
from socks6.protocol.events import (
    MAX_IGNORED_MESSAGES,
    AssociationMessageReceived,
    Authenticated,
    AuthenticationRefused,
    CredentialsOffered,
    Ended,
    MessagesIgnored,
    RequestReceived,
    ServerEvent,
    Violation,
    ViolationKind,
)
from socks6.protocol.machine import Conversation, Trace
from socks6.protocol.methods.base import ServerMethod
from socks6.protocol.states import SERVER_TRANSITIONS, ServerState, ServerStep

ON_SUCCESS: Final[dict[int, ServerStep]] = {
    Command.NOOP: ServerStep.DONE,
    Command.CONNECT: ServerStep.CONNECT,
    Command.BIND: ServerStep.BIND,
    Command.UDP_ASSOCIATE: ServerStep.ASSOCIATE,
}

REFUSAL: Final = AuthenticationReply(type=AuthenticationType.FAILED)
BAD_ADDRESS: Final = OperationReply(code=ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)


class ServerConversation(Conversation[ServerEvent]):
    """A machine (see `protocol.machine`) that serves one request.

    The driver answers each event by the method that the event names; a call out of turn raises
    LocalProtocolError. `methods` are tried in their order; None required means that every client is admitted.
    `quiet` answers no fault and no refusal at all; `whole_request` ignores requests that come in pieces; `trace`
    sees every message. `inbound` is what the listener serves, for what is said of clients of other protocols.
    Raises ValueError for method 6 (§ SSL Authentication).
    """

    def __init__(
        self,
        *,
        methods: Mapping[int, Callable[[], ServerMethod]],
        authentication_required: bool,
        deadline: float,
        dialects: Sequence[Dialect] = (DRAFT_12,),
        table: OptionTable = STANDARD,
        quiet: bool = False,
        whole_request: bool = False,
        trace: Trace | None = None,
        inbound: str = "socks6",
    ) -> None:
        super().__init__(trace)
        self.state = ServerState.AWAITING_REQUEST
        self.authenticated = False  # whether the client is known, or need not be
        self._admission = Admission(methods, required=authentication_required)
        self._deadline = deadline
        self._dialects = dialects
        self.dialect = dialects[0]  # the client's, once it has sent anything
        self._layout: DatagramLayout | None = None  # the dialect's
        self._table = table
        self._quiet = quiet
        self._whole_request = whole_request
        self._inbound = inbound
        self._initial = bytearray()  # initial data that a slow method's bytes follow
        self._initial_left = 0  # initial data still to be cut out of what arrives
        self._request: Request | None = None
        self._with_success: tuple[Option, ...] = ()

    # Input.

    def receive_data(self, data: bytes, now: float) -> None:  # noqa: ARG002 - the shape of every machine
        self._received += data
        self._advance()

    def receive_eof(self, now: float) -> None:  # noqa: ARG002
        """Take the end of the client's stream; in a conversation that streams, it is the stream's own."""
        if (self.state, ServerStep.VIOLATION) in SERVER_TRANSITIONS:
            self._move(ServerStep.VIOLATION)
            self._events.append(Ended(reason="the client closed its side"))

    @override
    def next_timeout(self) -> float | None:
        """Return the handshake's deadline while the client has to send something."""
        waiting = (ServerState.AWAITING_REQUEST, ServerState.NEGOTIATING)
        return self._deadline if self.state in waiting else None

    @override
    def handle_timeout(self, now: float) -> None:
        """Give up on a client that is too slow; it gets no answer (§ Large requests)."""
        deadline = self.next_timeout()
        if deadline is not None and now >= deadline:
            self._violate(ViolationKind.DEADLINE, "the request was not complete in time")

    # What goes out.

    @override
    def next_event(self) -> ServerEvent | None:
        if self.state is ServerState.ASSOCIATED and not self._events:
            self._read_message()  # one at a time: the first one may show how to read the next
        return super().next_event()

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the next step needs; 0 when the client has to send nothing."""
        if self.state is ServerState.AWAITING_REQUEST:
            received = self._received
            return Request.size(received, self.dialect) - len(received) if received else 1
        if self.state is ServerState.NEGOTIATING:
            return self._initial_left + self._admission.bytes_wanted()
        if self.state is ServerState.ASSOCIATED:
            return self._initial_left + message_size(self._received, self.dialect) - len(self._received)
        return self._initial_left if self.state is ServerState.AWAITING_PEER else 0

    @override
    def unread(self) -> bytes:
        """Return, and forget, the stream's first bytes: initial data, and what followed the handshake."""
        data = bytes(self._initial + self._received)
        self._initial.clear()
        self._received.clear()
        return data

    # Authentication: what the driver answers.

    def authenticate(self, *, known: bool = False) -> None:
        """Judge the request on its own credentials; CredentialsOffered, Authenticated or a refusal follows.

        A client that is `known` since it has torn down a session of its own is answered in quiet mode, too.
        """
        request = self._request
        if request is None or self.state is not ServerState.DECIDING:
            raise LocalProtocolError(f"authenticate() while {self.state.value}")
        self.authenticated = known
        self._follow(self._admission.begin(request.options))

    def accept_session(self) -> None:
        """Let the request in on the strength of its session: its credentials are ignored (§ Session options)."""
        self._require(ServerState.DECIDING)
        self._follow(Granted())

    def verified(self, *, accepted: bool) -> None:
        """Answer whether the offered credentials are valid."""
        self._require(ServerState.VERIFYING)
        self._follow(self._admission.verified(accepted=accepted))

    def send_authenticated(
        self, options: tuple[Option, ...] = (), *, with_success: tuple[Option, ...] = ()
    ) -> None:
        """Queue the successful Authentication Reply; the first Operation Reply, if it succeeds, takes `with_success`."""
        self._move(ServerStep.ACCEPT)
        self._with_success = with_success
        reply = AuthenticationReply(
            type=AuthenticationType.SUCCEEDED,
            options=(*self._admission.reply_options(accepted=True), *options),
        )
        self._send(reply)

    def refuse(self, options: tuple[Option, ...] = (), *, reason: str) -> None:
        """Queue a final, failing Authentication Reply (an invalid session, a spent token, a ban).

        It leaves open whether offered credentials hold, where these cannot be checked now. To a client that
        is known (a spent token) it is sent in quiet mode, too.
        """
        if self.state not in {ServerState.AUTHENTICATED, ServerState.VERIFYING}:
            self._require(ServerState.DECIDING)
        self._refuse(options, reason)

    # The operation: what the driver answers.

    def send_reply(self, reply: OperationReply) -> None:
        """Queue an Operation Reply: the first one, or BIND's second (§ Handling BIND)."""
        if self._request is None:
            raise LocalProtocolError("send_reply() before a request")
        if reply.code != ReplyCode.SUCCEEDED:
            self._move(ServerStep.FAIL)
        elif self.state is ServerState.AWAITING_PEER:
            self._move(ServerStep.PEER)
        else:
            step = ON_SUCCESS.get(self._request.command)
            if step is None:
                raise LocalProtocolError(f"command {self._request.command} cannot succeed")
            self._move(step)
            if self._with_success:
                reply = replace(reply, options=(*reply.options, *self._with_success))
        self._send(reply)
        self._advance()

    def send_announcement(self, reply: OperationReply) -> None:
        """Queue the address of a peer that waits for an accept-BIND (dialect 212)."""
        self._move(ServerStep.ANNOUNCE)
        self._send(reply)

    def expect_layout(self, layout: DatagramLayout) -> None:
        """Read messages in this layout where both fit: the client has shown that it writes it."""
        self._layout = layout

    # Inside.

    def _advance(self) -> None:
        """Do what the received bytes allow in this state."""
        if self._initial_left:
            self._cut_initial_data()
        match self.state:
            case ServerState.AWAITING_REQUEST:
                if self._received:
                    self._read_request()
            case ServerState.NEGOTIATING:
                self._negotiate()
            case _:
                pass  # the bytes are the stream's, or wait for their turn

    def _read_request(self) -> None:
        received = self._received
        dialect = next((known for known in self._dialects if known.version == received[0]), None)
        if dialect is None:
            # § Version Mismatch Replies: answered with our version, even to garbage; but a client of another protocol gets
            # an answer that it understands (docs/decisions/0062)
            if not is_ambiguous(received):
                self._violate(
                    ViolationKind.VERSION,
                    describe_client(received, self._inbound),
                    refusal_for(received, self._inbound),
                )
            return
        self.dialect = dialect
        try:
            size = Request.size(received, dialect)
            if len(received) < size:
                if self._whole_request:
                    self._violate(ViolationKind.FRAGMENTED, "the request came in pieces")
                return
            request = Request.decode(bytes(received[:size]), dialect, self._table)
        except UnknownAddressType as error:
            answer = REFUSAL.encode(dialect) + BAD_ADDRESS.encode(dialect)
            self._violate(ViolationKind.MALFORMED, str(error), answer)
            return
        except DecodeError as error:
            self._violate(ViolationKind.MALFORMED, str(error), REFUSAL.encode(dialect))
            return
        del received[:size]
        self._take_request(request)

    def _take_request(self, request: Request) -> None:
        self._traced("<", request)
        advertisement = find(request.options, AuthenticationMethodAdvertisement)
        initial = advertisement.initial_data_length if advertisement else 0
        if initial > MAX_INITIAL_DATA:
            self._violate(
                ViolationKind.MALFORMED, f"{initial} bytes of initial data", REFUSAL.encode(self.dialect)
            )
            return
        self._request = request
        self._move(ServerStep.REQUEST)
        if request.command != Command.CONNECT:
            self._initial_left = initial  # consumed and discarded: no stream follows that it could belong to
            self._cut_initial_data()
        self._events.append(RequestReceived(request=request, dialect=self.dialect))

    def _cut_initial_data(self) -> None:
        cut = self._received[: self._initial_left]
        del self._received[: len(cut)]
        self._initial_left -= len(cut)
        if self._request is not None and self._request.command == Command.CONNECT:
            self._initial += cut

    def _follow(self, verdict: Verdict) -> None:
        """Act on the admission's verdict."""
        match verdict:
            case Granted():
                self._move(ServerStep.SETTLE)
                self.authenticated = True
                self._events.append(Authenticated())
            case CredentialsPending():
                self._move(ServerStep.OFFER)
                self._events.append(CredentialsOffered(credentials=verdict.credentials))
            case MethodSelected():
                self._begin_slow(verdict)
            case _:  # Refused
                self._refuse(verdict.options, verdict.reason)

    def _begin_slow(self, selected: MethodSelected) -> None:
        self._move(ServerStep.SELECT)
        if self._request is not None and self._request.command == Command.CONNECT:
            self._initial_left = selected.initial_data_length
        self._send(AuthenticationReply(type=AuthenticationType.FAILED, options=selected.options))
        self._outgoing += self._admission.data_to_send()
        self._advance()

    def _negotiate(self) -> None:
        if self._initial_left or not self._received:
            return
        data = bytes(self._received)
        self._received.clear()
        try:
            credentials = self._admission.receive_data(data)
        except DecodeError as error:
            self._violate(ViolationKind.MALFORMED, str(error), REFUSAL.encode(self.dialect))
            return
        self._outgoing += self._admission.data_to_send()
        if credentials is not None:
            self._received += self._admission.unread()
            self._follow(CredentialsPending(credentials=credentials))

    def _read_message(self) -> None:
        try:
            taken = 0
            while (
                not self._events
                and not self._initial_left
                and len(self._received) >= (size := message_size(self._received, self.dialect))
            ):
                if taken == MAX_IGNORED_MESSAGES:
                    self._events.append(MessagesIgnored())
                    return
                taken += 1
                message = bytes(self._received[:size])
                del self._received[:size]
                self._take_message(message)
        except DecodeError as error:
            self._violate(ViolationKind.MALFORMED, str(error))  # framing is lost: the association is closed

    def _take_message(self, data: bytes) -> None:
        try:
            message, layout = decode_message(data, self.dialect, self._layout)
        except DecodeError:
            return  # dropped silently, as on UDP: the next message's start is known
        if isinstance(message, Datagram):  # clients have no other to send
            self._events.append(AssociationMessageReceived(message=self._traced("<", message), layout=layout))

    def _refuse(self, options: tuple[Option, ...], reason: str) -> None:
        self._move(ServerStep.REFUSE)
        reply = AuthenticationReply(type=AuthenticationType.FAILED, options=options)
        if self.authenticated or not self._quiet:
            self._send(reply)
        self._events.append(AuthenticationRefused(reply=reply, reason=reason))

    def _send(self, reply: AuthenticationReply | OperationReply) -> None:
        self._outgoing += self._traced(">", reply).encode(self.dialect)

    def _violate(self, kind: ViolationKind, reason: str, answer: bytes = b"") -> None:
        self._move(ServerStep.VIOLATION)
        if answer and not self._quiet:
            self._outgoing += self._traced(">", answer)  # replies without options
        self._received.clear()
        self._events.append(Violation(kind=kind, reason=reason))

    def _require(self, state: ServerState) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"only while {state.value}, not while {self.state.value}")

    def _move(self, step: ServerStep) -> None:
        state = SERVER_TRANSITIONS.get((self.state, step))
        if state is None:
            raise LocalProtocolError(f"{step.value!r} while {self.state.value}")
        self.state = state
