"""Proofs seen lately: so that a slow hash is paid once a password, not once a connection."""

import hmac
import secrets
from collections import OrderedDict
from typing import Final

KEY_SIZE: Final = 32


class RecentProofs:
    """Remembers, for a while, which names and passwords were found to belong together.

    What is kept is an HMAC under a key that never leaves this object. The trade-off: someone who can read
    the memory of this process could try passwords against it quickly, for as long as it is remembered; but
    he could as well read the passwords themselves when they arrive. In exchange a client that opens fifty
    connections costs one hash, not fifty, and still comes in while others flood the proxy with guesses.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self._key = secrets.token_bytes(KEY_SIZE)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered, the outlived ones among them."""
        return len(self._until)

    def digest(self, name: bytes, password: bytes) -> bytes:
        """Return what stands for a name with a password."""
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + password, "sha256")

    def add(self, digest: bytes, now: float) -> None:
        """Remember from now on; the oldest is forgotten when there are too many."""
        self._until[digest] = now + self._seconds
        self._until.move_to_end(digest)
        if len(self._until) > self._size:
            self._until.popitem(last=False)

    def holds(self, digest: bytes, now: float) -> bool:
        """Return whether it was added less than `seconds` ago."""
        until = self._until.get(digest)
        if until is None:
            return False
        if now >= until:
            del self._until[digest]
            return False
        return True
