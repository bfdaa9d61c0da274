"""Replies: what a proxy answers to a request (§ Version Mismatch, Authentication and Operation Replies)."""

from typing import Final, Self

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.address import literal_at
from socks6.message.addressed import (
    START,
    addressed_size,
    check_options_length,
    check_start,
    decode_addressed,
    encode_addressed,
)
from socks6.message.buffer import Reader
from socks6.message.codes import ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options.base import HandshakeMessage, Option, check_range, encode_options
from socks6.message.options.table import STANDARD, OptionTable

VERSION_MISMATCH: Final = b"\x06"  # the whole message


PLAIN_REPLY: Final = bytes((DRAFT_12.version, ReplyCode.SUCCEEDED, 0, 0))  # an Operation Reply, as it begins
PLAIN_REPLY_BYTES: Final = 12
ADDRESS_OFFSET: Final = 8  # in it, after the port, padding and the address type


def read_plain_reply(data: bytes) -> tuple[str, int] | None:
    """Return host and port of an Operation Reply, no byte less or more; None unless it is plain.

    A plain one is successful, without options, and has an IPv4 address. `OperationReply.decode` says the same, in six
    times the Python calls.
    """
    if len(data) != PLAIN_REPLY_BYTES or not data.startswith(PLAIN_REPLY):
        return None
    host = literal_at(data[7], data, ADDRESS_OFFSET)
    return None if host is None else (host, data[4] << 8 | data[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationReply:
    """Whether the client is authenticated; the options show how it may go on."""

    type: int  # socks6.message.codes.AuthenticationType, or a number that we do not know
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        check_range("type", self.type, 0xFF)

    def encode(self, dialect: Dialect = DRAFT_12) -> bytes:
        """Return the reply as bytes; ValueError if an option must not be sent."""
        options = encode_options(self.options) if self.options else b""
        return START.pack(dialect.version, self.type, len(options)) + options

    @classmethod
    def decode(cls, data: bytes, dialect: Dialect = DRAFT_12, table: OptionTable = STANDARD) -> Self:
        """Return the reply that `data` is, no byte less or more; DecodeError if it is none."""
        reader = Reader(data)
        version, kind, options_length = reader.unpack(START)
        check_start(version, options_length, dialect)
        if reader.remaining != options_length:
            raise DecodeError(f"{reader.remaining} bytes of options, not {options_length}")
        return cls(type=kind, options=table.decode(reader, HandshakeMessage.AUTHENTICATION_REPLY, dialect))

    @staticmethod
    def size(data: bytes | bytearray, dialect: Dialect = DRAFT_12) -> int:  # noqa: ARG004 - as for the others
        """Return how long the reply is as far as `data` shows; it is whole once there are so many bytes.

        DecodeError once it is known to be too long.
        """
        if len(data) < START.size:
            return START.size
        _, _, options_length = Reader(data).unpack(START)
        check_options_length(options_length)
        return START.size + options_length


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationReply:
    """How the operation went; `host` and `port` are the proxy's end, or the peer that a BIND accepted."""

    code: int  # socks6.message.codes.ReplyCode, or a number that we do not know
    host: str = "0.0.0.0"  # noqa: S104 - nothing is bound: a failed reply's address
    port: int = 0
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        check_range("code", self.code, 0xFF)
        check_range("port", self.port, 0xFFFF)

    def encode(self, dialect: Dialect = DRAFT_12) -> bytes:
        """Return the reply as bytes; ValueError if the host or an option must not be sent."""
        return encode_addressed(self.code, self.host, self.port, self.options, dialect)

    @classmethod
    def decode(cls, data: bytes, dialect: Dialect = DRAFT_12, table: OptionTable = STANDARD) -> Self:
        """Return the reply that `data` is, no byte less or more; DecodeError if it is none."""
        code, host, port, options = decode_addressed(data, HandshakeMessage.OPERATION_REPLY, dialect, table)
        return cls(code=code, host=host, port=port, options=options)

    size = staticmethod(addressed_size)
