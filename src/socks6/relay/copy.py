"""Joining two streams of any kind by bounded copying."""

import asyncio
from typing import Final

from socks6.net.stream import ByteStream
from socks6.telemetry import Ending

PIECE: Final = 65536  # held by each direction at the most, and only while the other side takes nothing


class Copy:
    """Two joined streams. They belong to the caller, who closes them afterwards."""

    __slots__ = ("_client", "_remote", "down", "ending", "quiet_since", "reason", "seen", "up")

    def __init__(self, client: ByteStream, remote: ByteStream) -> None:
        self._client = client
        self._remote = remote
        self.up = Way()
        self.down = Way()
        self.ending = Ending.DONE
        self.reason = ""
        self.seen = 0
        self.quiet_since = 0.0

    async def run(self, first: bytes) -> None:
        """Copy both ways until both have ended, or the relay has; `first` goes to the remote first."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.up.copy(self._client, self._remote, first), name="upstream")
                group.create_task(self.down.copy(self._remote, self._client), name="downstream")
        except* OSError as errors:
            self._end(Ending.RESET, str(errors.exceptions[0]))

    def stop(self) -> None:
        """Nothing is left to be stopped once `run` is over."""

    def activity(self) -> int:
        """See Watched."""
        return self.up.count + self.down.count + self.up.ended + self.down.ended

    def half_closed(self) -> bool:
        """See Watched."""
        return self.up.ended or self.down.ended

    def expire(self, reason: str) -> None:
        """See Watched."""
        self._end(Ending.IDLE, reason)
        self._client.abort()  # whoever waits for it gets an OSError, which ends `run`
        self._remote.abort()

    def _end(self, ending: Ending, reason: str) -> None:
        if self.ending is Ending.DONE:  # the first word counts
            self.ending = ending
            self.reason = reason


class Way:
    """One direction: how much went through it, and whether it has ended."""

    __slots__ = ("count", "ended")

    def __init__(self) -> None:
        self.count = 0
        self.ended = False

    async def copy(self, source: ByteStream, sink: ByteStream, first: bytes = b"") -> None:
        """Copy to the end of `source` and pass that on. Raises OSError when a side broke."""
        data = first or await source.receive(PIECE)
        while data:
            await sink.send(data)
            self.count += len(data)
            data = await source.receive(PIECE)
        await sink.send_eof()
        self.ended = True
