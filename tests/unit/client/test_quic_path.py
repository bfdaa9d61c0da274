"""Frames of one connection for many associations."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

import pytest

from socks6.client import quic_path
from socks6.client.quic_path import HEAD, DatagramDemux, QuicPath
from socks6.net.stream import ByteStream, FrameSink, MultiplexedConnection
from tests.kit.loops import Run

LARGEST: Final = 1200


class Frames:
    """A connection, as far as frames go."""

    largest_frame = LARGEST

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.written: list[bytes] = []
        self.sink: FrameSink | None = None
        self.changes: list[bool] = []  # whether somebody listens
        self.room = asyncio.Event()

    def set_frame_sink(self, sink: FrameSink | None) -> None:
        self.sink = sink
        self.changes.append(sink is not None)

    def send_frame(self, data: bytes) -> bool:
        if len(data) > LARGEST:
            return False
        self.sent.append(data)
        return True

    async def wait_frame_room(self) -> None:
        await self.room.wait()

    async def send(self, data: bytes) -> None:
        """Be the association's stream as well."""
        self.written.append(data)


class Association:
    """A path, and what came on it."""

    def __init__(self, demux: DatagramDemux, frames: Frames, number: int) -> None:
        self.came: list[bytes] = []
        self.path = demux.path(
            cast("MultiplexedConnection", frames), cast("ByteStream", frames), number, self._take
        )

    def _take(self, packets: Sequence[bytes]) -> None:
        self.came.extend(packets)


def message(number: int, data: bytes = b"data") -> bytes:
    return HEAD.pack(number) + data


def test_each_association_gets_its_own_frames(run: Run) -> None:
    async def main() -> None:
        frames, demux = Frames(), DatagramDemux()
        one, two = Association(demux, frames, 1), Association(demux, frames, 2)
        sink = frames.sink
        assert sink is not None
        for frame in (message(2), message(1), message(3), b"short", message(2, b"more")):
            sink.frame_received(frame)
        assert one.came == [message(1)]
        assert two.came == [message(2), message(2, b"more")]
        one.path.close()
        sink.frame_received(message(1))
        assert one.came == [message(1)]
        assert frames.sink is sink
        two.path.close()
        two.path.close()
        assert frames.changes == [True, False]
        assert Association(demux, frames, 1).path.unfragmented == LARGEST  # begins anew

    run(main())


def test_what_fits_in_no_frame_goes_on_the_stream(run: Run) -> None:
    async def main() -> None:
        frames = Frames()
        frames.room.set()
        path = Association(DatagramDemux(), frames, 1).path
        running = asyncio.create_task(path.run())
        path.send_nowait(b"x" * LARGEST)
        path.send_nowait(b"y" * (LARGEST + 1))
        await path.send(b"z" * path.largest)
        path.finish()
        await running
        assert frames.sent == [b"x" * LARGEST]
        assert b"".join(frames.written) == b"y" * (LARGEST + 1) + b"z" * path.largest
        assert not path.dropped
        path.close()
        with pytest.raises(OSError, match="closed"):
            path.send_nowait(b"x")

    run(main())


def test_senders_wait_for_room_and_closing_ends_their_wait(run: Run) -> None:
    async def main() -> None:
        frames = Frames()
        path = Association(DatagramDemux(), frames, 1).path
        waiting = [asyncio.create_task(path.send(b"%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        assert not frames.sent
        frames.room.set()
        await asyncio.gather(*waiting)
        assert sorted(frames.sent) == [b"0", b"1"]
        frames.room.clear()
        waiting = [asyncio.create_task(path.send(b"late")) for _ in range(2)]
        await asyncio.sleep(0)
        path.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, OSError) for error in ended), ended
        assert len(frames.sent) == 2

    run(main())


def test_the_end_of_the_connection_ends_the_paths(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_path, "LINGER_SECONDS", 0.01)  # the frames that wait find no room

    async def main() -> None:
        frames = Frames()
        path: QuicPath = Association(DatagramDemux(), frames, 1).path
        running = asyncio.create_task(path.run())
        await asyncio.sleep(0)
        assert not running.done()
        assert frames.sink is not None
        frames.sink.connection_lost()
        await running

    run(main())
