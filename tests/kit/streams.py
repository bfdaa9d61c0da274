"""What every transport's streams must do: one suite, which each transport's test file runs on its own.

::

    class TestPipeStream(StreamConformance):
        @asynccontextmanager
        async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
            async with connected_pipes() as (left, right):
                yield left, right
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest

from socks6.errors import LocalProtocolError
from socks6.net.stream import ByteStream, ClosableStream, Endpoint, Listener, Protection
from socks6.net.turns import BUDGET, EVENT
from socks6.relay.delivery import deliver
from tests.kit.loops import Run

ON_UVLOOP: Final = pytest.mark.parametrize("run", ["uvloop"], indirect=True)
ON_ASYNCIO: Final = pytest.mark.parametrize("run", ["asyncio"], indirect=True)
BULK: Final = bytes(range(256)) * 65536  # 16 MiB: more than any transport buffers on the way
TURNS: Final = 20


async def turns() -> None:
    """Let every task that can run do so."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let others run until the condition holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def accept(listener: Listener) -> ByteStream:
    """Return the next stream that arrives."""
    while (stream := listener.accept_nowait()) is None:
        await listener.wait_readable()
    return stream


async def receive_exactly(stream: ByteStream, size: int) -> bytes:
    """Return the next `size` bytes."""
    data = bytearray()
    while len(data) < size:
        more = await stream.receive(min(size - len(data), 1 << 20))
        assert more, f"the stream ended after {len(data)} of {size} bytes"
        data += more
    return bytes(data)


async def receive_all(stream: ByteStream) -> bytes:
    """Return everything up to the end of the stream."""
    pieces = []
    while data := await stream.receive():
        pieces.append(data)
    return b"".join(pieces)


@asynccontextmanager
async def closing(*streams: ByteStream) -> AsyncIterator[None]:
    """Close streams in the end, whatever happened."""
    try:
        yield
    finally:
        for stream in streams:
            with contextlib.suppress(OSError):
                await stream.aclose()


class StreamConformance(ABC):
    """The suite. `aborts_reset` tells whether the transport has resets."""

    aborts_reset = True
    bulk = BULK
    enough = len(BULK)  # bytes that the transport does not buffer on the way

    @abstractmethod
    def pair(self) -> AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]:
        """Return two connected streams, closed at the end of the context."""

    def test_bytes_go_both_ways(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"ping")
                assert await receive_exactly(right, 4) == b"ping"
                await right.send(b"pong")
                assert await receive_exactly(left, 4) == b"pong"

        run(play())

    def test_receive_never_returns_more_than_asked_for(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"abcdef")
                assert await right.receive(1) == b"a"
                assert len(await right.receive(2)) <= 2

        run(play())

    def test_nothing_there_is_not_the_end(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (_, right):
                assert right.receive_nowait(100) is None

        run(play())

    def test_what_is_there_is_received_without_waiting(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"ab")
                assert await right.receive(1) == b"a"
                assert right.receive_nowait(100) == b"b"
                assert right.receive_nowait(100) is None

        run(play())

    def test_others_run_while_there_are_always_bytes(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(bytes(100))
                await receive_exactly(right, 1)
                since = 0
                going = True

                def turn() -> None:
                    nonlocal since
                    since = 0
                    if going:
                        asyncio.get_running_loop().call_soon(turn)

                turn()
                for _ in range(99):
                    assert await right.receive(1)
                    since += 1
                    assert since <= BUDGET // EVENT + 1
                going = False

        run(play())

    def test_a_reset_is_known_before_anybody_reads_and_an_end_is_none(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"unread")
                await left.send_eof()
                await turns()
                assert not right.was_reset()
                assert await receive_all(right) == b"unread"
                assert not right.was_reset()
            async with self.pair() as (left, right):
                await left.send(b"unread")
                await turns()
                left.abort()
                if self.aborts_reset:
                    await until(right.was_reset)

        run(play())

    def test_bulk_waits_for_its_receiver_and_arrives_whole(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                sending = group.create_task(left.send(self.bulk))
                await turns()
                assert not sending.done()
                assert await receive_exactly(right, len(self.bulk)) == self.bulk

        run(play())

    def test_bulk_goes_both_ways_at_once(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                group.create_task(left.send(self.bulk))
                group.create_task(right.send(self.bulk[::-1]))
                there = group.create_task(receive_exactly(right, len(self.bulk)))
                back = group.create_task(receive_exactly(left, len(self.bulk)))
            assert there.result() == self.bulk
            assert back.result() == self.bulk[::-1]

        run(play())

    def test_a_memoryview_can_be_sent(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(memoryview(b"abcdef")[2:4])
                assert await receive_exactly(right, 2) == b"cd"

        run(play())

    def test_sending_nothing_does_nothing(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"")
                assert right.receive_nowait(100) is None

        run(play())

    def test_the_end_comes_after_the_bytes_and_stays(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"last")
                await left.send_eof()
                assert await receive_all(right) == b"last"
                assert await right.receive() == b""
                assert right.receive_nowait(100) == b""

        run(play())

    def test_the_end_of_one_direction_leaves_the_other_open(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send_eof()
                assert await right.receive() == b""
                await right.send(b"still here")
                assert await receive_exactly(left, 10) == b"still here"

        run(play())

    def test_the_end_can_be_said_twice(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send_eof()
                await left.send_eof()
                assert await right.receive() == b""

        run(play())

    def test_sending_after_the_end_fails(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _):
                await left.send_eof()
                with pytest.raises(OSError):  # noqa: PT011 - which one is the transport's business
                    await left.send(b"more")

        run(play())

    def test_the_end_wakes_a_waiting_receiver(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                receiving = group.create_task(right.receive())
                await turns()
                await left.send_eof()
                assert await receiving == b""

        run(play())

    @pytest.mark.parametrize("waits", [True, False])
    def test_closing_delivers_what_was_sent(self, run: Run, waits: bool) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await left.send(b"goodbye")
                if waits or not (isinstance(left, ClosableStream) and left.close_nowait()):
                    await left.aclose()
                assert await receive_all(right) == b"goodbye"
                assert not isinstance(left, ClosableStream) or left.close_nowait()  # which is idempotent

        run(play())

    def test_closing_is_idempotent(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _):
                await left.aclose()
                await left.aclose()
                left.abort()

        run(play())

    def test_a_closed_stream_fails_every_call(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _):
                await left.aclose()
                with pytest.raises(OSError):  # noqa: PT011
                    left.receive_nowait(1)
                with pytest.raises(OSError):  # noqa: PT011
                    await left.receive()
                with pytest.raises(OSError):  # noqa: PT011
                    await left.send(b"x")

        run(play())

    def test_closing_fails_a_waiting_receiver(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _), asyncio.TaskGroup() as group:
                receiving = group.create_task(_outcome(left.receive()))
                await turns()
                await left.aclose()
                assert isinstance(await receiving, OSError)

        run(play())

    def test_aborting_fails_waiting_calls(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _), asyncio.TaskGroup() as group:
                receiving = group.create_task(_outcome(left.receive()))
                sending = group.create_task(_outcome(left.send(self.bulk)))
                await turns()
                left.abort()
                assert isinstance(await receiving, OSError)
                assert isinstance(await sending, OSError)

        run(play())

    def test_aborting_is_idempotent(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _):
                left.abort()
                left.abort()
                await left.aclose()

        run(play())

    def test_the_peer_of_an_aborted_stream_is_told(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                left.abort()
                outcome = await _outcome(right.receive())
                if self.aborts_reset:
                    assert isinstance(outcome, ConnectionResetError)
                else:
                    assert outcome == b""

        run(play())

    def test_what_came_before_a_reset_is_received_also_when_sending_learned_of_the_reset(
        self, run: Run
    ) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await right.send(b"too large")
                await deliver(right)
                right.abort()
                while not isinstance(await _outcome(left.send(b"and more")), OSError):
                    await turns()
                assert await receive_exactly(left, 9) == b"too large"
                outcome = await _outcome(left.receive())
                if self.aborts_reset:
                    assert isinstance(outcome, ConnectionResetError)
                else:
                    assert outcome == b""

        run(play())

    def test_sending_to_a_peer_that_is_gone_fails(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                await right.aclose()
                while not isinstance(await _outcome(left.send(b"anybody there?")), OSError):
                    await turns()

        run(play())

    def test_a_second_receiver_is_refused_and_the_first_is_not_displaced(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                first = group.create_task(left.receive())
                await turns()
                with pytest.raises(LocalProtocolError, match="another task receives"):
                    await left.receive()
                await right.send(b"x")
                assert await first == b"x"

        run(play())

    @pytest.mark.parametrize("abrupt", [False, True])
    def test_closing_fails_all_who_tried_to_receive(self, run: Run, abrupt: bool) -> None:
        async def play() -> None:
            async with self.pair() as (left, _), asyncio.TaskGroup() as group:
                calls = [group.create_task(_outcome(left.receive(), LocalProtocolError)) for _ in range(3)]
                await turns()
                if abrupt:
                    left.abort()
                else:
                    await left.aclose()
                kinds = [type(await call) for call in calls]
                assert issubclass(kinds[0], OSError)
                assert kinds[1:] == [LocalProtocolError, LocalProtocolError]

        run(play())

    def test_a_second_sender_is_refused_and_the_bytes_of_the_first_stay_whole(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                first = group.create_task(left.send(BULK[: self.enough]))
                await turns()
                with pytest.raises(LocalProtocolError, match="another task sends"):
                    await left.send(b"in between")
                with pytest.raises(LocalProtocolError, match="another task sends"):
                    await left.send_eof()
                assert await receive_exactly(right, self.enough) == BULK[: self.enough]
                await first
                await left.send(b"after it")
                assert await receive_exactly(right, 8) == b"after it"

        run(play())

    def test_aborting_fails_all_who_tried_to_send(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _), asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(_outcome(left.send(BULK[: self.enough]), LocalProtocolError))
                    for _ in range(3)
                ]
                await turns()
                left.abort()
                kinds = [type(await call) for call in calls]
                assert issubclass(kinds[0], OSError)
                assert kinds[1:] == [LocalProtocolError, LocalProtocolError]

        run(play())

    def test_whoever_was_cancelled_makes_room_for_the_next(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                for _ in range(3):
                    receiving = group.create_task(left.receive())
                    await turns()
                    receiving.cancel()
                    await asyncio.wait([receiving])
                receiving = group.create_task(left.receive())
                await right.send(b"x")
                assert await receiving == b"x"

        run(play())

    def test_a_peer_that_goes_wakes_a_waiting_sender(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                sending = group.create_task(_outcome(left.send(self.bulk)))
                await turns()
                right.abort()
                assert isinstance(await sending, OSError)

        run(play())

    def test_a_cancelled_receive_loses_nothing(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                receiving = group.create_task(right.receive())
                await turns()
                receiving.cancel()
                await turns()
                await left.send(b"kept")
                assert await receive_exactly(right, 4) == b"kept"

        run(play())

    def test_a_cancelled_send_leaves_the_stream_usable(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                sending = group.create_task(left.send(self.bulk))
                await turns()
                sending.cancel()
                await turns()
                group.create_task(left.send_eof())
                sent = await receive_all(right)
                assert self.bulk.startswith(sent)

        run(play())

    def test_one_task_receives_while_another_sends(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right), asyncio.TaskGroup() as group:
                receiving = group.create_task(receive_exactly(left, 2))
                sending = group.create_task(left.send(self.bulk))
                await turns()
                await right.send(b"ok")
                assert await receiving == b"ok"
                assert await receive_exactly(right, len(self.bulk)) == self.bulk
                await sending

        run(play())

    def test_ends_and_protection_can_always_be_asked_for(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, right):
                assert isinstance(left.local, Endpoint)
                assert left.remote == right.local
                assert isinstance(left.protection, Protection)
                await left.aclose()
                assert isinstance(left.local, Endpoint)
                assert isinstance(left.remote, Endpoint)
                assert isinstance(left.protection, Protection)

        run(play())

    def test_a_raw_socket_does_not_block(self, run: Run) -> None:
        async def play() -> None:
            async with self.pair() as (left, _):
                if left.raw_socket is not None:
                    assert left.raw_socket.gettimeout() == 0

        run(play())


async def _outcome(
    call: Coroutine[Any, Any, bytes | None], other: type[Exception] = OSError
) -> bytes | Exception | None:
    try:
        return await call
    except OSError as error:
        return error
    except other as error:
        return error
