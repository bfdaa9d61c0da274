"""The client's side of one conversation, from the request to the stream or association."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from socks6.compat import override
from socks6.errors import DecodeError
from socks6.message.codes import AuthenticationType, Command, ReplyCode
from socks6.message.datagrams import decode_message, message_size
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.first_bytes import MAX_LINE, describe_server, is_line_pending
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    Option,
    OptionTable,
    PortParity,
    find,
    find_all,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import MAX_INITIAL_DATA, Request
from socks6.protocol.events import (
    MAX_IGNORED_MESSAGES,
    AssociationMessageReceived,
    AuthenticationAccepted,
    AuthenticationRefused,
    ClientEvent,
    Ended,
    MessagesIgnored,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.machine import Conversation, Trace
from socks6.protocol.methods.base import ClientMethod, check_methods
from socks6.protocol.states import CLIENT_TRANSITIONS, ClientState, ClientStep

MAX_NEGOTIATION: Final = 65536  # bytes that one method's slow exchange may take from the proxy

ON_SUCCESS: Final[dict[int, ClientStep]] = {
    Command.NOOP: ClientStep.DONE,
    Command.CONNECT: ClientStep.CONNECTED,
    Command.BIND: ClientStep.BOUND,
    Command.UDP_ASSOCIATE: ClientStep.ASSOCIATED,
}


class ClientConversation(Conversation[ClientEvent]):
    """A machine (see `protocol.machine`) that makes one request.

    Its first bytes to send are the request and the initial data, together. `methods` are what we can prove
    ourselves with; `options` are sent along; `trace` sees every message. Raises ValueError for a request that cannot be
    written, two methods of one number, method 6 (§ SSL Authentication), or more initial data than a negotiation allows
    (§ Authentication Method options).
    """

    def __init__(
        self,
        request: Request,
        *,
        methods: Sequence[ClientMethod] = (),
        initial_data: bytes = b"",
        dialect: Dialect = DRAFT_12,
        table: OptionTable = STANDARD,
        announcements: bool = False,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(trace)
        self.state = ClientState.AWAITING_AUTHENTICATION
        check_methods([method.number for method in methods])
        self._methods = {method.number: method for method in methods}
        self._dialect = dialect
        self._table = table
        self._announcements = announcements
        self._layout: DatagramLayout | None = None  # of an association's messages, if not the dialect's
        self._method: ClientMethod | None = None  # while it negotiates
        self._selected: ClientMethod | None = None  # also when it has negotiated
        self._negotiated = 0
        self._advertised = any(_is_advertised(method, dialect) for method in methods)
        if self._advertised and len(initial_data) > MAX_INITIAL_DATA:
            raise ValueError(f"{len(initial_data)} bytes of initial data; at most {MAX_INITIAL_DATA}")
        if initial_data and request.command != Command.CONNECT:
            raise ValueError("initial data belong to CONNECT alone")
        if request.command == Command.NOOP:  # § Requests: its address and port must be 0
            request = replace(request, host="0.0.0.0", port=0)  # noqa: S104 - nothing is listened on
        options = request.options
        if not dialect.has_port_parity:
            options = tuple(option for option in options if not isinstance(option, PortParity))
        if methods:
            options = (*self._authentication_options(len(initial_data)), *options)
        self._request = request if options is request.options else replace(request, options=options)
        self._outgoing += self._traced(">", self._request).encode(dialect) + initial_data

    # Input.

    def receive_data(self, data: bytes, now: float) -> None:  # noqa: ARG002 - the shape of every machine
        self._received += data
        progress = True
        while progress and self._received and self.state is not ClientState.ASSOCIATED:
            before = self.state, len(self._received)
            self._advance()
            progress = before != (self.state, len(self._received))

    def receive_eof(self, now: float) -> None:  # noqa: ARG002
        """Take the end of the proxy's stream; in a conversation that streams, it is the stream's own."""
        awaiting = self.state is ClientState.AWAITING_AUTHENTICATION
        if awaiting and (len(self._received) == 1 or is_line_pending(self._received)):
            # § Version Mismatch Replies: a lone version byte
            self._violate(ViolationKind.VERSION, _mismatch(self._received, self._dialect))
        elif (self.state, ClientStep.VIOLATION) in CLIENT_TRANSITIONS:
            how = f"({self.state.value})"
            if awaiting and not self._received:
                how = "without an answer"
            self._move(ClientStep.VIOLATION)
            self._events.append(Ended(reason=f"the proxy closed the connection {how}"))

    # What goes out.

    @override
    def next_event(self) -> ClientEvent | None:
        if self.state is ClientState.ASSOCIATED and not self._events:
            self._read_message()  # one at a time: however many have come, others get their turns between
        return super().next_event()

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the next step needs; 0 when the stream is the caller's."""
        if self._method is not None:
            return self._method.bytes_wanted()
        size = _SIZE.get(self.state)
        if size is not None and is_line_pending(self._received):
            return MAX_LINE - len(self._received)  # no SOCKS 6: its first line says what it is
        return size(self._received, self._dialect) - len(self._received) if size else 0

    def expect_layout(self, layout: DatagramLayout) -> None:
        """Read association messages that fit both layouts in this one, which our own have."""
        self._layout = layout

    # Inside.

    def _authentication_options(self, initial_data_length: int) -> list[Option]:
        options: list[Option] = []
        methods = tuple(
            number for number, method in self._methods.items() if _is_advertised(method, self._dialect)
        )
        if methods:
            options.append(
                AuthenticationMethodAdvertisement(methods=methods, initial_data_length=initial_data_length)
            )
        for number, method in self._methods.items():
            offer = method.offer()
            if offer is not None:
                options.append(AuthenticationData(method=number, data=offer))
        return options

    def _advance(self) -> None:
        """Do what the received bytes allow in this state."""
        try:
            if self._method is not None:
                self._negotiate(self._method)
                return
            size = _SIZE.get(self.state)
            if size is None:
                return  # the bytes are the stream's
            if self._received[0] != self._dialect.version:
                if self.state is not ClientState.AWAITING_AUTHENTICATION:
                    words = f"{self.state.value}: first byte {self._received[0]:#04x}"
                    self._violate(ViolationKind.VERSION, words)
                elif not is_line_pending(self._received):
                    self._violate(ViolationKind.VERSION, _mismatch(self._received, self._dialect))
                return
            wanted = size(self._received, self._dialect)
            if len(self._received) >= wanted:
                message = bytes(self._received[:wanted])
                del self._received[:wanted]
                self._take(message)
        except DecodeError as error:
            self._violate(ViolationKind.MALFORMED, f"{self.state.value}: {error}")

    def _read_message(self) -> None:
        """Take messages of the association until one makes sense; or until enough do not."""
        for _ in range(MAX_IGNORED_MESSAGES):
            left = len(self._received)
            if left:
                self._advance()
            if self._events or len(self._received) == left:
                return
        self._events.append(MessagesIgnored())

    def _take(self, message: bytes) -> None:
        """Take one whole message from the proxy."""
        if self.state is ClientState.ASSOCIATED:
            self._take_message(message)
        elif self.state in {ClientState.AWAITING_PEER, ClientState.AWAITING_OPERATION}:
            take = self._take_peer if self.state is ClientState.AWAITING_PEER else self._take_operation
            take(self._traced("<", OperationReply.decode(message, self._dialect, self._table)))
        else:
            reply = AuthenticationReply.decode(message, self._dialect, self._table)
            self._take_authentication(self._traced("<", reply))

    def _take_message(self, data: bytes) -> None:
        try:
            message, layout = decode_message(data, self._dialect, self._layout)
        except DecodeError:
            return  # dropped silently, as on UDP: the next message's start is known
        self._events.append(AssociationMessageReceived(message=self._traced("<", message), layout=layout))

    def _take_authentication(self, reply: AuthenticationReply) -> None:
        if reply.type == AuthenticationType.SUCCEEDED:
            self._take_authentication_data(reply, accepted=True)
            self._move(ClientStep.ACCEPTED)
            self._events.append(AuthenticationAccepted(reply=reply))
            return
        selection = find(reply.options, AuthenticationMethodSelection)
        method = self._methods.get(selection.method) if selection else None
        if method is not None and method.slow and self.state is ClientState.AWAITING_AUTHENTICATION:
            self._selected = method
            self._take_authentication_data(reply, accepted=None)
            self._method = method
            self._move(ClientStep.SELECTED)
            method.begin()
            self._go_on(method)
            return
        # § Authentication Replies: the second one must not allow for further negotiations
        self._take_authentication_data(reply, accepted=False)
        self._move(ClientStep.REFUSED)
        reason = f"no acceptable method (selected {selection.method})" if selection else "refused"
        self._events.append(AuthenticationRefused(reply=reply, reason=reason))

    def _take_authentication_data(self, reply: AuthenticationReply, *, accepted: bool | None) -> None:
        """Give each method its data in a reply. Raises DecodeError."""
        data = {option.method: option.data for option in find_all(reply.options, AuthenticationData)}
        for number, method in self._methods.items():
            if number in data or method is self._selected:
                method.receive_reply_data(data.get(number), accepted=accepted)

    def _negotiate(self, method: ClientMethod) -> None:
        data = bytes(self._received[: method.bytes_wanted()])
        del self._received[: len(data)]
        self._negotiated += len(data)
        if self._negotiated > MAX_NEGOTIATION:
            self._violate(ViolationKind.MALFORMED, f"the negotiation takes more than {MAX_NEGOTIATION} bytes")
            return
        method.receive_data(data)
        self._go_on(method)

    def _go_on(self, method: ClientMethod) -> None:
        """Queue the method's bytes; when it wants none back, the verdict is next."""
        self._outgoing += method.data_to_send()
        if method.bytes_wanted() == 0:
            self._method = None
            self._move(ClientStep.NEGOTIATED)

    def _take_operation(self, reply: OperationReply) -> None:
        succeeded = reply.code == ReplyCode.SUCCEEDED
        self._move(ON_SUCCESS.get(self._request.command, ClientStep.DONE) if succeeded else ClientStep.FAILED)
        self._events.append(OperationAnswered(reply=reply))

    def _take_peer(self, reply: OperationReply) -> None:
        if reply.code != ReplyCode.SUCCEEDED:
            self._move(ClientStep.FAILED)
        else:
            self._move(ClientStep.ANNOUNCED if self._announcements else ClientStep.PEER)
        self._events.append(PeerConnected(reply=reply))

    def _violate(self, kind: ViolationKind, reason: str) -> None:
        self._move(ClientStep.VIOLATION)
        self._method = None
        self._received.clear()
        self._events.append(Violation(kind=kind, reason=reason))

    def _move(self, step: ClientStep) -> None:
        self.state = CLIENT_TRANSITIONS[self.state, step]


def _is_advertised(method: ClientMethod, dialect: Dialect) -> bool:
    return method.slow or dialect.advertises_offers


def _mismatch(answered: bytes | bytearray, ours: Dialect) -> str:
    """Return what the first bytes of a proxy mean that are none of our dialect's replies, and what may help."""
    if answered[0] == GO_212.version:
        return "the proxy speaks the older dialect of version byte 212: try dialect=212 in its URL"
    if answered[0] != DRAFT_12.version:
        return describe_server(answered)
    if ours != DRAFT_12:
        return f"the proxy does not speak dialect {ours.version} (it answers 0x06): try without dialect="
    return (
        "the proxy does not speak version 6 of SOCKS as it is today (it refuses our request's version byte):"
        " if it is an older one, try dialect=212 in its URL"
    )


_SIZE: Final[dict[ClientState, Callable[[bytes | bytearray, Dialect], int]]] = {
    ClientState.AWAITING_AUTHENTICATION: AuthenticationReply.size,
    ClientState.AWAITING_VERDICT: AuthenticationReply.size,
    ClientState.AWAITING_OPERATION: OperationReply.size,
    ClientState.AWAITING_PEER: OperationReply.size,
    ClientState.ASSOCIATED: message_size,
}
