"""Requests: what a client asks for (§ Requests)."""

import contextlib
from typing import Final, Self

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.address import decode_address, literal_at
from socks6.message.addressed import addressed_size, decode_addressed, encode_addressed
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType, Command, OptionKind
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options.auth import MAX_INITIAL_DATA
from socks6.message.options.base import HEADER, MAX_OPTIONS_LENGTH, HandshakeMessage, Option, check_range
from socks6.message.options.table import STANDARD, OptionTable

__all__ = ["MAX_INITIAL_DATA", "MAX_OPTIONS_LENGTH", "Request", "read_plain_connect", "read_session_connect"]

PLAIN_CONNECT: Final = bytes((DRAFT_12.version, Command.CONNECT, 0, 0))  # as it begins: no options
ADDRESS_OFFSET: Final = 8  # after the port, padding and the address type
DOMAIN_NAME: Final = AddressType.DOMAIN_NAME.value
MAX_ADDRESS_BYTES: Final = 1 + 255 + 3  # a name, its length, padding
SESSION_ID: Final = OptionKind.SESSION_ID.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command, and the host and port that it is about."""

    command: int  # socks6.message.codes.Command, or a number that we do not know
    host: str
    port: int
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        check_range("command", self.command, 0xFF)
        check_range("port", self.port, 0xFFFF)

    def encode(self, dialect: Dialect = DRAFT_12) -> bytes:
        """Return the request as bytes; ValueError if the host or an option must not be sent."""
        return encode_addressed(self.command, self.host, self.port, self.options, dialect)

    @classmethod
    def decode(cls, data: bytes, dialect: Dialect = DRAFT_12, table: OptionTable = STANDARD) -> Self:
        """Return the request that `data` is, no byte less or more; DecodeError if it is none."""
        command, host, port, options = decode_addressed(data, HandshakeMessage.REQUEST, dialect, table)
        return cls(command=command, host=host, port=port, options=options)

    size = staticmethod(addressed_size)


def read_plain_connect(data: bytes, *, names: bool = False) -> tuple[str, int, int] | None:
    """Return host, port and length of the CONNECT that `data` begins with; None unless it is whole and plain.

    A plain one has no options, and an IP address or, with `names`, a name. `Request.decode` says the same, in six times the
    Python calls.
    """
    if not data.startswith(PLAIN_CONNECT) or len(data) < ADDRESS_OFFSET:
        return None
    port = data[4] << 8 | data[5]
    host = literal_at(data[7], data, ADDRESS_OFFSET)
    if host is not None:
        return host, port, ADDRESS_OFFSET + (16 if ":" in host else 4)
    if names and data[7] == DOMAIN_NAME:
        reader = Reader(data, ADDRESS_OFFSET)
        with contextlib.suppress(DecodeError):
            return decode_address(DOMAIN_NAME, reader, DRAFT_12), port, len(data) - reader.remaining
    return None


def read_session_connect(data: bytes, *, names: bool = False) -> tuple[str, int, int, bytes] | None:
    """Return host, port, length and session id of the CONNECT that `data` begins with, as `read_plain_connect`.

    None unless it is whole, and the id of its session is its only option.
    """
    length = int.from_bytes(data[2:4])
    if not length or length % 4 or data[:2] != PLAIN_CONNECT[:2]:
        return None
    address = data[len(PLAIN_CONNECT) : ADDRESS_OFFSET + MAX_ADDRESS_BYTES]
    plain = read_plain_connect(PLAIN_CONNECT + address, names=names)
    if plain is None:
        return None
    host, port, start = plain
    end = start + length
    if len(data) < end or not data.startswith(HEADER.pack(SESSION_ID, length), start):
        return None
    return host, port, end, data[start + HEADER.size : end]
