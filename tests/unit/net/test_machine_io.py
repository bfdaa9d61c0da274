"""The one loop that runs any machine over any stream."""

import asyncio
import errno
from collections import deque

import pytest
from typing_extensions import override

from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.machine_io import flush, next_event
from socks6.net.stream import ByteStream
from socks6.protocol.events import OperationAnswered
from socks6.protocol.older_client import HttpClientConversation
from tests.kit.joined import tcp_pair
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.streams import turns


class Sentences:
    """A machine: every ten bytes are an event, answered by their number; 0 wanted once `most` have come."""

    def __init__(self, *, most: int = 100, deadline: float | None = None) -> None:
        self.most = most
        self.deadline = deadline
        self.buffer = b""
        self.events: deque[str] = deque()
        self.answers = b""
        self.chunks: list[int] = []
        self.times: list[float] = []

    def receive_data(self, data: bytes, now: float) -> None:
        self.chunks.append(len(data))
        self.times.append(now)
        self.buffer += data
        while len(self.buffer) >= 10:
            self.events.append(self.buffer[:10].decode())
            self.buffer = self.buffer[10:]
            self.answers += b"%d" % len(self.events)
            self.most -= 1

    def receive_eof(self, now: float) -> None:
        self.times.append(now)
        if self.buffer:
            self.events.append("cut off")

    def handle_timeout(self, now: float) -> None:
        assert self.deadline is not None
        assert now >= self.deadline
        self.deadline = None
        self.events.append("late")

    def next_timeout(self) -> float | None:
        return self.deadline

    def next_event(self) -> str | None:
        return self.events.popleft() if self.events else None

    def data_to_send(self) -> bytes:
        answers, self.answers = self.answers, b""
        return answers

    def bytes_wanted(self) -> int:
        return 10 - len(self.buffer) if self.most > 0 else 0

    def unread(self) -> bytes:
        unread, self.buffer = self.buffer, b""
        return unread


class CountingStream(MemoryStream):
    """Counts what is sent."""

    __slots__ = ("sent",)

    def __init__(self, inner: ByteStream) -> None:
        assert isinstance(inner, MemoryStream)
        super().__init__(incoming=inner._incoming, outgoing=inner._outgoing)
        self.sent: list[bytes] = []

    @override
    async def send(self, data: bytes | memoryview) -> None:
        self.sent.append(bytes(data))
        await super().send(data)


def test_an_event_comes_once_its_bytes_are_there(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            event = group.create_task(next_event(Sentences(), ours))
            await peers.send(b"0123")
            await turns()
            assert not event.done()
            await peers.send(b"456789")
            assert await event == "0123456789"

    run(play())


def test_answers_to_several_events_leave_in_one_piece(run: Run) -> None:
    async def play() -> None:
        inner, peers = memory_stream_pair()
        ours = CountingStream(inner)
        machine = Sentences(most=3)
        await peers.send(b"first     second    third     ")
        assert [await next_event(machine, ours) for _ in range(3)] == [
            "first     ",
            "second    ",
            "third     ",
        ]
        assert ours.sent == []
        assert await next_event(machine, ours) is None
        assert ours.sent == [b"123"]

    run(play())


def test_what_is_queued_is_written_before_waiting(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        machine = Sentences()
        machine.answers = b"hello"
        async with asyncio.TaskGroup() as group:
            event = group.create_task(next_event(machine, ours))
            assert await peers.receive() == b"hello"
            event.cancel()

    run(play())


def test_a_machine_that_wants_no_more_is_over(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"not read")
        assert await next_event(Sentences(most=0), ours) is None
        assert ours.receive_nowait(99) == b"not read"

    run(play())


def test_the_end_of_the_stream_is_told(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"half")
        await peers.send_eof()
        assert await next_event(Sentences(), ours) == "cut off"

    run(play())


def test_an_end_that_is_no_event_is_the_end(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send_eof()
        machine = Sentences()
        assert await next_event(machine, ours) is None
        assert await next_event(machine, ours) is None

    run(play())


def test_usually_everything_that_is_there_is_read(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"0123456789and what follows")
        machine = Sentences()
        await next_event(machine, ours)
        assert machine.chunks == [26]

    run(play())


def test_exactly_what_is_wanted_is_read_when_asked_for(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"0123")
        machine = Sentences(most=1)
        async with asyncio.TaskGroup() as group:
            event = group.create_task(next_event(machine, ours, exact=True))
            await turns()
            await peers.send(b"456789and what follows")
            assert await event == "0123456789"
        assert machine.chunks == [4, 6]
        assert ours.receive_nowait(99) == b"and what follows"

    run(play())


def test_a_time_out_is_told(run: Run) -> None:
    async def play() -> None:
        ours, _ = memory_stream_pair()
        deadline = asyncio.get_running_loop().time() + 0.01
        assert await next_event(Sentences(deadline=deadline), ours) == "late"

    run(play())


def test_bytes_that_are_always_there_do_not_outlast_the_deadline(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"0123456789")
        machine = Sentences(deadline=0.0)
        assert await next_event(machine, ours) == "late"
        assert not machine.chunks

    run(play())


def test_times_are_the_loops(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        await peers.send(b"0123456789")
        machine = Sentences()
        before = asyncio.get_running_loop().time()
        await next_event(machine, ours)
        assert before <= machine.times[0] <= asyncio.get_running_loop().time()

    run(play())


def test_a_broken_stream_is_an_error(run: Run) -> None:
    async def play() -> None:
        ours, peers = memory_stream_pair()
        peers.abort()
        with pytest.raises(ConnectionResetError):
            await next_event(Sentences(), ours)

    run(play())


def test_a_time_out_of_tcp_is_not_the_machines(run: Run) -> None:
    class TimingOut(CountingStream):
        __slots__ = ()

        @override
        async def receive(self, max_bytes: int = 65536) -> bytes:
            raise TimeoutError(errno.ETIMEDOUT, "the peer is gone")

    async def play() -> None:
        ours = TimingOut(memory_stream_pair()[0])
        with pytest.raises(TimeoutError, match="the peer is gone"):
            await next_event(Sentences(deadline=asyncio.get_running_loop().time() + 60), ours)

    run(play())


def test_flushing_nothing_sends_nothing(run: Run) -> None:
    async def play() -> None:
        ours = CountingStream(memory_stream_pair()[0])
        await flush(Sentences(), ours)
        assert ours.sent == []

    run(play())


class Unwritable(CountingStream):
    """Takes nothing, as a connection that was reset, but what had arrived before is there."""

    @override
    async def send(self, data: bytes | memoryview) -> None:
        raise BrokenPipeError(errno.EPIPE, "broken")


def test_what_came_before_a_stream_broke_is_read(run: Run) -> None:
    async def scene() -> None:
        inner, far = memory_stream_pair()
        near = Unwritable(inner)
        machine = Sentences()
        machine.answers = b"a request"
        await far.send(b"0123456789")
        assert await next_event(machine, near) == "0123456789"
        with pytest.raises(BrokenPipeError):
            await next_event(machine, near)

    run(scene())


@pytest.mark.parametrize(
    "pieces", [[b"HTTP/1.1 200 OK\r\n\r\n220 hello"], [b"HTTP/1", b".1 200 OK\r\nA: b\r\n", b"\r\n220 hello"]]
)
def test_what_follows_a_message_without_a_length_stays_in_the_socket(run: Run, pieces: list[bytes]) -> None:
    async def scene() -> None:
        ours, theirs = tcp_pair()
        machine = HttpClientConversation(Request(command=Command.CONNECT, host="a.example", port=80))
        reading = asyncio.create_task(next_event(machine, ours, exact=True))
        await theirs.receive()
        for piece in pieces:
            await theirs.send(piece)
            await asyncio.sleep(0)
        assert isinstance(await reading, OperationAnswered)
        assert machine.unread() == b""
        assert await ours.receive() == b"220 hello"
        ours.abort()
        theirs.abort()

    run(scene())
