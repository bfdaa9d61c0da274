"""What was sent arrives before a stream ends."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import cast

import pytest

from socks6.net.stream import ByteStream
from socks6.relay import delivery
from socks6.relay.delivery import deliver, end_in_order, reset_if_killed
from tests.kit.joined import tcp_pair, unix_pair
from tests.kit.loops import Run

SILENCE = 0.3
MOST = 0.9
TICK = 0.01  # loops may call a timer so early


class Acknowledged:
    """A stream whose peer acknowledges as told, and sends `incoming` pieces meanwhile."""

    def __init__(self, left: Iterator[int], incoming: int = 0) -> None:
        self._left = left
        self.incoming = incoming
        self.looks = 0

    @property
    def unacknowledged(self) -> int:
        self.looks += 1
        return next(self._left)

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        if not self.incoming:
            raise ConnectionResetError
        self.incoming -= 1
        return b"x"


def forever(number: int) -> Iterator[int]:
    while True:
        yield number


async def seconds_of(stream: Acknowledged) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await deliver(cast("ByteStream", stream))
    return loop.time() - began


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SILENCE_SECONDS", SILENCE), ("MAX_SECONDS", MOST), ("MAX_PAUSE", 0.01)):
        monkeypatch.setattr(delivery, name, seconds)


def test_nothing_on_its_way_is_not_waited_for(run: Run) -> None:
    async def main() -> None:
        stream = Acknowledged(iter([0]), incoming=5)
        await deliver(cast("ByteStream", stream))
        assert (stream.looks, stream.incoming) == (1, 5)

    run(main())


def test_it_ends_with_the_last_acknowledgement_and_drops_what_comes(run: Run) -> None:
    async def main() -> None:
        stream = Acknowledged(iter([9, 5, 5, 0]), incoming=40)
        assert await seconds_of(stream) < SILENCE
        assert (stream.looks, stream.incoming) == (4, 0)

    run(main())


def test_silence_is_given_up(run: Run) -> None:
    async def main() -> None:
        assert SILENCE - TICK <= await seconds_of(Acknowledged(forever(9))) < MOST

    run(main())


@pytest.mark.slow
def test_progress_puts_that_off_but_not_for_ever(run: Run) -> None:
    async def main() -> None:
        assert await seconds_of(Acknowledged(iter(range(100_000, 0, -1)))) >= MOST - TICK

    run(main())


def lingers(stream: ByteStream) -> bool:
    """Return whether closing resets."""
    sock = stream.attribute(socket.socket)
    assert sock is not None
    return struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == (1, 0)


def test_a_process_that_dies_resets_until_the_end_was_in_order(run: Run) -> None:
    async def main() -> None:
        streams = [*tcp_pair(), *unix_pair()]
        reset_if_killed(*streams)
        assert [lingers(stream) for stream in streams] == [True, True, False, False]
        end_in_order(*streams)
        assert not any(lingers(stream) for stream in streams)
        for stream in streams:
            stream.abort()

    run(main())
