"""A server's packets without a connection: reads their connection ids, and answers statelessly.

Version Negotiation (RFC 8999, RFC 9000 §17), Retry tokens (§8.1.2) and stateless resets (§10.3).
"""

import hmac
import secrets
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.engine import CID_BYTES

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
        cid = datagram[1 : 1 + CID_BYTES]
        return Header(destination=cid) if len(cid) == CID_BYTES else None
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


def version_negotiation(header: Header, first: int, versions: Sequence[int] = VERSIONS) -> bytes:
    """Return the packet that lists versions; `first` is a random byte (RFC 9000 §17.2.1)."""
    return b"".join((
        bytes((LONG | FIXED | first & 0x3F,)),
        bytes(4),
        bytes((len(header.source),)),
        header.source,
        bytes((len(header.destination),)),
        header.destination,
        *(version.to_bytes(4, "big") for version in versions),
    ))  # fmt: skip


def _destination(row: bytes, at: int) -> bytes:
    """Return the connection id of the datagram at an offset; for one that is cut off, whatever is there."""
    if not row[at] & LONG:
        return row[at + 1 : at + 1 + CID_BYTES]
    return row[at + 6 : at + 6 + row[at + 5]] if at + 5 < len(row) else b""


def _number(reader: Reader) -> int:
    """Return a variable-length integer (RFC 9000 §16)."""
    first = reader.u8()
    value = first & 0x3F
    for byte in reader.take((1 << (first >> 6)) - 1):
        value = value << 8 | byte
    return value


TOKEN_SIZE: Final = 16
SMALLEST: Final = 21  # of a packet that may be taken for one of a connection
LARGEST: Final = 42


class StatelessResets:
    """Makes them from the server's private key: a server restarted with the same key recognises the tokens that it gave."""

    def __init__(self, key: bytes) -> None:
        self._key = blake2b(key, person=b"socks6 resets").digest()

    def token(self, cid: bytes) -> bytes:
        """Return what proves that a reset is of the server that was called so."""
        return blake2b(cid, key=self._key, digest_size=TOKEN_SIZE).digest()

    def answer(self, cid: bytes, size: int) -> bytes | None:
        """Return the answer to a packet; None to a short one. Each answer is shorter than the packet, so that two resetting sides stop."""
        length = min(LARGEST, size - 1)
        if length < SMALLEST:
            return None
        noise = secrets.token_bytes(length - TOKEN_SIZE)
        return bytes((0x40 | noise[0] & 0x3F,)) + noise[1:] + self.token(cid)


TOKEN_SECONDS: Final = 10.0  # seconds
MAX_SPENT_TOKENS: Final = 65_536  # spent tokens; beyond, the oldest may be spent again
MAC_SIZE: Final = 16
HEAD: Final = Struct("!dB")  # when it was made, and how long the first id is; then both ids, and the seal


class RetryTokenPayload(NamedTuple):
    """The content of a Retry token."""

    first_cid: bytes
    retry_cid: bytes


class RetryTokens:
    """Makes tokens, and knows them again. Each is good for one connection, which goes by the id it was made with."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._spent: dict[bytes, float] = {}  # by the id, in order

    def make(self, source: SocketAddress, first_cid: bytes, retry_cid: bytes, now: float) -> bytes:
        """Return the token of a client; the ids are as for `ServerParameters`."""
        body = HEAD.pack(now, len(first_cid)) + first_cid + retry_cid
        return body + self._seal(body, source)

    def read(
        self, token: bytes, destination: bytes, source: SocketAddress, now: float
    ) -> RetryTokenPayload | None:
        """Return a token's content; None for one that is forged, another client's, or too old.

        It is another's where it comes from elsewhere, or in a packet whose `destination` is not the id of our Retry
        (RFC 9000 §8.1.4: a token that anything can be sent with would be worth any number of connections).
        """
        body, seal = token[:-MAC_SIZE], token[-MAC_SIZE:]
        if len(body) < HEAD.size or not hmac.compare_digest(seal, self._seal(body, source)):
            return None
        made, size = HEAD.unpack_from(body)
        if not 0 <= now - made <= TOKEN_SECONDS:
            return None
        ids = body[HEAD.size :]
        known = RetryTokenPayload(ids[:size], ids[size:])
        return known if known.retry_cid == destination else None

    def spend(self, known: RetryTokenPayload, now: float) -> bool:
        """Spend a token that was read; return False if it was spent before."""
        while self._spent:
            oldest = next(iter(self._spent))
            if self._spent[oldest] + TOKEN_SECONDS >= now and len(self._spent) < MAX_SPENT_TOKENS:
                break
            del self._spent[oldest]
        if known.retry_cid in self._spent:
            return False
        self._spent[known.retry_cid] = now
        return True

    def _seal(self, body: bytes, source: SocketAddress) -> bytes:
        address = f"{source[0]} {source[1]}".encode()
        return blake2b(body + address, key=self._key, digest_size=MAC_SIZE).digest()
