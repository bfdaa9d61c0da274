"""SOCKS 5 messages (RFC 1928), as both sides read and write them; the bodies of RFC 1929 are in `socks6.message.userpass`."""

import contextlib
from typing import Final, Self

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.address import (
    UNSPECIFIED_IPV4,
    address_size,
    decode_address,
    decode_host,
    encode_address,
    literal_at,
)
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType, Command, Method, ReplyCode
from socks6.message.dialect import DRAFT_12
from socks6.message.options.base import check_range

VERSION: Final = 0x05
CREDENTIALS_VERSION: Final = 0x01  # RFC 1929
NO_ADDRESS: Final = UNSPECIFIED_IPV4

# as they are, but SOCKS 5 has no 09
REPLY_FOR_CODE: Final[dict[int, ReplyCode]] = {
    **{code: code for code in ReplyCode if code <= ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED},
    ReplyCode.CONNECTION_TIMED_OUT: ReplyCode.HOST_UNREACHABLE,
}

SELECTION_SIZE: Final = 2
FAILURE_SIZE: Final = 2  # of a reply: version, code
ADDRESS_OFFSET: Final = 4  # in requests and replies, after version, number, reserved byte, address type
PLAIN_CONNECT: Final = bytes((VERSION, Command.CONNECT))  # as it begins
DOMAIN_NAME: Final = AddressType.DOMAIN_NAME.value
SUCCESS: Final = bytes((VERSION, ReplyCode.SUCCEEDED, 0))  # as a reply begins


def reply_code_for(code: int) -> ReplyCode:
    """Return the SOCKS 5 reply code for a SOCKS 6 reply code."""
    return REPLY_FOR_CODE.get(code, ReplyCode.GENERAL_FAILURE)


def credentials_size(data: bytes | bytearray) -> int:
    """Return how long an RFC 1929 request is: version, name and password, each after its length."""
    if len(data) < 2:
        return 2
    password = 2 + data[1]
    return password + 1 if len(data) <= password else password + 1 + data[password]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks5Greeting:
    """The client's first message: the methods that it has."""

    methods: tuple[int, ...]

    def __post_init__(self) -> None:
        check_range("number of methods", len(self.methods), 0xFF)
        for method in self.methods:
            check_range("method", method, 0xFF)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the greeting that `data` is, wholly."""
        reader = _open(data, cls.size(data))
        return cls(methods=tuple(reader.take(reader.u8())))

    def encode(self) -> bytes:
        """Return the greeting's bytes."""
        return bytes([VERSION, len(self.methods), *self.methods])

    @staticmethod
    def size(data: bytes | bytearray) -> int:
        """Return how long the greeting is, or how many bytes are needed to know."""
        return 2 if len(data) < 2 else 2 + data[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks5MethodSelection:
    """The proxy's answer to a greeting."""

    method: int

    def __post_init__(self) -> None:
        check_range("method", self.method, 0xFF)

    def encode(self) -> bytes:
        """Return the selection's bytes."""
        return bytes([VERSION, self.method])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the selection that `data` is, wholly."""
        return cls(method=_open(data, SELECTION_SIZE).u8())


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks5Request:
    """What the client asks for."""

    command: int
    host: str
    port: int

    def __post_init__(self) -> None:
        check_range("command", self.command, 0xFF)
        check_range("port", self.port, 0xFFFF)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the request that `data` is, wholly."""
        reader = _open(data, cls.size(data))
        command = reader.u8()
        reader.u8()  # reserved
        host, port = read_address(reader)
        return cls(command=command, host=host, port=port)

    def encode(self) -> bytes:
        """Return the request's bytes. Raises ValueError for an impossible host."""
        return bytes([VERSION, self.command, 0]) + encode_host_and_port(self.host, self.port)

    @staticmethod
    def size(data: bytes | bytearray) -> int:
        """Return how long the request is, or how many bytes are needed to know. Raises UnknownAddressType."""
        return _addressed_size(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks5Reply:
    """How the operation went."""

    code: int
    host: str = NO_ADDRESS
    port: int = 0

    def __post_init__(self) -> None:
        check_range("code", self.code, 0xFF)
        check_range("port", self.port, 0xFFFF)

    def encode(self) -> bytes:
        """Return the reply's bytes. Raises ValueError for an impossible host."""
        return bytes([VERSION, self.code, 0]) + encode_host_and_port(self.host, self.port)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the reply that `data` is, wholly; of a failure its first two bytes are enough."""
        if data[1:2] > b"\0":  # what follows says nothing, and some proxies write no address there
            return cls(code=_open(data[:FAILURE_SIZE], FAILURE_SIZE).u8())
        reader = _open(data, cls.size(data))
        code = reader.u8()
        reader.u8()  # reserved
        host, port = read_address(reader)
        return cls(code=code, host=host, port=port)

    @staticmethod
    def size(data: bytes | bytearray) -> int:
        """Return how long the reply is, or how many bytes are needed to know. Raises UnknownAddressType."""
        return FAILURE_SIZE if data[1:2] > b"\0" else _addressed_size(data)


def encode_success(host: str, port: int) -> bytes:
    """Return the bytes of a successful reply, as `Socks5Reply.encode` does."""
    return SUCCESS + encode_host_and_port(host, port)


def is_plain_greeting(data: bytes) -> bool:
    """Return whether `data` is a greeting, no byte less or more, of a client that can do without authentication."""
    return data[0] == VERSION and len(data) == Socks5Greeting.size(data) and Method.NONE.value in data[2:]


def read_plain_connect(data: bytes, *, names: bool = False) -> tuple[str, int, int] | None:
    """Return host, port and length of the CONNECT that `data` begins with; None unless it is whole and plain.

    A plain one has an IP address or, with `names`, a name. `Socks5Request.decode` says the same, in six times the Python calls.
    """
    if not data.startswith(PLAIN_CONNECT) or len(data) <= ADDRESS_OFFSET:
        return None
    host = literal_at(data[3], data, ADDRESS_OFFSET)
    end = ADDRESS_OFFSET + (16 if host and ":" in host else 4)
    if host is None and names and data[3] == DOMAIN_NAME:
        start = ADDRESS_OFFSET + 1
        end = start + data[ADDRESS_OFFSET]
        with contextlib.suppress(DecodeError):
            host = decode_host(data[start:end])
    if host is None or len(data) < end + 2:
        return None
    return host, data[end] << 8 | data[end + 1], end + 2


def read_address(reader: Reader) -> tuple[str, int]:
    """Return the host and port that are next, after their type, in any message. Raises DecodeError."""
    kind = reader.u8()
    if kind == AddressType.DOMAIN_NAME:  # some clients write addresses so; Chromium, IPv6 addresses too
        host = decode_host(reader.take(reader.u8()))
    else:
        host = decode_address(kind, reader, DRAFT_12)
    return host, reader.u16()


def _addressed_size(data: bytes | bytearray) -> int:
    """Return how long a request or a successful reply is, or how many bytes are needed to know."""
    if len(data) < ADDRESS_OFFSET:
        return ADDRESS_OFFSET
    address = Reader(data, ADDRESS_OFFSET)
    return ADDRESS_OFFSET + address_size(data[ADDRESS_OFFSET - 1], address, DRAFT_12) + 2


def _open(data: bytes, size: int) -> Reader:
    """Return a reader past the version of a message that must be `size` bytes long."""
    if len(data) != size:
        raise DecodeError(f"{len(data)} bytes are not a message of {size}")
    reader = Reader(data)
    if (version := reader.u8()) != VERSION:
        raise DecodeError(f"version {version}")
    return reader


def encode_host_and_port(host: str, port: int) -> bytes:
    """Return them behind their type. Raises ValueError for an impossible host."""
    kind, address = encode_address(host)
    if kind == AddressType.DOMAIN_NAME:
        name = address[1:].rstrip(b"\0")  # SOCKS 6 pads names, SOCKS 5 does not
        address = bytes([len(name)]) + name
    return bytes([kind]) + address + port.to_bytes(2)
