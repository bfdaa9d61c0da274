"""What a QUIC connection keeps account of: tasks that wait, DATAGRAM frames that do, and which of the peer's streams began."""

import asyncio
from collections import deque
from typing import Final

from socks6.net.transports.quic.engine import QuicEngine


class Condition:
    """Lets any number of tasks wait until the next `wake`."""

    def __init__(self) -> None:
        self.waiters = 0
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the next `wake`."""
        self.waiters += 1
        try:
            await self._event.wait()
        finally:
            self.waiters -= 1

    def wake(self) -> None:
        """Wake all waiters, which check their condition again."""
        if self.waiters:
            self._event.set()
            self._event.clear()


MAX_QUEUED_BYTES: Final = 1 << 18  # that wait at the most
HALF_QUEUED_BYTES: Final = MAX_QUEUED_BYTES // 2  # from here on, senders that can wait do


class FrameQueue:
    """Keeps frames until congestion control lets them go: a library itself would keep any number."""

    def __init__(self, engine: QuicEngine) -> None:
        self._engine = engine
        self._frames: deque[bytes] = deque()
        self._largest = 0  # as far as was asked: the engine takes its time to say
        self.size = 0
        self.dropped = 0

    def put(self, data: bytes) -> bool:
        """Queue a frame; return False if it is too long ever to be sent."""
        if len(data) > self._largest:
            self._largest = self._engine.largest_frame
            if len(data) > self._largest:
                self.dropped += 1
                return False
        self._frames.append(data)
        self.size += len(data)
        while self.size > MAX_QUEUED_BYTES:
            self.size -= len(self._frames.popleft())
            self.dropped += 1
        return True

    def feed(self) -> None:
        """Give the library as many as will leave soon."""
        if not self._frames:
            return
        self._largest = self._engine.largest_frame  # the path may have become narrower meanwhile
        while self._frames and self._engine.room_for_frames:
            data = self._frames.popleft()
            self.size -= len(data)
            try:
                if len(data) <= self._largest:
                    self._engine.send_frame(data)
                    continue
            except ConnectionError:
                pass  # just now it was over
            self.dropped += 1

    def clear(self) -> None:
        """Forget them all."""
        self._frames.clear()
        self.size = 0


LOST_PACKETS: Final = 3  # of the peer's
JUDGED_PACKETS: Final = 5_000  # within which so many are many: 0.06 %


class LossMeter:
    """Judges by the numbers of the peer's packets whether many get lost on the way."""

    def __init__(self) -> None:
        self._before = (0, 0)

    def is_lossy(self, arrived: int, sent: int) -> bool:
        """Return whether many got lost since this was last judged, of those sent so far, of which so many arrived.

        False while there are too few to judge by.
        """
        arrived_before, sent_before = self._before
        judged = sent - sent_before
        is_lossy = judged - (arrived - arrived_before) >= max(
            LOST_PACKETS, judged * LOST_PACKETS / JUDGED_PACKETS
        )
        if is_lossy or judged >= JUDGED_PACKETS:
            self._before = arrived, sent
        return is_lossy


class PeerStreamIds:
    """Recognises new streams of the peer by their ids: each begins once, but packets overtake each other."""

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
