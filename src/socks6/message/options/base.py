"""What an option is; options that we do not know; how options are written."""

from collections.abc import Collection, Hashable, Iterable
from enum import Enum
from struct import Struct
from typing import ClassVar, Final, NamedTuple, Self, TypeVar

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.buffer import Reader

MAX_OPTIONS_LENGTH: Final = 20 * 1024  # § Requests: all options of a message together
# § Large requests lets a proxy cap their number. All that the draft knows is far fewer; 5120 empty ones would
# take 6 ms (benchmarks.micro.message), as long as twenty honest connections.
MAX_OPTIONS: Final = 256
HEADER: Final = Struct("!HH")  # kind, length of the whole option
MAX_PADDING: Final = 3  # § SOCKS Options: lengths are multiples of 4
MAX_BODY_LENGTH: Final = MAX_OPTIONS_LENGTH - HEADER.size

OptionT = TypeVar("OptionT", bound="Option")


class HandshakeMessage(Enum):
    """A message that carries options."""

    REQUEST = "request"
    AUTHENTICATION_REPLY = "authentication reply"
    OPERATION_REPLY = "operation reply"


IN_REQUEST: Final = frozenset((HandshakeMessage.REQUEST,))
IN_AUTHENTICATION_REPLY: Final = frozenset((HandshakeMessage.AUTHENTICATION_REPLY,))


class Number(NamedTuple):
    """One number in an option's body: the field that holds it, its bounds, its size in bytes."""

    field: str
    high: int = 0xFF
    low: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One SOCKS option (§ SOCKS Options). Subclasses are frozen dataclasses; yours may be too.

    The body is `numbers`, one after another, unless a class has `decode_body` and `encode_body` of its own.

    No ABC: `find` among three options would take 0.52 us, not 0.15 (benchmarks.micro.message), and mypy
    would not let it look for an abstract class.

    ::

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Greeting(Option):
            kind = 0xFE01
            messages = frozenset((HandshakeMessage.REQUEST,))
            text: bytes

            @classmethod
            def decode_body(cls, body: Reader) -> Self:
                return cls(text=body.rest())

            def encode_body(self) -> bytes:
                return self.text

        table = STANDARD.extended(Greeting)
    """

    kind: ClassVar[int]
    messages: ClassVar[frozenset[HandshakeMessage]] = frozenset(HandshakeMessage)  # that may carry it
    numbers: ClassVar[tuple[Number, ...]] = ()

    def __post_init__(self) -> None:
        for field, high, low, _ in self.numbers:
            check_range(f"{type(self).__name__}.{field}", getattr(self, field), high, low)

    @classmethod
    def table_key(cls) -> int:
        """Return the option's key in a table: its kind, unless options share one."""
        check_range("option kind", cls.kind, 0xFFFF)
        return cls.kind

    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        """Return the option with this body; ValueError or DecodeError if it is impossible.

        What it leaves unread is padding: MAX_PADDING bytes at most.
        """
        return cls(**decode_numbers(cls.numbers, body))

    def encode_body(self) -> bytes:
        """Return the body without padding; ValueError if it must not be sent."""
        return b"".join(getattr(self, number.field).to_bytes(number.size) for number in self.numbers)

    def claims(self) -> tuple[Hashable, ...]:
        """Return what the option claims: of two options with a claim in common, the first counts."""
        return (self.kind,)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownOption(Option):
    """An option that must not be acted upon: of unknown kind, misplaced, a duplicate, or malformed."""

    kind: int  # type: ignore[misc]  # the one option whose kind differs from object to object
    body: bytes

    @override
    def __post_init__(self) -> None:
        check_range("option kind", self.kind, 0xFFFF)
        check_range("length of an option's body", len(self.body), MAX_BODY_LENGTH)

    @override
    def __repr__(self) -> str:  # a duplicate of Authentication Data holds a secret too
        return f"UnknownOption(kind={self.kind}, body=<{len(self.body)} bytes>)"

    @override
    def encode_body(self) -> bytes:
        return self.body

    @override
    def claims(self) -> tuple[Hashable, ...]:
        return ()


def check_range(name: str, value: int, high: int, low: int = 0) -> None:
    """Raise ValueError unless `value` is at least `low` and at most `high`, TypeError if it is no number."""
    try:
        is_within = low <= value <= high
    except TypeError:
        raise TypeError(f"{name} is {value!r}, no number") from None
    if not is_within:
        raise ValueError(f"{name} is {value}, not {low} to {high}")


def decode_numbers(numbers: Iterable[Number], body: Reader) -> dict[str, int]:
    """Return the numbers that are next in a body, by their fields. Raises DecodeError."""
    return {number.field: int.from_bytes(body.take(number.size)) for number in numbers}


def find(options: Iterable[Option], kind: type[OptionT]) -> OptionT | None:
    """Return the first option of a class; None if there is none."""
    for option in options:
        if isinstance(option, kind):
            return option
    return None


def find_all(options: Iterable[Option], kind: type[OptionT]) -> tuple[OptionT, ...]:
    """Return all options of a class, in their order."""
    return tuple(option for option in options if isinstance(option, kind))


def encode_options(options: Collection[Option]) -> bytes:
    """Return the options as bytes: ordered by kind and aligned, whatever the dialect.

    ValueError if two of them contradict each other, or all together are too many or too long.
    """
    check_range("number of options", len(options), MAX_OPTIONS)
    claimed: set[Hashable] = set()
    parts: list[bytes] = []
    for option in sorted(options, key=_kind):
        claims = option.claims()
        if not claimed.isdisjoint(claims):
            raise ValueError(f"{option!r} is a duplicate, or contradicts another option")
        claimed.update(claims)
        body = option.encode_body()
        padding = -len(body) % 4
        check_range("length of an option's body", len(body), MAX_BODY_LENGTH)
        parts += (HEADER.pack(option.kind, HEADER.size + len(body) + padding), body, bytes(padding))
    encoded = b"".join(parts)
    check_range("length of all options", len(encoded), MAX_OPTIONS_LENGTH)
    return encoded


def _kind(option: Option) -> int:
    return option.kind
