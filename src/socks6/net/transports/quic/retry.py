"""Retry tokens: a client that brings ours back is where it says that it is (RFC 9000 §8.1.2)."""

import hmac
import secrets
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from socks6.net.sockets import SocketAddress

LIFETIME: Final = 10.0  # seconds
REMEMBERED: Final = (
    65_536  # tokens that were spent within their lifetime; beyond, the oldest may be spent again
)
MAC_SIZE: Final = 16
HEAD: Final = Struct("!dB")  # when it was made, and how long the first id is; then both ids, and the seal


class RetryTokenPayload(NamedTuple):
    """What a token says."""

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
        """Return what a token says; None for one that is not ours, is another's, or is too old.

        It is another's where it comes from elsewhere, or in a packet whose `destination` is not the id of our Retry
        (RFC 9000 §8.1.4: a token that anything can be sent with would be worth any number of connections).
        """
        body, seal = token[:-MAC_SIZE], token[-MAC_SIZE:]
        if len(body) < HEAD.size or not hmac.compare_digest(seal, self._seal(body, source)):
            return None
        made, size = HEAD.unpack_from(body)
        if not 0 <= now - made <= LIFETIME:
            return None
        ids = body[HEAD.size :]
        known = RetryTokenPayload(ids[:size], ids[size:])
        return known if known.retry_cid == destination else None

    def spend(self, known: RetryTokenPayload, now: float) -> bool:
        """Spend a token that was read; return False if it was spent before."""
        while self._spent:
            oldest = next(iter(self._spent))
            if self._spent[oldest] + LIFETIME >= now and len(self._spent) < REMEMBERED:
                break
            del self._spent[oldest]
        if known.retry_cid in self._spent:
            return False
        self._spent[known.retry_cid] = now
        return True

    def _seal(self, body: bytes, source: SocketAddress) -> bytes:
        place = f"{source[0]} {source[1]}".encode()
        return blake2b(body + place, key=self._key, digest_size=MAC_SIZE).digest()
