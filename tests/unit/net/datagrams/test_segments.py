"""Datagrams many at a time."""

import asyncio
import socket

from socks6.net.datagrams.segments import MAX_SEGMENTS, MAX_WAITING_BYTES, SegmentSender, segment_groups
from tests.kit.loops import Run


def test_groups_are_equally_long_but_for_the_last() -> None:
    assert segment_groups([b"aa", b"bb", b"c", b"dd"]) == [[b"aa", b"bb", b"c"], [b"dd"]]
    assert segment_groups([b"a", b"bb"]) == [[b"a"], [b"bb"]]
    assert segment_groups([b"", b"aa", b"", b"bb"]) == [[b""], [b"aa"], [b""], [b"bb"]]
    assert segment_groups([]) == []


def test_groups_are_no_longer_than_the_kernel_takes() -> None:
    assert [len(group) for group in segment_groups([b"x"] * (MAX_SEGMENTS + 1))] == [MAX_SEGMENTS, 1]
    assert [len(group) for group in segment_groups([bytes(1000)] * 70)] == [64, 6]
    assert [len(group) for group in segment_groups([bytes(2000)] * 40)] == [32, 8]


def test_what_the_kernel_does_not_take_waits_and_then_goes(run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM
        )  # this kind refuses when it is full
        ours.setblocking(False)
        sender = SegmentSender(ours)
        sender._segments = False
        sender.send([bytes(1000)] * 500, None, [])
        assert sender.dropped == 0
        theirs.setblocking(False)
        got = 0
        async with asyncio.timeout(5):
            while got < 500:
                try:
                    got += len(theirs.recv(2000)) == 1000
                except BlockingIOError:
                    await asyncio.sleep(0)
        sender.send([bytes(1000)] * (MAX_WAITING_BYTES // 1000 + 1000), None, [])
        assert sender.dropped > 0
        sender.close()
        ours.close()
        theirs.close()

    run(main())
