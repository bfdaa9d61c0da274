"""The little of DTLS 1.2 that is not OpenSSL's: where records end, and hellos that cost no state (RFC 6347)."""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader

HEADER_SIZE: Final = 13  # type, version, epoch, sequence number, length
MOST_DATA: Final = 16384  # that a record can hold
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
CLIENT_HELLO: Final = 1
HELLO_VERIFY_REQUEST: Final = 3
DTLS_1_0: Final = b"\xfe\xff"  # whatever both sides speak, a HelloVerifyRequest says this (§4.2.1)
MAJOR_VERSION: Final = 0xFE

_RECORD: Final = Struct("!BBBH6sH")  # type, version (2), epoch, sequence number, length
_HANDSHAKE: Final = Struct("!B3sH3s3s")  # type, length, number, and which part of the message this is
_NO_BYTES: Final = bytes(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """What an answer without state needs to know of a ClientHello."""

    sequence: bytes  # of its record
    random: bytes
    cookie: bytes


def is_one_record(datagram: bytes) -> bool:
    """Return whether a datagram is a single record."""
    return len(datagram) >= HEADER_SIZE and HEADER_SIZE + int.from_bytes(datagram[11:13]) == len(datagram)


def is_clear(datagram: bytes) -> bool:
    """Return whether a datagram begins with a record from before there were keys (epoch 0)."""
    return datagram[3:5] == b"\0\0"


def cut(flight: bytes, size: int) -> list[bytes]:
    """Return the records of a flight as datagrams of at most `size` bytes; a longer record goes by itself."""
    datagrams: list[bytes] = []
    begin = end = 0
    while end < len(flight):
        after = end + HEADER_SIZE + int.from_bytes(flight[end + 11 : end + 13])
        if after - begin > size and end > begin:
            datagrams.append(flight[begin:end])
            begin = end
        end = after
    if begin < len(flight):
        datagrams.append(flight[begin:])
    return datagrams


def read_client_hello(datagram: bytes) -> ClientHello | None:
    """Return the ClientHello that a datagram begins with; None for anything else, also for a part of one."""
    try:
        return _client_hello(Reader(datagram))
    except DecodeError:
        return None


def hello_verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """Return the datagram that asks for the same ClientHello with a cookie (§4.2.1)."""
    body = DTLS_1_0 + bytes((len(cookie),)) + cookie
    size = len(body).to_bytes(3)
    message = _HANDSHAKE.pack(HELLO_VERIFY_REQUEST, size, 0, _NO_BYTES, size) + body
    return _RECORD.pack(HANDSHAKE, *DTLS_1_0, 0, hello.sequence, len(message)) + message


def _client_hello(reader: Reader) -> ClientHello:
    kind, major, _, epoch = reader.u8(), reader.u8(), reader.u8(), reader.u16()
    if kind != HANDSHAKE or major != MAJOR_VERSION or epoch:
        raise DecodeError("no handshake in the clear")
    sequence = reader.take(6)
    message = reader.section(reader.u16())
    kind, size = message.u8(), message.take(3)
    message.u16()  # the message's number
    if kind != CLIENT_HELLO or message.take(3) != _NO_BYTES or message.take(3) != size:
        raise DecodeError("no whole ClientHello")
    body = message.section(int.from_bytes(size))
    body.u16()  # the version
    random = body.take(32)
    body.take(body.u8())  # the session's id
    return ClientHello(sequence=sequence, random=random, cookie=body.take(body.u8()))
