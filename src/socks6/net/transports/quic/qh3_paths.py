"""Which address of its client a qh3 server sends to (RFC 9000 §8.2, §9.3).

qh3's native core knows four paths in a connection's whole life and forgets none: packets from a fifth address it drops. So it
is told of one address, and its packets go to that which the client has proven last: by the answer to a PATH_CHALLENGE that was
sent nowhere else. Until then they go where they went before, and a new address gets at most three times the bytes that came from there.
"""

import os
from collections import deque
from collections.abc import Sequence
from typing import Final

from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.guard import PATH_CHALLENGE, PATH_DATA_BYTES, PATH_RESPONSE

AMPLIFICATION: Final = 3  # times the bytes that came from an address may go to it before it is proven
FULL_BYTES: Final = 1200  # of a datagram with a PATH_CHALLENGE, where so many may be sent (RFC 9000 §8.2.1)
CHALLENGE_SECONDS: Final = 0.03  # between two challenges of one address
MAX_CHALLENGES: Final = 4  # whose answers are accepted


class PathValidation:
    """An address that authentic packets come from, which is not the one in use."""

    def __init__(self, address: SocketAddress) -> None:
        self.address: Final = address
        self._allowed = 0  # bytes that may be sent there
        self._in_use = False  # more comes from there than probes
        self._proven = False
        self._question: bytes | None = None  # of the client's PATH_CHALLENGE, to be answered
        self._challenges: deque[bytes] = deque(maxlen=MAX_CHALLENGES)
        self._challenge_at = 0.0  # not before

    def arrived(self, size: int, frames: Sequence[tuple[int, bytes]], *, newest: bool) -> bool:
        """Account for a packet from there; return whether the client is there now. A packet with `frames` only probes (§9.1)."""
        self._allowed += AMPLIFICATION * size
        for kind, data in frames:
            if kind == PATH_CHALLENGE:
                self._question = data
            elif data in self._challenges:
                self._proven = True
        self._in_use = self._in_use or (newest and not frames)
        return self._proven and self._in_use

    def is_due(self, now: float) -> bool:
        """Return whether something is to be sent there."""
        return self._question is not None or (not self._proven and now >= self._challenge_at)

    def frames(self, now: float, overhead: int) -> bytes | None:
        """Return the frames of a packet to send there, which has so many other bytes; None if too little came from there."""
        frames = b"" if self._question is None else bytes((PATH_RESPONSE,)) + self._question
        challenge = b"" if self._proven else os.urandom(PATH_DATA_BYTES)
        if challenge:
            frames += bytes((PATH_CHALLENGE,)) + challenge
        size = min(FULL_BYTES, self._allowed)
        if overhead + len(frames) > size:
            return None
        self._allowed -= size
        self._question = None
        if challenge:
            self._challenges.append(challenge)
            self._challenge_at = now + CHALLENGE_SECONDS
        return frames.ljust(size - overhead, b"\0")


class ClientPaths:
    """The address that a client has proven, and one that it may be moving to."""

    def __init__(self, address: SocketAddress) -> None:
        self.current = address
        self.candidate: PathValidation | None = None

    def arrived(
        self, address: SocketAddress, size: int, frames: Sequence[tuple[int, bytes]], *, newest: bool
    ) -> bool:
        """Account for an authentic packet of a datagram of `size` bytes from elsewhere; return whether the client has moved there.

        `newest` says that no packet had a larger number; `frames` are the kinds and data of its PATH_CHALLENGE and PATH_RESPONSE
        frames.
        """
        candidate = self.candidate
        if candidate is None or candidate.address != address:
            if not newest:  # sent before the client moved, or a copy of such a packet
                return False
            candidate = self.candidate = PathValidation(address)
        if not candidate.arrived(size, frames, newest=newest):
            return False
        self.current, self.candidate = address, None
        return True
