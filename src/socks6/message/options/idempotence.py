"""Options against replayed requests (§ Idempotence options).

A malformed Expenditure must not pass as none at all, or replays would: it is decoded as an `UnknownOption`
of its kind. In a request without an `IdempotenceExpenditure`, an unknown option of that kind is one.
"""

from collections.abc import Hashable
from struct import Struct
from typing import Final, Self

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.options.base import IN_AUTHENTICATION_REPLY, IN_REQUEST, Option, check_range
from socks6.message.options.session import EmptyOption

MAX_WINDOW_SIZE: Final = 2**31 - 1
MAX_TOKEN: Final = 2**32 - 1

_U32: Final = Struct("!I")
_TWO_U32: Final = Struct("!II")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceRequest(Option):
    """A client asks for a window of so many tokens; any number may be asked for."""

    kind = OptionKind.IDEMPOTENCE_REQUEST.value
    messages = IN_REQUEST

    size: int

    def __post_init__(self) -> None:
        check_range("window size asked for", self.size, 0xFFFFFFFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(size=body.u32())

    @override
    def encode_body(self) -> bytes:
        return _U32.pack(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceWindow(Option):
    """The tokens that may be spent: `size` of them from `base` on, modulo 2^32."""

    kind = OptionKind.IDEMPOTENCE_WINDOW.value
    messages = IN_AUTHENTICATION_REPLY

    base: int
    size: int

    def __post_init__(self) -> None:
        check_range("window base", self.base, MAX_TOKEN)
        check_range("window size", self.size, MAX_WINDOW_SIZE, 1)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(base=body.u32(), size=body.u32())

    @override
    def encode_body(self) -> bytes:
        return _TWO_U32.pack(self.base, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceExpenditure(Option):
    """The token that a request spends."""

    kind = OptionKind.IDEMPOTENCE_EXPENDITURE.value
    messages = IN_REQUEST

    token: int

    def __post_init__(self) -> None:
        check_range("token", self.token, MAX_TOKEN)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(token=body.u32())

    @override
    def encode_body(self) -> bytes:
        return _U32.pack(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceAccepted(EmptyOption):
    """The token was good, and is spent."""

    kind = OptionKind.IDEMPOTENCE_ACCEPTED.value
    messages = IN_AUTHENTICATION_REPLY


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceRejected(EmptyOption):
    """The token was not good."""

    kind = OptionKind.IDEMPOTENCE_REJECTED.value
    messages = IN_AUTHENTICATION_REPLY

    @override
    def claims(self) -> tuple[Hashable, ...]:
        return (IdempotenceAccepted.kind,)  # they contradict each other
