"""Proofs seen lately: so that a slow hash is paid once a password, not once a connection."""

import hmac
import secrets
from collections import OrderedDict
from typing import Final

KEY_SIZE: Final = 32


class CredentialCache:
    """Remembers, for a while, which names and passwords were found to belong together.

    What is kept is an HMAC under a key that never leaves this object. The trade-off: someone who can read
    the memory of this process could try passwords against it quickly, for as long as it is remembered; but
    he could as well read the passwords themselves when they arrive. In exchange a client that opens fifty
    connections costs one hash, not fifty, and still comes in while others flood the proxy with guesses.

    A proof says what it was checked against (`against`, the user's hash), and is worth nothing against another:
    so it outlives a reload that leaves the user's password as it was.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self._key = secrets.token_bytes(KEY_SIZE)
        self._proofs: OrderedDict[bytes, tuple[float, object]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered, the outlived ones among them."""
        return len(self._proofs)

    def digest(self, name: bytes, password: bytes) -> bytes:
        """Return what stands for a name with a password."""
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + password, "sha256")

    def add(self, digest: bytes, now: float, *, against: object = None) -> None:
        """Remember from now on; the oldest is forgotten when there are too many."""
        self._proofs[digest] = now + self._seconds, against
        self._proofs.move_to_end(digest)
        if len(self._proofs) > self._size:
            self._proofs.popitem(last=False)

    def holds(self, digest: bytes, now: float, *, against: object = None) -> bool:
        """Return whether it was added less than `seconds` ago, against the same hash."""
        until, checked = self._proofs.get(digest, (now, None))
        if now >= until or checked != against:
            self._proofs.pop(digest, None)
            return False
        return True
