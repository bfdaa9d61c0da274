"""Options about sessions (§ Session options), and about the streams of one connection (the QUIC extension)."""

from collections.abc import Hashable
from dataclasses import field
from typing import Final, Self

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.options.base import (
    IN_AUTHENTICATION_REPLY,
    IN_REQUEST,
    MAX_BODY_LENGTH,
    HandshakeMessage,
    Number,
    Option,
    check_range,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest(Option):
    """A client asks for a session."""

    kind = OptionKind.SESSION_REQUEST.value
    messages = IN_REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionId(Option):
    """The session that a request belongs to, or has opened.

    As decoded, `id` may be empty or (from dialects with unaligned options) no multiple of 4 bytes: no
    session has such an id, so that it is an invalid one. We never write such an id: encoding it raises
    ValueError.
    """

    kind = OptionKind.SESSION_ID.value

    id: bytes = field(repr=False)

    @override
    def __post_init__(self) -> None:
        check_range("length of a session id", len(self.id), MAX_BODY_LENGTH)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(id=body.rest())

    @override
    def encode_body(self) -> bytes:
        if not self.id or len(self.id) % 4:
            raise ValueError(f"length of a session id is {len(self.id)}, no multiple of 4 above 0")
        return self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOk(Option):
    """The request belongs to its session."""

    kind = OptionKind.SESSION_OK.value
    messages = IN_AUTHENTICATION_REPLY


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInvalid(Option):
    """There is no such session."""

    kind = OptionKind.SESSION_INVALID.value
    messages = IN_AUTHENTICATION_REPLY

    @override
    def claims(self) -> tuple[Hashable, ...]:
        return (SessionOk.kind,)  # they contradict each other


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTeardown(Option):
    """A client needs its session no more."""

    kind = OptionKind.SESSION_TEARDOWN.value
    messages = IN_REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamId(Option):
    """Which BIND of a multiplexed connection a stream belongs to; a number unique in that connection."""

    kind = OptionKind.STREAM_ID.value
    messages = frozenset((HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY))

    numbers = (Number("id", high=0xFFFFFFFF, size=4),)

    id: int


SESSION_OPTIONS: Final[tuple[type[Option], ...]] = (
    SessionRequest, SessionId, SessionOk, SessionInvalid, SessionTeardown,
)  # fmt: skip
