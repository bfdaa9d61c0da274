"""Streams that nobody reads, where a library lets them hold up all others of their connection."""

import contextlib
from collections.abc import Collection
from typing import Final

from socks6.net.transports.quic.core import UNREAD, QuicEngine
from socks6.net.transports.quic.stream import GIVEN_UP, QuicStream

STALL: Final = 30.0  # seconds that a stream nobody reads may keep the others from going on


class StallMonitor:
    """Gives such streams up after a while, those with most unread first, until the others can go on.

    A connection's only stream is left alone: it holds up nobody, as with TCP. Libraries with credit by stream never
    stall (`QuicEngine.stalled`).
    """

    def __init__(self, core: QuicEngine) -> None:
        self._core = core
        self._since: float | None = None

    def look(self, streams: Collection[QuicStream], now: float) -> float | None:
        """Do what is due; return when to look again, None for when something happens."""
        if not self._core.stalled:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        if now < self._since + STALL or len(streams) == 1:
            return self._since + STALL if len(streams) > 1 else None
        self._since = None
        left = sum(stream.unread for stream in streams) - UNREAD // 2
        for stream in sorted(streams, key=lambda stream: -stream.unread):
            if left <= 0:
                break
            left -= stream.unread
            stream.reset_by_peer()
            with contextlib.suppress(ConnectionError):  # just now it was over
                self._core.stop(stream.id, GIVEN_UP)
        return None
