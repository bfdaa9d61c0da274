"""The client's side of the older protocols: SOCKS 4, 4a and 5, and CONNECT of HTTP.

Each is a machine (see `protocol.machine`) that makes one request, given as SOCKS 6 has it, and reports what the proxy answers
in the events of `protocol.client`: reply codes are those of SOCKS 6, addresses are in an `OperationReply`. A NOOP goes as far
as the protocol lets it: over SOCKS 5 to the end of authentication, over HTTP to the answer to OPTIONS, over SOCKS 4 nowhere.
"""

import re
from abc import abstractmethod
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.errors import DecodeError
from socks6.message import http, socks4, socks5
from socks6.message.codes import AuthenticationType, Command, Method, ReplyCode
from socks6.message.first_bytes import MAX_LINE, describe_server, is_line_pending
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.socks4 import Socks4Reply, Socks4Request, Socks4Result
from socks6.message.socks5 import Socks5Greeting, Socks5MethodSelection, Socks5Reply, Socks5Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from socks6.protocol.events import (
    AuthenticationRefused,
    ClientEvent,
    Ended,
    MessagesIgnored,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.machine import Conversation, Delimited, Trace

MAX_HEAD_SIZE: Final = 65536  # bytes of an HTTP response's head
SHORTEST_HEAD: Final = len(b"HTTP/1.1 200\n\n")
NOWHERE: Final = b"0.0.0.0:1"  # what a check asks for: credentials are looked at, and no name is looked up
CLOSED: Final = "nothing, and closed the connection: so does ssh -D where it cannot connect"
INTERIM: Final = range(100, 200)  # statuses that another response follows

_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_REFUSED: Final = AuthenticationReply(type=AuthenticationType.FAILED)
_SOCKS4_REFUSALS: Final = frozenset((Socks4Result.NO_IDENTD, Socks4Result.WRONG_USER))
_HTTP_REFUSALS: Final = frozenset(  # the former of some proxies (tinyproxy), where credentials were given
    (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
)
_SELECTABLE: Final[dict[bool, tuple[int, ...]]] = {  # by whether there are credentials
    False: (Method.NONE,),
    True: (Method.NONE, Method.USERNAME_PASSWORD),
}


class OlderState(Enum):
    """Where the conversation stands."""

    AWAITING_METHOD = "awaiting method selection"
    AWAITING_VERDICT = "awaiting authentication reply"
    AWAITING_REPLY = "awaiting reply"
    AWAITING_PEER = "awaiting peer"
    STREAMING = "streaming"  # what comes is the caller's
    ASSOCIATED = "associated"
    CLOSED = "closed"

    __hash__ = object.__hash__  # a key of tables: Enum's own costs a Python call


_S = OlderState
_OVER: Final = frozenset((_S.STREAMING, _S.CLOSED))
_ON_SUCCESS: Final[dict[int, OlderState]] = {
    Command.NOOP: _S.CLOSED,
    Command.CONNECT: _S.STREAMING,
    Command.BIND: _S.AWAITING_PEER,
    Command.UDP_ASSOCIATE: _S.ASSOCIATED,
}

Size: TypeAlias = Callable[[bytes | bytearray], int]
Take: TypeAlias = Callable[[bytes], None]


class OlderConversation(Conversation[ClientEvent]):
    """What the three have in common: messages are taken off what has arrived, one after the other."""

    scheme: str
    """What URLs call the protocol."""

    def __init__(self, request: Request, state: OlderState, trace: Trace | None) -> None:
        super().__init__(trace)
        self.state = state
        self._request = request
        self._answered = False
        self.on_answer: Callable[[], object] = lambda: None  # called for each message of the proxy
        self.were_judged = False  # our credentials; else the proxy wants none of their kind

    def receive_data(self, data: bytes, now: float) -> None:  # noqa: ARG002 - the shape of every machine
        if self.state is _S.ASSOCIATED:  # there is nothing to be said: the stream's end is all that counts
            self._events.append(MessagesIgnored())
            return
        self._received += data
        while self._received and self.state not in _OVER:
            try:
                size, take = self._expected()
                wanted = size(self._received)
                if self._is_foreign():
                    if not is_line_pending(self._received):
                        self._violate(ViolationKind.VERSION, describe_server(self._received, self.scheme))
                    return
                if len(self._received) < wanted:
                    return
                message = bytes(self._received[:wanted])
                del self._received[:wanted]
                self._answered = True
                self.on_answer()
                take(message)
            except DecodeError as error:
                self._violate(ViolationKind.MALFORMED, f"{self.state.value}: {error}")

    def receive_eof(self, now: float) -> None:  # noqa: ARG002
        """Take the end of the proxy's stream; where it streams, the end is the stream's own."""
        if self.state in _OVER:
            return
        if self._received and self._is_foreign():
            self._violate(ViolationKind.VERSION, describe_server(self._received, self.scheme))
            return
        if self.state is _S.AWAITING_REPLY and self._answered and not self._received:
            self._operated(ReplyCode.GENERAL_FAILURE, words=CLOSED)
            return
        how = f"({self.state.value})" if self._received or self._answered else "without an answer"
        self.state = _S.CLOSED
        self._events.append(Ended(reason=f"the proxy closed the connection {how}"))

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the next step needs; 0 when the stream is the caller's."""
        if self.state in _OVER:
            return 0
        if self.state is _S.ASSOCIATED:
            return 1
        if self._received and self._is_foreign():
            return MAX_LINE - len(self._received)  # another protocol: its first line says which
        size, _ = self._expected()
        return size(self._received) - len(self._received)

    @abstractmethod
    def _expected(self) -> tuple[Size, Take]:
        """Return how long the next message is, as far as is known, and what takes it."""

    @abstractmethod
    def _is_foreign(self) -> bool:
        """Return whether what has arrived begins no message of the protocol."""

    @property
    def has_answered(self) -> bool:
        """Whether a message of the protocol has come."""
        return self._answered

    def _operated(self, code: int, host: str = socks5.NO_ADDRESS, port: int = 0, words: str = "") -> None:
        """Report the outcome of the request, or of BIND the peer."""
        reply = OperationReply(code=code, host=host, port=port)
        if self.state is _S.AWAITING_PEER:
            self.state = _S.CLOSED if code else _S.STREAMING
            self._events.append(PeerConnected(reply=reply, words=words))
            return
        self.state = _S.CLOSED if code else _ON_SUCCESS[self._request.command]
        self._events.append(OperationAnswered(reply=reply, words=words))

    def _refuse(self, reason: str) -> None:
        self.state = _S.CLOSED
        self._events.append(AuthenticationRefused(reply=_REFUSED, reason=reason))

    def _violate(self, kind: ViolationKind, reason: str) -> None:
        self.state = _S.CLOSED
        self._received.clear()
        self._events.append(Violation(kind=kind, reason=reason))


class Socks5ClientConversation(OlderConversation):
    """Makes one request of a SOCKS 5 proxy (RFC 1928), with a user name and a password if it wants them (RFC 1929).

    Raises ValueError for a request that cannot be written.
    """

    scheme = "socks5"

    def __init__(
        self, request: Request, *, credentials: UsernamePassword | None = None, trace: Trace | None = None
    ) -> None:
        super().__init__(request, _S.AWAITING_METHOD, trace)
        self._credentials = credentials
        self._message = Socks5Request(command=request.command, host=request.host, port=request.port)
        self._encoded = self._message.encode()
        self._methods = _SELECTABLE[credentials is not None]
        self._outgoing += self._traced(">", Socks5Greeting(methods=self._methods)).encode()

    @override
    def _expected(self) -> tuple[Size, Take]:
        match self.state:
            case _S.AWAITING_METHOD:
                return lambda _: socks5.SELECTION_SIZE, self._take_selection
            case _S.AWAITING_VERDICT:
                return lambda _: socks5.SELECTION_SIZE, self._take_verdict
            case _:
                return Socks5Reply.size, self._take_reply

    @override
    def _is_foreign(self) -> bool:
        return self._received[0] != socks5.VERSION and self.state is not _S.AWAITING_VERDICT

    def _take_selection(self, message: bytes) -> None:
        method = self._traced("<", Socks5MethodSelection.decode(message)).method
        if method not in self._methods:
            self._refuse(
                "it accepts none of our methods"
                if method == Method.NO_ACCEPTABLE
                else f"it wants method {method}, which was not offered"
            )
        elif method == Method.USERNAME_PASSWORD and self._credentials is not None:
            self.state = _S.AWAITING_VERDICT
            self._outgoing += self._traced(">", self._credentials).encode()
        else:
            self._ask()

    def _take_verdict(self, message: bytes) -> None:
        self.were_judged = True
        if status := self._traced("<", UsernamePasswordReply.decode(message)).status:
            self._refuse(f"status {status}")
        else:
            self._ask()

    def _ask(self) -> None:
        if self._request.command == Command.NOOP:
            self._operated(ReplyCode.SUCCEEDED)
            return
        self.state = _S.AWAITING_REPLY
        self._traced(">", self._message)
        self._outgoing += self._encoded

    def _take_reply(self, message: bytes) -> None:
        reply = self._traced("<", Socks5Reply.decode(message))
        self._operated(reply.code, reply.host, reply.port)


class Socks4ClientConversation(OlderConversation):
    """Makes one request of a SOCKS 4 proxy, of 4a where the host is a name; `user` is the user id.

    Raises ValueError for a request that cannot be written: there are no IPv6 addresses.
    """

    scheme = "socks4"

    def __init__(self, request: Request, *, user: bytes = b"", trace: Trace | None = None) -> None:
        super().__init__(request, _S.AWAITING_REPLY, trace)
        message = Socks4Request(command=request.command, host=request.host, port=request.port, user=user)
        encoded = message.encode()
        if request.command == Command.NOOP:
            self._operated(ReplyCode.SUCCEEDED)
        else:
            self._traced(">", message)
            self._outgoing += encoded

    @override
    def _expected(self) -> tuple[Size, Take]:
        return lambda _: socks4.HEADER_SIZE, self._take_reply

    @override
    def _is_foreign(self) -> bool:
        return self._received[0] not in socks4.REPLY_VERSIONS

    def _take_reply(self, message: bytes) -> None:
        reply = self._traced("<", Socks4Reply.decode(message))
        if reply.code == Socks4Result.GRANTED:
            self._operated(ReplyCode.SUCCEEDED, reply.host, reply.port)
        elif reply.code in _SOCKS4_REFUSALS:
            self._refuse(f"code {reply.code}, which is about the user id")
        else:
            self._operated(ReplyCode.GENERAL_FAILURE, words=f"{reply.code}, rejected or failed")


class HttpClientConversation(OlderConversation, Delimited):
    """Makes one CONNECT of an HTTP proxy (RFC 9110 §9.3.6), with Basic credentials (RFC 7617) if there are any.

    Raises ValueError for credentials that Basic cannot carry.
    """

    scheme = "http"

    def __init__(
        self, request: Request, *, credentials: UsernamePassword | None = None, trace: Trace | None = None
    ) -> None:
        super().__init__(request, _S.AWAITING_REPLY, trace)
        self._has_credentials = credentials is not None
        is_probe = request.command == Command.NOOP
        target = NOWHERE if is_probe else http.authority(request.host, request.port)
        fields: http.Fields = ((b"Host", target),)
        if credentials is not None:
            fields += (http.encode_basic(credentials.username, credentials.password),)
        line = (b"OPTIONS", b"http://%s/" % target) if is_probe else (b"CONNECT", target)
        self._traced(">", line)
        self._outgoing += http.encode_request(*line, fields)

    @override
    def size_within(self, ahead: bytes) -> int:
        """Return how many of the bytes that come next belong to the response's head."""
        tail = bytes(self._received[-3:])
        end = _BLANK_LINE.search(tail + ahead)
        return len(ahead) if end is None else end.end() - len(tail)

    @override
    def _expected(self) -> tuple[Size, Take]:
        return _head_size, self._take_head

    @override
    def _is_foreign(self) -> bool:
        return self._received[:5] != b"HTTP/"[: len(self._received)]

    def _take_head(self, message: bytes) -> None:
        head = http.decode_response(message)
        self._traced("<", (head.status, head.reason))
        code = http.reply_code_for(head)
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self._violate(ViolationKind.MALFORMED, "the proxy switches to a protocol that was not asked for")
        elif head.status in INTERIM:
            return
        elif head.status in _HTTP_REFUSALS:
            schemes = http.challenges(head.fields)
            self.were_judged = self._has_credentials and (not schemes or "basic" in schemes)
            wanted = "" if not schemes or "basic" in schemes else f": it wants {' or '.join(schemes)}"
            self._refuse(f"{http.failure_words(head)}{wanted}")
        elif self._request.command == Command.NOOP or code == ReplyCode.SUCCEEDED:
            self._operated(ReplyCode.SUCCEEDED)
        else:
            self._operated(code, words=http.failure_words(head))


def _head_size(data: bytes | bytearray) -> int:
    """Return how long a head is, or how many bytes at least there must be. Raises DecodeError if it is too long."""
    end = _BLANK_LINE.search(data)
    if end is not None:
        return end.end()
    if len(data) > MAX_HEAD_SIZE:
        raise DecodeError(f"a head of more than {MAX_HEAD_SIZE} bytes")
    return max(SHORTEST_HEAD, len(data) + (1 if data.endswith((b"\n", b"\n\r")) else 2))
