"""What SOCKS 4 and 5 clients write, and how they read what a proxy answers."""

from dataclasses import dataclass

from socks6.errors import DecodeError
from socks6.message.address import encode_address, ipv4_text
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType
from socks6.message.socks4 import Socks4Reply, Socks4Request
from socks6.message.socks5 import (
    Socks5Reply,
    Socks5Request,
    encode_host_and_port,
    read_address,
)


def socks5_greeting(*methods: int) -> bytes:
    """Return a client's first message."""
    return bytes([5, len(methods), *methods])


def socks5_request(command: int, host: str, port: int) -> bytes:
    """Return a request."""
    request = Socks5Request(command=command, host=host, port=port)
    return bytes([5, request.command, 0]) + encode_host_and_port(request.host, request.port)


def decode_socks5_reply(data: bytes) -> Socks5Reply:
    """Return the reply that `data` is, wholly. Raises DecodeError."""
    version, code, _ = (reader := Reader(data)).take(3)
    host, port = read_address(reader)
    if version != 5 or reader.remaining:
        raise DecodeError(f"version {version}, {reader.remaining} bytes too many")
    return Socks5Reply(code=code, host=host, port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Socks5Datagram:
    """A UDP packet between client and proxy; `fragment` is 0 for a whole one."""

    host: str
    port: int
    data: bytes
    fragment: int = 0

    def encode(self) -> bytes:
        """Return the packet's bytes. Raises ValueError for an impossible host."""
        return bytes([0, 0, self.fragment]) + encode_host_and_port(self.host, self.port) + self.data


def decode_socks5_datagram(data: bytes) -> Socks5Datagram:
    """Return the packet that `data` is. Raises DecodeError."""
    reader = Reader(data)
    if (reserved := reader.u16()) != 0:
        raise DecodeError(f"reserved field {reserved:#06x}")
    fragment = reader.u8()
    host, port = read_address(reader)
    return Socks5Datagram(fragment=fragment, host=host, port=port, data=reader.rest())


def socks4_request(command: int, host: str, port: int, user: bytes = b"") -> bytes:
    """Return a request, of SOCKS 4a where the host is no IPv4 address."""
    request = Socks4Request(command=command, host=host, port=port, user=user)
    head = bytes([4, request.command]) + request.port.to_bytes(2)
    kind, address = encode_address(host)
    if kind == AddressType.IPV4 and (address[:3] != bytes(3) or address == bytes(4)):
        return head + address + user + b"\0"
    return head + b"\0\0\0\1" + user + b"\0" + host.encode("ascii") + b"\0"


def decode_socks4_reply(data: bytes) -> Socks4Reply:
    """Return the reply that `data` is, wholly. Raises DecodeError."""
    reader = Reader(data)
    if reader.u8() != 0 or len(data) != 8:
        raise DecodeError(f"no reply of SOCKS 4: {data.hex()}")
    return Socks4Reply(code=reader.u8(), port=reader.u16(), host=ipv4_text(reader.take(4)))
