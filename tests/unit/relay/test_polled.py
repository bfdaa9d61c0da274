"""What directions do with the events of real sockets, by a mover that does the least; splice and pump have their own tests."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from socks6.net.poller import Poller
from socks6.net.sockets import reset_on_close
from socks6.relay.joined import DirectionState, SendingFailed
from socks6.relay.polled import PIECE_BYTES, PolledDirection, PolledStreams
from socks6.telemetry import Ending
from tests.kit.joined import tcp_pair
from tests.kit.loops import Run
from tests.kit.streams import turns, until


class Mover(PolledDirection):
    """Receives, and sends; keeps what the sink does not take."""

    sink: socket.socket
    rest = b""

    @override
    def put(self, data: bytes) -> None:
        try:
            sent = self.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise SendingFailed.by(error) from error
        self.bytes_moved += sent
        self.rest = data[sent:]
        self.held = bool(self.rest)
        if self.held:
            self.poller.add_writable(self.reverse.source_fd)

    @override
    def move(self, *, drain: bool) -> None:
        while not self.held:
            try:
                data = self.source_socket.recv(PIECE_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.finish()
                return
            if self.state is DirectionState.FLOWING:
                self.put(data)

    @override
    def resume(self) -> None:
        rest, self.held = self.rest, False
        if rest:
            self.put(rest)
        if not self.held and self.state is DirectionState.FINISHING:
            self.sink.shutdown(socket.SHUT_WR)
            self.finished()
        elif not self.held:
            self.move(drain=True)

    @override
    def end_sink(self) -> bool:
        self.sink.shutdown(socket.SHUT_WR)
        return True

    @override
    def discard(self) -> None:
        self.held, self.rest = False, b""


class Scene:
    """The client's and the remote's end, and the relay's two sockets between them."""

    def __init__(self) -> None:
        ends = [stream.attribute(socket.socket) for _ in range(2) for stream in tcp_pair()]
        self.client, near, self.remote, far = (end.dup() for end in ends if end)
        for end in ends:
            assert end is not None
            end.close()
        self.sockets = (self.client, near, self.remote, far)
        for sock in self.sockets:
            sock.setblocking(False)
        self.poller = Poller()
        self.up, self.down = Mover(near, self.poller), Mover(far, self.poller)
        self.up.sink, self.down.sink = far, near
        self.relay = PolledStreams(self.up, self.down)

    async def fill(self, sock: socket.socket) -> int:
        """Send until nothing more is taken anywhere; return how much that was."""
        sent = 0
        quiet = 0
        while quiet < 20:
            try:
                sent += sock.send(bytes(65_536))
                quiet = 0
            except BlockingIOError:
                quiet += 1
            await asyncio.sleep(0.001)
        return sent


@contextlib.asynccontextmanager
async def scene(first: bytes = b"") -> AsyncIterator[Scene]:
    made = Scene()
    made.relay.start(first)
    try:
        yield made
    finally:
        made.relay.stop()
        made.poller.close()
        for sock in made.sockets:
            sock.close()


async def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := await asyncio.get_running_loop().sock_recv(sock, size)):
        data += piece
    return data


def test_first_bytes_go_first_and_each_half_closes_alone(run: Run) -> None:
    async def play() -> None:
        async with scene(b"first") as it:
            it.client.send(b"asked")
            it.client.shutdown(socket.SHUT_WR)
            assert await received(it.remote, 100) == b"firstasked"  # and the end
            assert (it.up.state, it.relay.over) == (DirectionState.FINISHED, False)
            it.remote.send(b"answered")
            assert await received(it.client, 8) == b"answered"
            it.remote.shutdown(socket.SHUT_WR)
            assert await received(it.client, 1) == b""
            assert (it.relay.over, it.relay.ending) == (True, Ending.DONE)
            assert (it.relay.bytes_up, it.relay.bytes_down) == (10, 8)

    run(play())


def test_a_side_that_takes_nothing_stops_the_other_alone(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            sent = await it.fill(it.client)
            assert it.up.held
            assert not it.up.reads
            it.remote.send(b"still")
            assert await received(it.client, 5) == b"still"
            assert len(await received(it.remote, sent)) == sent
            assert (it.up.held, it.relay.bytes_up) == (False, sent)

    run(play())


def test_the_end_waits_behind_what_is_held(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            sent = await it.fill(it.client)
            it.client.shutdown(socket.SHUT_WR)
            await turns()
            states = [it.up.state]
            assert len(await received(it.remote, sent + 1)) == sent
            assert [*states, it.up.state] == [DirectionState.FLOWING, DirectionState.FINISHED]

    run(play())


def test_a_reset_of_a_source_that_is_not_read_is_noticed(run: Run) -> None:
    """Its other direction cannot send to it; what it said before is not lost."""

    async def play() -> None:
        async with scene() as it:
            sent = await it.fill(it.client)
            reset_on_close(it.client)
            it.client.close()
            await until(lambda: it.down.state is DirectionState.DROPPING)
            assert it.relay.reason == "client: Connection reset by peer"
            over = [it.relay.over]
            taken = 0
            while not it.relay.over and (piece := await received(it.remote, 65_536)):
                taken += len(piece)
            assert 0 < taken <= sent
            assert ([*over, it.relay.over], it.relay.ending) == ([False, True], Ending.RESET)

    run(play())


def test_a_sink_that_breaks_ends_its_direction_and_its_last_words_arrive(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            it.remote.send(b"no more of that")
            it.remote.shutdown(socket.SHUT_WR)
            assert await received(it.client, 15) == b"no more of that"
            reset_on_close(it.remote)
            it.remote.close()
            with contextlib.suppress(OSError):
                for _ in range(50):
                    it.client.send(bytes(65_536))
                    await asyncio.sleep(0.001)
            await until(lambda: it.relay.over)
            assert it.relay.ending is Ending.RESET
            assert it.relay.reason.startswith("remote: ")
            assert it.down.state is DirectionState.FINISHED

    run(play())


@pytest.mark.parametrize("side", ["up", "down"])
def test_a_socket_that_is_closed_already_ends_the_relay_at_once(run: Run, side: str) -> None:
    async def play() -> None:
        made = Scene()
        direction = made.up if side == "up" else made.down
        direction.source_socket.close()
        direction.source_fd = -1
        ended: list[Ending] = []
        made.relay.end_with(lambda: ended.append(made.relay.ending))
        made.relay.start(b"first")
        assert ended == [Ending.RESET]
        assert made.relay.reason == "client: Bad file descriptor"
        made.relay.start(b"again")  # which changes nothing
        assert ended == [Ending.RESET]
        made.poller.close()
        for sock in made.sockets:
            sock.close()

    run(play())


def test_who_waits_may_give_up_and_what_comes_then_is_left_alone(run: Run) -> None:
    async def play() -> None:
        made = Scene()
        running = asyncio.ensure_future(made.relay.run(b"first"))
        assert await received(made.remote, 5) == b"first"
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        made.up.wake()
        made.relay.end(Ending.STOPPED)
        made.client.send(b"too late")
        await turns()
        with pytest.raises(BlockingIOError):
            made.remote.recv(1)
        assert (made.up.left, made.down.left, made.relay.ending) == (True, True, Ending.STOPPED)
        made.poller.close()
        for sock in made.sockets:
            sock.close()

    run(play())


def test_a_sink_is_tuned_once_the_relay_lasts_and_not_if_it_is_gone(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            far = it.down.source_socket
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            it.up.untuned = it.up.sink
            it.relay.lasts()
            assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            it.up.untuned = gone = far.dup()
            gone.close()
            it.relay.lasts()
            assert it.up.untuned is None

    run(play())


def test_an_end_after_sending_to_the_source_failed_is_no_end_in_order(run: Run) -> None:
    async def play() -> None:
        async with scene() as it:
            it.up.source_failed(OSError(errno.ECONNRESET, "Connection reset by peer"))
            it.client.shutdown(socket.SHUT_WR)
            await until(lambda: it.relay.over)
            assert it.up.state is DirectionState.CUT
            assert it.relay.ending is Ending.RESET

    run(play())


def test_a_fault_of_ours_ends_the_relay_with_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Mover, *, drain: bool) -> None:
        raise KeyError("a fault")

    async def play() -> None:
        async with scene() as it:
            monkeypatch.setattr(Mover, "move", fails)
            it.client.send(b"x")
            await until(lambda: it.relay.over)
            assert (it.relay.ending, it.relay.reason) == (Ending.ERROR, "KeyError('a fault')")

    run(play())
