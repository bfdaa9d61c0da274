"""The proxy's side of a SOCKS 4, 4a or 5 handshake, distinguished by the first byte."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import DecodeError, LocalProtocolError
from socks6.message import socks4, socks5
from socks6.message.address import UnknownAddressType
from socks6.message.codes import Command, Method, ReplyCode
from socks6.message.first_bytes import describe_client, is_ambiguous, refusal_for
from socks6.message.socks4 import Socks4Reply, Socks4Request, Socks4Result
from socks6.message.socks5 import Socks5Greeting, Socks5MethodSelection, Socks5Reply, Socks5Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from socks6.protocol.events import CredentialsOffered, Ended, Violation, ViolationKind
from socks6.protocol.machine import Conversation, Trace
from socks6.protocol.methods.userpass import UsernamePasswordCredentials


class Socks5State(Enum):
    """Where the conversation stands."""

    AWAITING_GREETING = "awaiting greeting"  # or SOCKS 4's only message
    AWAITING_CREDENTIALS = "awaiting credentials"
    VERIFYING = "verifying credentials"
    AWAITING_REQUEST = "awaiting request"
    OPERATING = "operating"
    AWAITING_PEER = "awaiting peer"  # BIND's first reply is out
    STREAMING = "streaming"
    CLOSING = "closing"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


class Socks5Step(Enum):
    """What can happen to the conversation."""

    OPEN = "greeting: no authentication"
    SELECT = "greeting: username/password"
    REFUSE = "greeting: no acceptable method; SOCKS 4 where users are demanded"
    OFFER = "credentials received"
    ACCEPT = "credentials hold"
    REJECT = "credentials do not hold"
    REQUEST = "request received"
    SUCCEED = "reply: success"  # BIND: the second one
    BIND = "BIND: first reply, success"
    FAIL = "reply: failure"
    VIOLATION = "violation or end"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


TRANSITIONS: Final[dict[tuple[Socks5State, Socks5Step], Socks5State]] = {
    (Socks5State.AWAITING_GREETING, Socks5Step.OPEN): Socks5State.AWAITING_REQUEST,
    (Socks5State.AWAITING_GREETING, Socks5Step.SELECT): Socks5State.AWAITING_CREDENTIALS,
    (Socks5State.AWAITING_GREETING, Socks5Step.REQUEST): Socks5State.OPERATING,
    (Socks5State.AWAITING_GREETING, Socks5Step.REFUSE): Socks5State.CLOSING,
    (Socks5State.AWAITING_GREETING, Socks5Step.VIOLATION): Socks5State.CLOSING,
    (Socks5State.AWAITING_CREDENTIALS, Socks5Step.OFFER): Socks5State.VERIFYING,
    (Socks5State.AWAITING_CREDENTIALS, Socks5Step.VIOLATION): Socks5State.CLOSING,
    (Socks5State.VERIFYING, Socks5Step.ACCEPT): Socks5State.AWAITING_REQUEST,
    (Socks5State.VERIFYING, Socks5Step.REJECT): Socks5State.CLOSING,
    (Socks5State.AWAITING_REQUEST, Socks5Step.REQUEST): Socks5State.OPERATING,
    (Socks5State.AWAITING_REQUEST, Socks5Step.VIOLATION): Socks5State.CLOSING,
    (Socks5State.OPERATING, Socks5Step.SUCCEED): Socks5State.STREAMING,
    (Socks5State.OPERATING, Socks5Step.BIND): Socks5State.AWAITING_PEER,
    (Socks5State.OPERATING, Socks5Step.FAIL): Socks5State.CLOSING,
    (Socks5State.AWAITING_PEER, Socks5Step.SUCCEED): Socks5State.STREAMING,
    (Socks5State.AWAITING_PEER, Socks5Step.FAIL): Socks5State.CLOSING,
    (Socks5State.AWAITING_PEER, Socks5Step.VIOLATION): Socks5State.CLOSING,
}

# What the client may send, by state and first byte; whatever is not here is no message.
SIZES: Final[dict[tuple[Socks5State, int], Callable[[bytes | bytearray], int]]] = {
    (Socks5State.AWAITING_GREETING, socks4.VERSION): Socks4Request.size,
    (Socks5State.AWAITING_GREETING, socks5.VERSION): Socks5Greeting.size,
    (Socks5State.AWAITING_CREDENTIALS, socks5.CREDENTIALS_VERSION): socks5.credentials_size,
    (Socks5State.AWAITING_REQUEST, socks5.VERSION): Socks5Request.size,
}
AWAITING: Final = frozenset(state for state, _ in SIZES)

# What the proxy may select, best first, by whether it demands users.
METHODS: Final[dict[bool, dict[int, Socks5Step]]] = {
    False: {Method.NONE: Socks5Step.OPEN, Method.USERNAME_PASSWORD: Socks5Step.SELECT},
    True: {Method.USERNAME_PASSWORD: Socks5Step.SELECT},
}

ACCEPTED: Final = UsernamePasswordReply(status=0)
REJECTED: Final = UsernamePasswordReply(status=1)
UNKNOWN: Final = UsernamePasswordReply(status=2)  # RFC 1929: any status but 0 is a failure, and the end


@dataclass(frozen=True, slots=True, kw_only=True)
class SocksRequestReceived:
    """A whole request is here. Answer with `send_success` or `send_failure`."""

    request: Socks4Request | Socks5Request


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRefused:
    """The client cannot authenticate as demanded; the answer is queued."""

    reason: str


Socks5Event = SocksRequestReceived | CredentialsOffered | MethodRefused | Violation | Ended


class Socks5Conversation(Conversation[Socks5Event]):
    """A machine (see `protocol.machine`) that serves one SOCKS 4, 4a or 5 request.

    The driver answers each event by the method that the event names; a call out of turn raises
    LocalProtocolError. Where authentication is not required, a client that can do without is admitted at once,
    and credentials that others offer are for the driver to accept. `trace` sees every message.
    """

    def __init__(self, *, authentication_required: bool, trace: Trace | None = None) -> None:
        super().__init__(trace)
        self.state = Socks5State.AWAITING_GREETING
        self._required = authentication_required
        self._request: Socks4Request | Socks5Request | None = None

    @property
    def speaks_socks5(self) -> bool:
        """Return whether the request is one of SOCKS 5, which alone has UDP ASSOCIATE."""
        return isinstance(self._request, Socks5Request)

    def receive_data(self, data: bytes, now: float) -> None:  # noqa: ARG002 - the shape of every machine
        self._received += data
        self._advance()

    def receive_eof(self, now: float) -> None:  # noqa: ARG002
        """Take the end of the client's stream; where it streams, the end is the stream's own."""
        if (self.state, Socks5Step.VIOLATION) in TRANSITIONS:
            self._move(Socks5Step.VIOLATION)
            self._events.append(Ended(reason="the client closed its side"))

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the next step needs; 0 when the client has to send nothing."""
        if self.state not in AWAITING:
            return 0
        received = self._received
        size_of = SIZES.get((self.state, received[0])) if received else None
        return 1 if size_of is None else size_of(received) - len(received)

    def verified(self, *, accepted: bool) -> None:
        """Answer whether the offered credentials are valid."""
        self._move(Socks5Step.ACCEPT if accepted else Socks5Step.REJECT)
        self._send(ACCEPTED if accepted else REJECTED)
        self._advance()

    def cannot_verify(self) -> None:
        """Answer that the offered credentials cannot be checked now."""
        self._move(Socks5Step.REJECT)
        self._send(UNKNOWN)

    def send_success(self, host: str, port: int) -> None:
        """Queue the successful reply with the proxy's end of the far leg; BIND's second one has the peer's."""
        binds = self._request is not None and self._request.command == Command.BIND
        self._move(Socks5Step.BIND if binds and self.state is Socks5State.OPERATING else Socks5Step.SUCCEED)
        self._reply(ReplyCode.SUCCEEDED, host, port)

    def send_failure(self, code: int) -> None:
        """Queue the failing reply for a SOCKS 6 reply code."""
        self._move(Socks5Step.FAIL)
        self._reply(code)

    def _advance(self) -> None:
        """Take whole messages off what has arrived, as long as one is due."""
        while self.state in AWAITING and self._received:
            size_of = SIZES.get((self.state, self._received[0]))
            if size_of is None:
                if self.state is not Socks5State.AWAITING_GREETING:
                    self._violate(f"first byte {self._received[0]:#04x} while {self.state.value}")
                elif not is_ambiguous(self._received):
                    self._violate(describe_client(self._received, "socks5"))
                return
            try:
                size = size_of(self._received)
                if len(self._received) < size:
                    return
                self._take(bytes(self._received[:size]))
                del self._received[:size]
            except UnknownAddressType as error:
                self._violate(str(error), ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)
            except DecodeError as error:
                self._violate(str(error))

    def _take(self, message: bytes) -> None:
        """Act on one whole message, of the class that the state and its first byte determine."""
        if self.state is Socks5State.AWAITING_CREDENTIALS:
            self._take_credentials(self._traced("<", UsernamePassword.decode(message)))
        elif self.state is Socks5State.AWAITING_REQUEST:
            self._take_request(self._traced("<", Socks5Request.decode(message)))
        elif message[0] == socks4.VERSION:
            self._take_socks4(self._traced("<", Socks4Request.decode(message)))
        else:
            self._take_greeting(self._traced("<", Socks5Greeting.decode(message)))

    def _send(
        self, message: UsernamePasswordReply | Socks4Reply | Socks5Reply | Socks5MethodSelection
    ) -> None:
        self._outgoing += self._traced(">", message).encode()

    def _take_socks4(self, request: Socks4Request) -> None:
        if self._required:
            self._refuse("SOCKS 4 knows no passwords", Socks4Reply(code=Socks4Result.WRONG_USER))
        else:
            self._take_request(request)

    def _take_greeting(self, greeting: Socks5Greeting) -> None:
        for method, step in METHODS[self._required].items():
            if method in greeting.methods:
                self._move(step)
                self._send(Socks5MethodSelection(method=method))
                return
        refusal = Socks5MethodSelection(method=Method.NO_ACCEPTABLE)
        self._refuse(f"no acceptable method among {greeting.methods}", refusal)

    def _take_credentials(self, offer: UsernamePassword) -> None:
        self._move(Socks5Step.OFFER)
        credentials = UsernamePasswordCredentials(username=offer.username, password=offer.password)
        self._events.append(CredentialsOffered(credentials=credentials))

    def _take_request(self, request: Socks4Request | Socks5Request) -> None:
        self._move(Socks5Step.REQUEST)
        self._request = request
        self._events.append(SocksRequestReceived(request=request))

    def _reply(self, code: int, host: str = socks5.NO_ADDRESS, port: int = 0) -> None:
        if isinstance(self._request, Socks4Request):
            self._send(Socks4Reply(code=socks4.result_for(code), host=host, port=port))
        else:
            self._send(Socks5Reply(code=socks5.reply_code_for(code), host=host, port=port))

    def _refuse(self, reason: str, answer: Socks4Reply | Socks5MethodSelection) -> None:
        self._move(Socks5Step.REFUSE)
        self._send(answer)
        self._received.clear()
        self._events.append(MethodRefused(reason=reason))

    def _violate(self, reason: str, code: int = ReplyCode.GENERAL_FAILURE) -> None:
        """Queue what answer the message that went wrong has, and close."""
        if self.state is Socks5State.AWAITING_CREDENTIALS:
            self._send(REJECTED)
        elif self.state is Socks5State.AWAITING_REQUEST:
            self._send(Socks5Reply(code=code))
        elif self._received[0] == socks4.VERSION:
            self._send(Socks4Reply(code=Socks4Result.REJECTED))
        else:  # a greeting of SOCKS 5 is never wrong
            self._outgoing += self._traced(">", refusal_for(self._received, "socks5"))
        self._move(Socks5Step.VIOLATION)
        self._received.clear()
        self._events.append(Violation(kind=ViolationKind.MALFORMED, reason=reason))

    def _move(self, step: Socks5Step) -> None:
        state = TRANSITIONS.get((self.state, step))
        if state is None:
            raise LocalProtocolError(f"{step.value!r} while {self.state.value}")
        self.state = state
