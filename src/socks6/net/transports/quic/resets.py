"""Stateless resets: a server that knows nothing of a connection any more tells its client so (RFC 9000 §10.3)."""

import secrets
from hashlib import blake2b
from typing import Final

TOKEN_SIZE: Final = 16
SMALLEST: Final = 21  # of a packet that may be taken for one of a connection
LARGEST: Final = 42


class StatelessResets:
    """Makes them from the server's private key: who starts again with the same one knows the tokens that it gave."""

    def __init__(self, key: bytes) -> None:
        self._key = blake2b(key, person=b"socks6 resets").digest()

    def token(self, cid: bytes) -> bytes:
        """Return what proves that a reset is of the server that was called so."""
        return blake2b(cid, key=self._key, digest_size=TOKEN_SIZE).digest()

    def answer(self, cid: bytes, size: int) -> bytes | None:
        """Return the answer to a packet; None to a short one: who answers with less each time comes to an end."""
        length = min(LARGEST, size - 1)
        if length < SMALLEST:
            return None
        noise = secrets.token_bytes(length - TOKEN_SIZE)
        return bytes((0x40 | noise[0] & 0x3F,)) + noise[1:] + self.token(cid)
