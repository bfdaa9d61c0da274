"""Options about authentication (§ Authentication Data options, § Authentication Method options)."""

from collections.abc import Hashable
from dataclasses import field
from struct import Struct
from typing import Final, Self

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.options.base import (
    IN_AUTHENTICATION_REPLY,
    IN_REQUEST,
    MAX_BODY_LENGTH,
    Number,
    Option,
    check_range,
)

MAX_INITIAL_DATA: Final = 2**14  # § Authentication Method options

_U16: Final = Struct("!H")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationMethodAdvertisement(Option):
    """The methods that a client can carry out after its request, and how much data comes before them.

    Method 0 is never among `methods`: every client supports it, and it cannot be distinguished from padding.
    `initial_data_length` may be greater than MAX_INITIAL_DATA when a client wrote so, which fails the
    whole request; we never write such a number.
    """

    kind = OptionKind.AUTHENTICATION_METHOD_ADVERTISEMENT.value
    messages = IN_REQUEST

    methods: tuple[int, ...]
    initial_data_length: int = 0

    @override
    def __post_init__(self) -> None:
        for method in self.methods:
            check_range("advertised method", method, 0xFF, 1)
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods advertised twice: {self.methods}")
        check_range("initial data length", self.initial_data_length, 0xFFFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        initial_data_length = body.u16()
        methods = tuple(dict.fromkeys(body.rest().replace(b"\0", b"")))
        return cls(methods=methods, initial_data_length=initial_data_length)

    @override
    def encode_body(self) -> bytes:
        check_range("initial data length", self.initial_data_length, MAX_INITIAL_DATA)
        return _U16.pack(self.initial_data_length) + bytes(self.methods)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationMethodSelection(Option):
    """The method that must proceed; 0xFF when none is acceptable."""

    kind = OptionKind.AUTHENTICATION_METHOD_SELECTION.value
    messages = IN_AUTHENTICATION_REPLY

    numbers = (Number("method"),)

    method: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationData(Option):
    """A method's data that needs no round trip; as decoded, `data` may end in the option's padding."""

    kind = OptionKind.AUTHENTICATION_DATA.value
    messages = IN_REQUEST | IN_AUTHENTICATION_REPLY

    method: int
    data: bytes = field(repr=False)

    @override
    def __post_init__(self) -> None:
        check_range("method", self.method, 0xFF)
        check_range("length of authentication data", len(self.data), MAX_BODY_LENGTH - 1)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(method=body.u8(), data=body.rest())

    @override
    def encode_body(self) -> bytes:
        return bytes((self.method,)) + self.data

    @override
    def claims(self) -> tuple[Hashable, ...]:
        return ((self.kind, self.method),)  # § Authentication Data options: one per method


AUTHENTICATION_OPTIONS: Final[tuple[type[Option], ...]] = (
    AuthenticationMethodAdvertisement, AuthenticationMethodSelection, AuthenticationData,
)  # fmt: skip
