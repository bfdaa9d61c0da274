"""SOCKS 4 and 4a: requests as clients write them, and the replies to them."""

from enum import IntEnum
from typing import Final, Self

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.address import UNSPECIFIED_IPV4, decode_host, encode_address, ipv4_text
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType, ReplyCode
from socks6.message.options.base import check_range

VERSION: Final = 0x04
HEADER_SIZE: Final = 8  # version, command, port, address
MAX_STRING: Final = 255  # a user id or a name, without its NUL
MARKER: Final = b"\0\0\0\1"  # SOCKS 4a: an address 0.0.0.x announces a name
NO_ADDRESS: Final = UNSPECIFIED_IPV4
REPLY_VERSIONS: Final = (0, VERSION)  # 0 by the specification; some proxies write the other one


class Socks4Result(IntEnum):
    """The codes of a reply."""

    GRANTED = 0x5A
    REJECTED = 0x5B
    NO_IDENTD = 0x5C
    WRONG_USER = 0x5D


RESULT_FOR_REPLY: Final[dict[int, Socks4Result]] = {
    ReplyCode.SUCCEEDED: Socks4Result.GRANTED
}  # SOCKS 4 knows no reasons


def result_for(code: int) -> Socks4Result:
    """Return the SOCKS 4 result for a SOCKS 6 reply code."""
    return RESULT_FOR_REPLY.get(code, Socks4Result.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks4Request:
    """What a SOCKS 4 or 4a client asks for: of 4a where the host is no IPv4 address."""

    command: int
    host: str
    port: int
    user: bytes = b""

    def __post_init__(self) -> None:
        check_range("command", self.command, 0xFF)
        check_range("port", self.port, 0xFFFF)
        check_range("length of the user id", len(self.user), MAX_STRING)
        if 0 in self.user:
            raise ValueError("a zero byte in the user id")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the request that `data` is, wholly."""
        if len(data) != cls.size(data):
            raise DecodeError(f"{len(data)} bytes are not one SOCKS 4 request")
        reader = Reader(data)
        if (version := reader.u8()) != VERSION:
            raise DecodeError(f"version {version}")
        command = reader.u8()
        port = reader.u16()
        address = reader.take(4)
        user = _take_string(reader)
        host = decode_host(_take_string(reader)) if _is_marker(address) else ipv4_text(address)
        return cls(command=command, host=host, port=port, user=user)

    def encode(self) -> bytes:
        """Return the request's bytes, of 4a for a name. Raises ValueError for an IPv6 address, and for no host."""
        kind, address = encode_address(self.host)
        if kind == AddressType.IPV6:
            raise ValueError(f"SOCKS 4 has no IPv6 addresses, such as {self.host}")
        name = self.host.encode() + b"\0" if kind == AddressType.DOMAIN_NAME else b""
        header = bytes([VERSION, self.command]) + self.port.to_bytes(2) + (MARKER if name else address)
        return header + self.user + b"\0" + name

    @staticmethod
    def size(data: bytes | bytearray) -> int:
        """Return how long the request is, as far as `data` shows, or how many bytes are needed to know more."""
        if len(data) < HEADER_SIZE:
            return HEADER_SIZE + 1
        size = _string_end(data, HEADER_SIZE)
        if size <= len(data) and _is_marker(bytes(data[4:HEADER_SIZE])):
            size = _string_end(data, size)
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks4Reply:
    """The answer to a request; `host` is an IPv4 address."""

    code: int
    host: str = NO_ADDRESS
    port: int = 0

    def __post_init__(self) -> None:
        check_range("code", self.code, 0xFF)
        check_range("port", self.port, 0xFFFF)

    def encode(self) -> bytes:
        """Return the reply's bytes; a host that SOCKS 4 cannot write becomes 0.0.0.0. ValueError for no host."""
        kind, address = encode_address(self.host)
        if kind != AddressType.IPV4:
            address = bytes(4)
        return bytes([0, self.code]) + self.port.to_bytes(2) + address

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the reply that `data` is, wholly."""
        if len(data) != HEADER_SIZE:
            raise DecodeError(f"{len(data)} bytes are not one SOCKS 4 reply")
        reader = Reader(data)
        if (version := reader.u8()) not in REPLY_VERSIONS:
            raise DecodeError(f"reply version {version}")
        code, port = reader.u8(), reader.u16()
        return cls(code=code, host=ipv4_text(reader.take(4)), port=port)


def _is_marker(address: bytes) -> bool:
    return address[:3] == MARKER[:3] and address[3] != 0


def _string_end(data: bytes | bytearray, start: int) -> int:
    """Return where the NUL-terminated string at `start` ends, or one byte more than there are."""
    end = data.find(0, start, start + MAX_STRING + 1)
    if end >= 0:
        return end + 1
    if len(data) > start + MAX_STRING:
        raise DecodeError(f"a string of more than {MAX_STRING} bytes")
    return len(data) + 1


def _take_string(reader: Reader) -> bytes:
    string = bytearray()
    while byte := reader.u8():
        string.append(byte)
    return bytes(string)
