"""DATAGRAM frames that wait to be sent: bounded, the oldest going first (RFC 9221)."""

from collections import deque
from typing import Final

from socks6.net.transports.quic.core import QuicEngine

BYTES: Final = 1 << 18  # that wait at the most
HALF: Final = BYTES // 2  # from here on, who can had better wait


class FrameQueue:
    """Keeps frames until congestion control lets them go: a library itself would keep any number."""

    def __init__(self, core: QuicEngine) -> None:
        self._core = core
        self._frames: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0

    def put(self, data: bytes) -> bool:
        """Have a frame wait its turn; False if it is too long ever to be sent."""
        if len(data) > self._core.largest_frame:
            self.dropped += 1
            return False
        self._frames.append(data)
        self.size += len(data)
        while self.size > BYTES:
            self.size -= len(self._frames.popleft())
            self.dropped += 1
        return True

    def feed(self) -> None:
        """Give the library as many as will leave soon."""
        while self._frames and self._core.room_for_frames:
            data = self._frames.popleft()
            self.size -= len(data)
            try:
                if len(data) <= self._core.largest_frame:  # the path may have become narrower meanwhile
                    self._core.send_frame(data)
                    continue
            except ConnectionError:
                pass  # just now it was over
            self.dropped += 1

    def clear(self) -> None:
        """Forget them all."""
        self._frames.clear()
        self.size = 0


class PeerStreamIds:
    """Tells which ids of the peer's streams are new: each begins once, but packets overtake each other."""

    def __init__(self, first: int) -> None:
        self._kind = first & 3
        self._next = first
        self._skipped: set[int] = set()  # no more than the streams that the peer may have

    def begins(self, stream_id: int) -> bool:
        """Return whether a stream of the peer's begins here."""
        if stream_id & 3 != self._kind:
            return False
        if stream_id >= self._next:
            self._skipped.update(range(self._next, stream_id, 4))
            self._next = stream_id + 4
            return True
        if stream_id in self._skipped:
            self._skipped.remove(stream_id)
            return True
        return False
