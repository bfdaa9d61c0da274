"""The events that conversations return to their drivers."""

from enum import Enum
from typing import Final

from socks6.dataclass import dataclass
from socks6.message.datagrams import AssociationMessage
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.protocol.methods.base import Credentials

MAX_IGNORED_MESSAGES: Final = 16  # messages in a row that make no sense, 7 µs each, until `MessagesIgnored`


class ViolationKind(Enum):
    """What the peer did wrong."""

    VERSION = "version"  # another protocol, or another version of this one
    MALFORMED = "malformed"
    FRAGMENTED = "fragmented"  # the request came in pieces, which this listener ignores
    DEADLINE = "deadline"  # too slow


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """Server: a whole request is here. Answer with `authenticate`, or refuse."""

    request: Request
    dialect: Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsOffered:
    """Server: the client offers a proof. Answer with `verified`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """Server: nothing stands against the client. Answer with `send_authenticated`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationRefused:
    """Server: the client was refused, the answer is queued. Client: the proxy refused us."""

    reply: AuthenticationReply
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationAccepted:
    """Client: the proxy accepted us; the operation reply follows."""

    reply: AuthenticationReply


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationAnswered:
    """Client: the proxy's operation reply, of either outcome; `words` are what a proxy of another protocol said."""

    reply: OperationReply
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected:
    """Client: BIND's second operation reply (§ Handling BIND), of either outcome; `words` as above."""

    reply: OperationReply
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationMessageReceived:
    """A UDP association message came over the stream (§ Handling UDP ASSOCIATE)."""

    message: AssociationMessage
    layout: DatagramLayout | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesIgnored:
    """So many bytes on an association's stream made no message that the driver has to give others a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The peer broke the protocol; what answer there is is queued, then the stream must be closed."""

    kind: ViolationKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The peer's stream ended where the conversation needed more."""

    reason: str


ServerEvent = (
    RequestReceived
    | CredentialsOffered
    | Authenticated
    | AuthenticationRefused
    | AssociationMessageReceived
    | MessagesIgnored
    | Violation
    | Ended
)
ClientEvent = (
    AuthenticationAccepted
    | AuthenticationRefused
    | OperationAnswered
    | PeerConnected
    | AssociationMessageReceived
    | MessagesIgnored
    | Violation
    | Ended
)
