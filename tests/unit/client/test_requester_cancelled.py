"""Calls of a client that are cancelled, at every point where they can be: nothing of theirs is left."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.net.stream import ByteStream
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.session_proxy import SessionProxy

MOST_TURNS: Final = 200  # of the loop, that any of these calls takes


class Hesitant(MemoryStream):
    """A stream whose every call takes a turn of the loop before and after: it can be cancelled there."""

    __slots__ = ()

    def __init__(self, stream: ByteStream) -> None:
        assert isinstance(stream, MemoryStream)
        super().__init__(incoming=stream._incoming, outgoing=stream._outgoing)

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        await asyncio.sleep(0)
        return await super().receive(max_bytes)

    @override
    async def send(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(0)
        await super().send(data)
        await asyncio.sleep(0)

    @override
    async def aclose(self) -> None:
        await asyncio.sleep(0)
        await super().aclose()
        await asyncio.sleep(0)


async def connect(client: Client) -> None:
    async with await client.connect("example.com", 80, initial_data=b"hello", idempotent=True) as stream:
        await stream.send(b"more")


async def noop(client: Client) -> None:
    await client.noop()


async def open_session(client: Client) -> None:
    await client.open_session()


async def leave(client: Client) -> None:
    await client.open_session()
    await client.aclose()


async def cancelled_after(turns: int, call: Coroutine[object, object, None]) -> bool:
    """Cancel a call after so many turns of the loop; return whether it was still under way."""
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


@pytest.mark.parametrize("before", [False, True], ids=["new", "within"])
@pytest.mark.parametrize("call", [connect, noop, open_session, leave])
def test_whenever_a_call_is_cancelled_nothing_of_it_is_left(
    run: Run, call: Callable[[Client], Coroutine[object, object, None]], before: bool
) -> None:
    async def attempt(turns: int) -> bool:
        proxy = SessionProxy(window=4)
        ends: list[ByteStream] = []
        async with asyncio.TaskGroup() as group:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                ends.append(Hesitant(ours))
                group.create_task(proxy.serve(theirs))
                return ends[-1]

            client = Client("socks6://alice:secret@memory", dial=dial, timeout=5.0)
            if before:
                await client.open_session()
            interrupted = await cancelled_after(turns, call(client))
            for end in ends:
                with pytest.raises(OSError, match="closed"):
                    end.receive_nowait(1)
            stream = await client.connect("example.com", 80, idempotent=True)
            stream.abort()
            assert proxy.tokens(), "the client has no tokens any more"
            assert len(proxy.tokens()) == len(set(proxy.tokens()))
            session = client._requester.session._live
            assert session is not None
            assert (session.leases, session.spending) == (0, 0)
            session.unsettled_until = 0.0  # a call that came to its end closed a stream only just
            await client.aclose()
            assert session.option.id in proxy.torn_down
        return interrupted

    async def scene() -> None:
        for turns in range(MOST_TURNS):
            if not await attempt(turns):
                return
        raise AssertionError("the call takes longer")

    run(scene())
