"""Joining two streams of any kind by bounded copying. `relay.splice` says how a direction ends, and what of the other."""

import asyncio
import contextlib
from typing import Final

from socks6.net.stream import ByteStream
from socks6.telemetry import Ending

PIECE: Final = 65536  # held by each direction at the most, and only while the other side takes nothing


class SendingFailed(Exception):
    """The side that bytes go to broke, not the one that they come from."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error: Final = error


class Copy:
    """Two joined streams. They belong to the caller, who closes them afterwards."""

    __slots__ = ("_client", "_remote", "_tasks", "down", "ending", "quiet_since", "reason", "seen", "up")

    def __init__(self, client: ByteStream, remote: ByteStream) -> None:
        self._client = client
        self._remote = remote
        self.up = Way()
        self.down = Way()
        self.ending = Ending.DONE
        self.reason = ""
        self.seen = 0
        self.quiet_since = 0.0
        self._tasks: dict[Way, asyncio.Task[None]] = {}

    async def run(self, first: bytes) -> None:
        """Copy both ways until both have ended, or the relay has; `first` goes to the remote first."""
        async with asyncio.TaskGroup() as group:
            self._tasks = {
                self.up: group.create_task(
                    self._carry(self.up, self._client, self._remote, first), name="upstream"
                ),
                self.down: group.create_task(
                    self._carry(self.down, self._remote, self._client), name="downstream"
                ),
            }
        self._tasks = {}  # they know this object

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

    async def _carry(self, way: "Way", source: ByteStream, sink: ByteStream, first: bytes = b"") -> None:
        """Copy one way to its end. Once a source broke, nothing reaches it either: that ends the other way, too."""
        other = self.down if way is self.up else self.up
        try:
            await way.copy(source, sink, first)
        except SendingFailed as failed:
            self._broke(sink, failed.error)
            way.ended = True
            if not other.ended:
                await _drop(source)
        except OSError as error:
            self._broke(source, error)
            way.ended = other.ended = True
        if way.ended and other.ended:
            self._tasks[other].cancel()  # it drops what nobody wants, or sends to nobody

    def _broke(self, side: ByteStream, error: OSError) -> None:
        name = "client" if side is self._client else "remote"
        self._end(Ending.RESET, f"{name}: {error.strerror or error}")

    def _end(self, ending: Ending, reason: str) -> None:
        if self.ending is Ending.DONE:  # the first word counts
            self.ending = ending
            self.reason = reason


class Way:
    """One direction: how much went through it, and whether it has ended."""

    __slots__ = ("clean", "count", "ended")

    def __init__(self) -> None:
        self.count = 0
        self.ended = False  # nothing more goes this way
        self.clean = False  # and the sink was told: the source had said all it had to say

    async def copy(self, source: ByteStream, sink: ByteStream, first: bytes = b"") -> None:
        """Copy to the end of `source` and pass that on. Raises OSError when the source broke, else SendingFailed."""
        data = first or await source.receive(PIECE)
        while data:
            try:
                await sink.send(data)
            except OSError as error:
                raise SendingFailed(error) from error
            self.count += len(data)
            data = await source.receive(PIECE)
        try:
            await sink.send_eof()
        except OSError as error:
            raise SendingFailed(error) from error
        self.ended = self.clean = True


async def _drop(source: ByteStream) -> None:
    """Read what nobody wants, to its end: whoever sends it may read only when it is through."""
    with contextlib.suppress(OSError):
        while await source.receive(PIECE):
            pass
