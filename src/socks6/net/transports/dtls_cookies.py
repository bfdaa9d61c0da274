"""Cookies of DTLS: a source proves that it gets our answers before it costs us anything (RFC 6347 §4.2.1)."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

from socks6.net.sockets import SocketAddress

LIFETIME: Final = 60.0  # seconds; a cookie is good for at least so long, at most for twice that
SECRET_SIZE: Final = 32


class Cookies:
    """Makes cookies and knows its own, remembering nobody: two secrets are all there is."""

    def __init__(self, now: float, *, new_secret: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._new_secret = new_secret
        self._secret = self._last = new_secret(SECRET_SIZE)
        self._since = now

    def make(self, source: SocketAddress, random: bytes, now: float) -> bytes:
        """Return the cookie for a source's ClientHello, which keeps its random when it comes again."""
        self._renew(now)
        return _cookie(self._secret, source, random)

    def holds(self, cookie: bytes, source: SocketAddress, random: bytes, now: float) -> bool:
        """Return whether a cookie was made for this source and random of late."""
        if not cookie:
            return False
        self._renew(now)
        return any(
            hmac.compare_digest(cookie, _cookie(secret, source, random))
            for secret in (self._secret, self._last)
        )

    def _renew(self, now: float) -> None:
        age = now - self._since
        if age >= LIFETIME:
            self._last = self._secret if age < 2 * LIFETIME else self._new_secret(SECRET_SIZE)
            self._secret = self._new_secret(SECRET_SIZE)
            self._since = now


def _cookie(secret: bytes, source: SocketAddress, random: bytes) -> bytes:
    return hmac.digest(secret, repr(source).encode() + random, hashlib.sha256)
