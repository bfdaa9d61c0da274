"""Accounts of a QUIC connection."""

import asyncio
from typing import Final, cast

from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.quic.accounts import (
    JUDGED_PACKETS,
    MAX_QUEUED_BYTES,
    Condition,
    FrameQueue,
    LossMeter,
    PeerStreamIds,
)
from socks6.net.transports.quic.engine import QuicEngine
from tests.kit.loops import Run

LARGEST: Final = 1200


class Frames:
    """An engine, as far as frames go: it has room for so many."""

    def __init__(self) -> None:
        self.largest_frame = LARGEST
        self.room = 0
        self.over = False
        self.sent: list[bytes] = []

    @property
    def room_for_frames(self) -> bool:
        return len(self.sent) < self.room

    def send_frame(self, data: bytes) -> None:
        if self.over:
            self.room -= 1
            raise ConnectionError
        self.sent.append(data)


def queue() -> tuple[FrameQueue, Frames]:
    engine = Frames()
    return FrameQueue(cast("QuicEngine", engine)), engine


def test_whoever_waits_is_woken_once(run: Run) -> None:
    async def main() -> None:
        condition = Condition()
        assert condition.waiters == 0
        waiting = [asyncio.create_task(condition.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        assert condition.waiters == 2
        condition.wake()
        late = asyncio.create_task(condition.wait())
        await asyncio.gather(*waiting)
        await asyncio.sleep(0)
        assert not late.done()
        late.cancel()
        await asyncio.wait([late])
        assert condition.waiters == 0

    run(main())


def test_frames_leave_in_order_as_there_is_room() -> None:
    frames, engine = queue()
    assert all(frames.put(b"%d" % number) for number in range(3))
    engine.room = 2
    frames.feed()
    assert (engine.sent, frames.size, frames.dropped) == ([b"0", b"1"], 1, 0)
    frames.clear()
    engine.room = 9
    frames.feed()
    assert (engine.sent, frames.size) == ([b"0", b"1"], 0)


def test_the_oldest_give_way() -> None:
    frames, engine = queue()
    for number in range(MAX_QUEUED_BYTES // LARGEST + 1):
        assert frames.put(number.to_bytes(LARGEST))
    assert (frames.size <= MAX_QUEUED_BYTES, frames.dropped) == (True, 1)
    engine.room = 1
    frames.feed()
    assert engine.sent == [(1).to_bytes(LARGEST)]


def test_what_is_too_long_or_too_late_is_dropped_and_counted() -> None:
    frames, engine = queue()
    assert not frames.put(bytes(LARGEST + 1))
    assert frames.put(bytes(LARGEST))
    assert frames.put(b"short")
    engine.room, engine.largest_frame = 1, LARGEST - 1
    frames.feed()
    assert (engine.sent, frames.dropped) == ([b"short"], 2)
    assert frames.put(b"late")
    engine.room, engine.over = 2, True
    frames.feed()
    assert (frames.size, frames.dropped) == (0, 3)


@given(st.permutations(range(8)), st.integers(0, 3))
def test_each_stream_of_the_peer_begins_once_in_any_order(order: list[int], first: int) -> None:
    ids = PeerStreamIds(first)
    assert all(ids.begins(first + 4 * number) for number in order)
    assert not any(ids.begins(first + 4 * number) for number in order)
    assert not ids.begins((first + 1) % 4)


def test_losses_are_judged_once_by_their_share() -> None:
    losses = LossMeter()
    assert not losses.is_lossy(300, 302)  # too few
    assert losses.is_lossy(400, 403)
    assert not losses.is_lossy(400, 403)  # nothing new
    assert not losses.is_lossy(405, 403)  # some were late
    assert not losses.is_lossy(10_400, 10_407)  # 4 of 10 000
    assert losses.is_lossy(10_500, 10_510)
    assert not losses.is_lossy(10_500 + JUDGED_PACKETS, 10_510 + JUDGED_PACKETS)
    assert not losses.is_lossy(10_501 + JUDGED_PACKETS, 10_513 + JUDGED_PACKETS)  # 2, since 5 000 came whole
