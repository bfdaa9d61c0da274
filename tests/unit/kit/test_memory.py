"""Streams in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.net.stream import NO_ENDPOINT, ByteStream, Protection
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import StreamConformance, closing


class TestMemoryStream(StreamConformance):
    """The common suite."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        left, right = memory_stream_pair()
        async with closing(left, right):
            yield left, right


def test_it_never_leaves_the_machine() -> None:
    left, _ = memory_stream_pair()
    assert left.protection is Protection.MACHINE
    assert left.local == left.remote == NO_ENDPOINT
    assert left.raw_socket is None


def test_a_sender_gets_no_further_than_the_capacity(run: Run) -> None:
    async def play() -> None:
        left, right = memory_stream_pair(capacity=4)
        await left.send(b"1234")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await left.send(b"5")
        assert await right.receive() == b"1234"

    run(play())
