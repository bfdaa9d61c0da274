"""Options against replayed requests (§ Idempotence options).

A malformed Expenditure must not pass as none at all, or replays would: it is decoded as an `UnknownOption`
of its kind. In a request without an `IdempotenceExpenditure`, an unknown option of that kind is one.
"""

from collections.abc import Hashable
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.codes import OptionKind
from socks6.message.options.base import IN_AUTHENTICATION_REPLY, IN_REQUEST, Number, Option

MAX_WINDOW_SIZE: Final = 2**31 - 1
MAX_TOKEN: Final = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceRequest(Option):
    """A client asks for a window of so many tokens; any number may be asked for."""

    kind = OptionKind.IDEMPOTENCE_REQUEST.value
    messages = IN_REQUEST
    numbers = (Number("size", high=0xFFFFFFFF, size=4),)

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceWindow(Option):
    """The tokens that may be spent: `size` of them from `base` on, modulo 2^32."""

    kind = OptionKind.IDEMPOTENCE_WINDOW.value
    messages = IN_AUTHENTICATION_REPLY
    numbers = (Number("base", high=MAX_TOKEN, size=4), Number("size", high=MAX_WINDOW_SIZE, low=1, size=4))

    base: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceExpenditure(Option):
    """The token that a request spends."""

    kind = OptionKind.IDEMPOTENCE_EXPENDITURE.value
    messages = IN_REQUEST
    numbers = (Number("token", high=MAX_TOKEN, size=4),)

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceAccepted(Option):
    """The token was good, and is spent."""

    kind = OptionKind.IDEMPOTENCE_ACCEPTED.value
    messages = IN_AUTHENTICATION_REPLY


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotenceRejected(Option):
    """The token was not good."""

    kind = OptionKind.IDEMPOTENCE_REJECTED.value
    messages = IN_AUTHENTICATION_REPLY

    @override
    def claims(self) -> tuple[Hashable, ...]:
        return (IdempotenceAccepted.kind,)  # they contradict each other


IDEMPOTENCE_OPTIONS: Final[tuple[type[Option], ...]] = (
    IdempotenceRequest, IdempotenceWindow, IdempotenceExpenditure, IdempotenceAccepted,
    IdempotenceRejected,
)  # fmt: skip
