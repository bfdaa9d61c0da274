"""The first bytes of QUIC packets, as far as they say whose they are (RFC 8999, RFC 9000 §17)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.net.transports.quic.core import CID_SIZE

LONG: Final = 0x80
FIXED: Final = 0x40
TYPE: Final = 0x30
INITIAL: Final = 0x00
VERSION_1: Final = 1
VERSIONS: Final = (VERSION_1,)
MAX_CID: Final = 20
SMALLEST_INITIAL: Final = 1200  # of a datagram that opens a connection (RFC 9000 §14.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose a packet is."""

    destination: bytes
    source: bytes = b""
    version: int | None = None  # None in packets of connections that are there already
    initial: bool = False
    token: bytes = b""
    number_at: int = 0  # where an Initial packet's packet number is, which like all behind it is encrypted
    end: int = 0  # where it ends


def read_header(datagram: bytes) -> Header | None:
    """Return what a datagram's first packet says; None if that cannot be read."""
    if not datagram[0] & LONG:
        cid = datagram[1 : 1 + CID_SIZE]
        return Header(destination=cid) if len(cid) == CID_SIZE else None
    reader = Reader(datagram)
    try:
        first = reader.u8()
        version = reader.u32()
        destination = reader.take(reader.u8())
        source = reader.take(reader.u8())
        if version not in VERSIONS:
            return Header(destination=destination, source=source, version=version)
        if len(destination) > MAX_CID or len(source) > MAX_CID:
            return None
        if first & TYPE != INITIAL:
            return Header(destination=destination, source=source, version=version)
        token = reader.take(_number(reader))
        size = _number(reader)
        number_at = reader.position
        reader.take(size)
    except DecodeError:
        return None
    return Header(
        destination=destination,
        source=source,
        version=version,
        initial=True,
        token=token,
        number_at=number_at,
        end=number_at + size,
    )


def split_by_destination(row: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each run of a row's datagrams that have the same destination id.

    Each datagram but the last has `size` bytes. A kernel joins whatever comes of one 5-tuple, and that may be packets
    of several connections (RFC 9000 §5.2).
    """
    begun, before = 0, _destination(row, 0)
    for at in range(size, len(row), size):
        destination = _destination(row, at)
        if destination != before:
            yield begun, at
            begun, before = at, destination
    yield begun, len(row)


def version_negotiation(header: Header, first: int) -> bytes:
    """Return the packet that tells which versions there are; `first` is a random byte (RFC 9000 §17.2.1)."""
    return b"".join((
        bytes((LONG | FIXED | first & 0x3F,)),
        bytes(4),
        bytes((len(header.source),)),
        header.source,
        bytes((len(header.destination),)),
        header.destination,
        *(version.to_bytes(4, "big") for version in VERSIONS),
    ))  # fmt: skip


def _destination(row: bytes, at: int) -> bytes:
    """Return whose the datagram at a place is; for one that is cut off, whatever is there."""
    if not row[at] & LONG:
        return row[at + 1 : at + 1 + CID_SIZE]
    return row[at + 6 : at + 6 + row[at + 5]] if at + 5 < len(row) else b""


def _number(reader: Reader) -> int:
    """Return a variable-length integer (RFC 9000 §16)."""
    first = reader.u8()
    value = first & 0x3F
    for byte in reader.take((1 << (first >> 6)) - 1):
        value = value << 8 | byte
    return value
