"""Username/password messages (RFC 1929), the bodies of Authentication Data options of method 2."""

from dataclasses import field
from typing import Final, Self

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options.base import MAX_PADDING, check_range

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UsernamePassword:
    """A name and a password; RFC 1929 wants one byte of each at least, but some clients send none."""

    username: bytes
    password: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_range("length of the username", len(self.username), 0xFF)
        check_range("length of the password", len(self.password), 0xFF)

    def encode(self) -> bytes:
        """Return the request as bytes, without padding."""
        lengths = len(self.username), len(self.password)
        return bytes((_VERSION, lengths[0])) + self.username + bytes((lengths[1],)) + self.password

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the request at the start of `data`, which may be padded; DecodeError if there is none."""
        reader = _open(data)
        username = reader.take(reader.u8())
        password = reader.take(reader.u8())
        _check_padding(reader)
        return cls(username=username, password=password)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsernamePasswordReply:
    """Whether name and password hold: 0 if they do."""

    status: int

    def __post_init__(self) -> None:
        check_range("status", self.status, 0xFF)

    def encode(self) -> bytes:
        """Return the reply as bytes, without padding."""
        return bytes((_VERSION, self.status))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the reply at the start of `data`, which may be padded; DecodeError if there is none."""
        reader = _open(data)
        status = reader.u8()
        _check_padding(reader)
        return cls(status=status)


def _open(data: bytes) -> Reader:
    reader = Reader(data)
    version = reader.u8()
    if version != _VERSION:
        raise DecodeError(f"username/password version {version}, not {_VERSION}")
    return reader


def _check_padding(reader: Reader) -> None:
    if reader.remaining > MAX_PADDING:
        raise DecodeError(f"{reader.remaining} bytes after a username/password message")
