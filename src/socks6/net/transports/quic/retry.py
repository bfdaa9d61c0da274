"""Retry tokens: a client that brings ours back is where it says that it is (RFC 9000 §8.1.2)."""

import hmac
import secrets
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from socks6.net.sockets import SocketAddress

LIFETIME: Final = 10.0  # seconds
MAC_SIZE: Final = 16
HEAD: Final = Struct("!dB")  # when it was made, and how long the first id is; then both ids, and the seal


class Known(NamedTuple):
    """What a token says."""

    first_cid: bytes
    retry_cid: bytes


class RetryTokens:
    """Makes tokens, and knows them again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, source: SocketAddress, first_cid: bytes, retry_cid: bytes, now: float) -> bytes:
        """Return the token of a client; the ids are as for `ServerTerms`."""
        body = HEAD.pack(now, len(first_cid)) + first_cid + retry_cid
        return body + self._seal(body, source)

    def read(self, token: bytes, source: SocketAddress, now: float) -> Known | None:
        """Return what a token says; None for one that is not ours, is another client's, or is too old."""
        body, seal = token[:-MAC_SIZE], token[-MAC_SIZE:]
        if len(body) < HEAD.size or not hmac.compare_digest(seal, self._seal(body, source)):
            return None
        made, size = HEAD.unpack_from(body)
        if not 0 <= now - made <= LIFETIME:
            return None
        ids = body[HEAD.size :]
        return Known(ids[:size], ids[size:])

    def _seal(self, body: bytes, source: SocketAddress) -> bytes:
        place = f"{source[0]} {source[1]}".encode()
        return blake2b(body + place, key=self._key, digest_size=MAC_SIZE).digest()
