"""What the kernel's data path does that nobody sees from outside."""

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux splices", allow_module_level=True)

from socks6.net.poller import Poller
from socks6.net.sockets import SocketStream
from socks6.relay.joined import SendingFailed
from socks6.relay.pipes import Pipes
from socks6.relay.polled import PIECE_BYTES
from socks6.relay.splice import SpliceDirection, splice_streams
from socks6.telemetry import Ending
from tests.kit.joined import tcp_pair
from tests.kit.loops import Run
from tests.kit.streams import BULK, receive_exactly, turns, until


class AssociationRelay:
    """Two joined sockets and the peers at either end."""

    def __init__(self, most_pipes: int = 4) -> None:
        self.poller = Poller()
        self.pipes = Pipes(most_pipes)
        self.client, ours = tcp_pair()
        theirs, self.remote = tcp_pair()
        self.streams = [self.client, ours, theirs, self.remote]
        assert ours.raw_socket is not None
        assert theirs.raw_socket is not None
        self.splice = splice_streams(ours.raw_socket, theirs.raw_socket, self.poller, self.pipes)
        self.over = asyncio.Event()
        self.splice.end_with(self.over.set)

    @property
    def up(self) -> SpliceDirection:
        """From the client to the remote."""
        assert isinstance(self.splice.up, SpliceDirection)
        return self.splice.up


@asynccontextmanager
async def joint(most_pipes: int = 4, first: bytes = b"") -> AsyncIterator[AssociationRelay]:
    """Join two sockets; in the end nothing may be left in the stock of pipes."""
    scene = AssociationRelay(most_pipes)
    scene.splice.start(first)
    yield scene
    scene.splice.stop()
    scene.poller.close()
    scene.pipes.close()
    assert scene.pipes.made == 0
    for stream in scene.streams:
        stream.abort()


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_small_pieces_need_no_pipe(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            for _ in range(10):
                await scene.client.send(bytes(PIECE_BYTES - 1))
                await receive_exactly(scene.remote, PIECE_BYTES - 1)
            assert scene.pipes.made == 0

    run(play())


def test_bulk_is_spliced(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene, asyncio.TaskGroup() as group:
            group.create_task(scene.client.send(BULK))
            assert await receive_exactly(scene.remote, len(BULK)) == BULK
            assert scene.pipes.made == 1
            assert scene.up.bytes_moved == len(BULK)

    run(play())


def test_a_relay_that_rests_holds_no_pipe(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            async with asyncio.TaskGroup() as group:
                group.create_task(scene.client.send(BULK))
                await receive_exactly(scene.remote, len(BULK))
            await turns()
            assert scene.up.pipe is None
            scene.pipes.close()
            assert scene.pipes.made == 0

    run(play())


def test_a_receiver_that_takes_nothing_holds_one_pipe_and_gives_it_back(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            async with asyncio.TaskGroup() as group:
                group.create_task(scene.client.send(BULK))
                await until(lambda: scene.up.pipe is not None)
                assert await receive_exactly(scene.remote, len(BULK)) == BULK
            await turns()
            assert scene.up.pipe is None

    run(play())


def test_a_relay_that_ends_with_bytes_in_its_pipe_leaves_no_pipe(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene, asyncio.TaskGroup() as group:
            sending = group.create_task(scene.client.send(BULK))
            await until(lambda: scene.up.pipe is not None)
            sending.cancel()
            scene.splice.stop()
            assert scene.pipes.made == 0

    run(play())


def test_without_descriptors_for_a_pipe_bulk_is_copied(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            with no_more_descriptors():
                async with asyncio.TaskGroup() as group:
                    group.create_task(scene.client.send(BULK))
                    assert await receive_exactly(scene.remote, len(BULK)) == BULK
            assert scene.pipes.made == 0

    run(play())


def test_a_direction_that_has_much_to_move_lets_the_others_have_their_turn(run: Run) -> None:
    async def play() -> None:
        async with joint(most_pipes=0) as scene, asyncio.TaskGroup() as group:
            group.create_task(scene.client.send(BULK))
            receiving = group.create_task(receive_exactly(scene.remote, len(BULK)))
            await scene.remote.send(b"a word meanwhile")
            assert await receive_exactly(scene.client, 16) == b"a word meanwhile"
            assert not receiving.done()

    run(play())


def test_urgent_bytes_do_not_hold_up_those_behind_them(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            assert scene.client.raw_socket is not None
            await scene.client.send(b"before")
            scene.client.raw_socket.send(b"!", socket.MSG_OOB)
            await scene.client.send(b"after")
            assert await receive_exactly(scene.remote, 11) == b"beforeafter"

    run(play())


class Unspliceable:
    """A socket of a kind that the kernel cannot splice: its descriptor is an eventfd, its calls a socket's."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK)
        self.proto = sock.proto

    def fileno(self) -> int:
        return self.eventfd

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)


@pytest.mark.parametrize("which", ["source", "sink"])
def test_sockets_that_cannot_be_spliced_are_copied(run: Run, which: str) -> None:
    async def play() -> None:
        poller, pipes = Poller(), Pipes(4)
        (client, ours), (theirs, remote) = tcp_pair(), tcp_pair()
        ends = [ours.raw_socket, theirs.raw_socket]
        index = ["source", "sink"].index(which)
        odd = Unspliceable(ends[index])  # type: ignore[arg-type]  # it is a socket
        ends[index] = odd  # type: ignore[call-overload]  # behaves like one
        splice = splice_streams(ends[0], ends[1], poller, pipes)  # type: ignore[arg-type]
        up = splice.up
        assert isinstance(up, SpliceDirection)
        up.bulk = True
        await client.send(b"hello")
        up.go_on()
        assert await receive_exactly(remote, 5) == b"hello"
        assert up._copies_only
        assert up.bytes_moved == 5
        assert up.pipe is None
        os.close(odd.eventfd)
        poller.close()
        pipes.close()
        assert pipes.made == 0
        for stream in (client, ours, theirs, remote):
            stream.abort()

    run(play())


def test_a_fault_of_ours_ends_the_relay_as_such(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            scene.up.fail(ZeroDivisionError("ours"))
            await scene.over.wait()
            assert scene.splice.ending is Ending.ERROR
            assert "ours" in scene.splice.reason

    run(play())


def test_the_first_word_about_the_ending_counts(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            scene.splice.expire("idle")
            scene.up.fail(ConnectionResetError(104, "reset"))
            assert (scene.splice.ending, scene.splice.reason) == (Ending.IDLE, "idle")

    run(play())


def test_a_remote_that_is_gone_is_named(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            scene.remote.abort()
            await scene.over.wait()
            assert scene.splice.reason.startswith("remote: ")

    run(play())


def test_a_client_that_resets_while_it_is_spliced_is_named(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            scene.up.bulk = True
            scene.client.abort()
            await scene.over.wait()
            assert scene.splice.reason.startswith("client: ")

    run(play())


def test_a_remote_that_resets_with_bytes_in_its_pipe_is_named(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene, asyncio.TaskGroup() as group:
            sending = group.create_task(scene.client.send(BULK))
            await until(lambda: scene.up.pipe is not None)
            scene.remote.abort()
            await scene.over.wait()
            sending.cancel()
            assert scene.splice.reason.startswith("remote: ")

    run(play())


def test_a_side_that_can_be_told_nothing_more_is_broken(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            up = scene.up
            scene.splice.stop()
            up.sink.close()
            with pytest.raises(SendingFailed):
                up.put(b"x")
            with pytest.raises(SendingFailed):
                up.finish()

    run(play())


def test_a_direction_that_waits_for_its_turn_does_not_outlive_the_relay(run: Run) -> None:
    async def play() -> None:
        async with joint() as scene:
            await scene.client.send(b"too late")
            scene.poller.later(scene.up)
            scene.splice.expire("idle")
            await turns()
            assert scene.up.bytes_moved == 0

    run(play())


def test_unix_sockets_are_read_to_the_end_of_what_is_there(run: Run) -> None:
    """A piece with a descriptor in it is delivered apart from what follows: short, but not the last."""

    async def play() -> None:
        poller, pipes = Poller(), Pipes(4)
        pairs = [socket.socketpair() for _ in range(2)]
        client, remote = pairs[0][0], SocketStream(pairs[1][1])
        for pair in pairs:
            for sock in pair:
                sock.setblocking(False)
        splice = splice_streams(pairs[0][1], pairs[1][0], poller, pipes)
        client.send(b"one ")
        socket.send_fds(client, [b"two "], [client.fileno()])
        client.send(b"three")
        splice.start()
        assert await receive_exactly(remote, 13) == b"one two three"
        splice.stop()
        poller.close()
        pipes.close()
        remote.abort()
        for pair in pairs:
            for sock in pair:
                sock.close()

    run(play())
