"""What a Request and an Operation Reply share: a code, options, and a host and port in between."""

from struct import Struct
from typing import Final

from socks6.errors import DecodeError
from socks6.message.address import address_size, decode_address, encode_address
from socks6.message.buffer import Reader
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options.base import MAX_OPTIONS_LENGTH, HandshakeMessage, Option, encode_options
from socks6.message.options.table import OptionTable

START: Final = Struct("!BBH")  # version, code, options length: how all messages but one begin
_HEADER: Final = Struct("!BBHHxB")  # version, code, options length, port, padding, address type
_PORT_AND_KIND: Final = Struct("!HxB")


def encode_addressed(code: int, host: str, port: int, options: tuple[Option, ...], dialect: Dialect) -> bytes:
    """Return the message as bytes; ValueError if the host cannot be one, or the options are too many."""
    kind, address = encode_address(host)
    encoded = encode_options(options) if options else b""
    return _HEADER.pack(dialect.version, code, len(encoded), port, kind) + address + encoded


def decode_addressed(
    data: bytes, message: HandshakeMessage, dialect: Dialect, table: OptionTable
) -> tuple[int, str, int, tuple[Option, ...]]:
    """Return code, host, port and options of exactly one whole message."""
    reader = Reader(data)
    version, code, options_length, port, kind = reader.unpack(_HEADER)
    check_start(version, options_length, dialect)
    host = decode_address(kind, reader, dialect)
    if reader.remaining != options_length:
        raise DecodeError(f"{reader.remaining} bytes of options, not {options_length}")
    options = table.decode(reader, message, dialect) if options_length else ()
    return code, host, port, options


def addressed_size(data: bytes | bytearray, dialect: Dialect = DRAFT_12) -> int:
    """Return how long the message is as far as `data` shows; it is whole once there are so many bytes.

    DecodeError once it is known to be too long; UnknownAddressType when its end cannot be known.
    """
    if len(data) < START.size:
        return _HEADER.size
    reader = Reader(data)
    _, _, options_length = reader.unpack(START)
    check_options_length(options_length)  # before anything more is buffered
    if len(data) < _HEADER.size:
        return _HEADER.size
    _, kind = reader.unpack(_PORT_AND_KIND)
    return _HEADER.size + address_size(kind, reader, dialect) + options_length


def check_start(version: int, options_length: int, dialect: Dialect) -> None:
    """Raise DecodeError for another version, or more options than a message may have."""
    if version != dialect.version:
        raise DecodeError(f"version {version}, not {dialect.version}")
    check_options_length(options_length)


def check_options_length(options_length: int) -> None:
    """Raise DecodeError for more options than a message may have (§ Requests)."""
    if options_length > MAX_OPTIONS_LENGTH:
        raise DecodeError(f"options of {options_length} bytes, more than {MAX_OPTIONS_LENGTH}")
