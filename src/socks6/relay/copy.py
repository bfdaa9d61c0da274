"""Joining two streams of any kind by bounded copying, a task for each direction. The state machine is `relay.joined`."""

import asyncio
from typing import Final

from socks6.compat import override
from socks6.net.stream import ByteStream
from socks6.relay.joined import FINISHED, FLOWING, Direction, JoinedStreams, SendingFailed

PIECE_BYTES: Final = 65536  # held by each direction at the most, and only while the other side takes nothing


class CopyDirection(Direction):
    """A direction from stream to stream."""

    __slots__ = ("_sink", "_source", "_task")

    def __init__(self, source: ByteStream, sink: ByteStream) -> None:
        super().__init__()
        self._source = source
        self._sink = sink
        self._task: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup, first: bytes = b"") -> None:
        """Copy in a task of `group`; `first` goes to the sink first."""
        self._task = group.create_task(self._run(first))

    async def _run(self, first: bytes) -> None:
        try:
            await self.copy(first)
        except Exception as error:  # noqa: BLE001 - `fail` distinguishes them
            self.fail(error)
            if (
                not self.joined.over
            ):  # the sink broke: a peer may read nothing before all that it sends is taken
                await self._drop()
        finally:
            self._task = None

    async def copy(self, first: bytes = b"") -> None:
        """Copy to the end of the source and pass that on. Raises OSError when the source broke, else SendingFailed."""
        if first and self.meter is not None:
            self.meter.spend(len(first))
        data = first or await self._receive()
        while data:
            try:
                await self._sink.send(data)
            except OSError as error:
                raise SendingFailed.by(error) from error
            self.bytes_moved += len(data)
            data = await self._receive()
        try:
            await self._sink.send_eof()
        except OSError as error:
            raise SendingFailed.by(error) from error
        if self.state is FLOWING:
            self.state = FINISHED
            self.joined.settle()

    async def _receive(self) -> bytes:
        meter = self.meter
        if meter is None:
            return await self._source.receive(PIECE_BYTES)
        data = await self._source.receive(min(await meter.wait(), PIECE_BYTES))
        meter.spend(len(data))
        return data

    async def _drop(self) -> None:
        try:
            while await self._source.receive(PIECE_BYTES):
                pass
        except OSError:
            return

    @override
    def leave(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()


class CopiedStreams(JoinedStreams):
    """Two streams joined by two tasks."""

    __slots__ = ("_directions",)

    def __init__(self, client: ByteStream, remote: ByteStream) -> None:
        self._directions = CopyDirection(client, remote), CopyDirection(remote, client)
        super().__init__(*self._directions)

    @override
    async def run(self, first: bytes) -> None:
        async with asyncio.TaskGroup() as group:
            up, down = self._directions
            up.start(group, first)
            down.start(group)
