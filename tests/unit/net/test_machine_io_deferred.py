"""Answers held back for company."""

import asyncio
import socket

from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.machine_io import DeferredWrite
from socks6.net.sockets import SocketStream
from socks6.protocol.client import ClientConversation
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair

NOOP = Request(command=Command.NOOP, host="0.0.0.0", port=0)
BYTES = NOOP.encode()


def streams() -> tuple[SocketStream, SocketStream]:
    ours, theirs = socket.socketpair()
    return SocketStream(ours), SocketStream(theirs)


def fill(stream: SocketStream) -> int:
    """Send until the socket takes no more; return how much that was."""
    raw = stream.raw_socket
    assert raw is not None
    sent = 0
    while True:
        try:
            sent += raw.send(bytes(1024))
        except BlockingIOError:
            return sent


def test_what_is_flushed_at_once_leaves_in_one_piece(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = streams()
        machine = ClientConversation(NOOP)
        postponed = await DeferredWrite(machine, ours).begin()
        assert theirs.receive_nowait(99) is None
        await postponed.flush()
        assert theirs.receive_nowait(99) == BYTES
        await asyncio.sleep(0)
        assert theirs.receive_nowait(99) is None
        ours.abort()
        theirs.abort()

    run(scene())


def test_what_is_not_flushed_leaves_by_itself(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = streams()
        postponed = await DeferredWrite(ClientConversation(NOOP), ours).begin()
        assert await theirs.receive() == BYTES
        await postponed.flush()
        assert theirs.receive_nowait(99) is None
        ours.abort()
        theirs.abort()

    run(scene())


def test_what_the_socket_did_not_take_is_flushed_later(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = streams()
        full = fill(ours)
        postponed = await DeferredWrite(ClientConversation(NOOP), ours).begin()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(postponed.flush())
            received = b""
            while len(received) < full + len(BYTES):
                received += await theirs.receive()
        assert received.endswith(BYTES)
        ours.abort()
        theirs.abort()

    run(scene())


def test_nothing_leaves_once_it_is_cancelled(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = streams()
        postponed = await DeferredWrite(ClientConversation(NOOP), ours).begin()
        postponed.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert theirs.receive_nowait(99) is None
        ours.abort()
        theirs.abort()

    run(scene())


def test_streams_without_a_socket_hold_nothing_back(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = memory_stream_pair()
        postponed = await DeferredWrite(ClientConversation(NOOP), ours).begin()
        assert theirs.receive_nowait(99) == BYTES
        postponed.cancel()
        ours.abort()
        theirs.abort()

    run(scene())
