"""A server whose port is the proxy's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.client.bind_server import BindServer
from socks6.errors import ProxyUnreachable
from socks6.message.options import ListenBacklog
from socks6.net.stream import Endpoint
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run

PUBLIC = Endpoint("192.0.2.1", 4711)
PEER = Endpoint("2001:db8::7", 9)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):  # a peer may reset, as one of the tests does
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def serving(backlog: int = 1) -> AsyncIterator[tuple[Calls, BindServer, Call]]:
    """Give a proxy, a server there that shouts back, and the connection of its first BIND."""
    async with calls() as proxy, asyncio.TaskGroup() as group:
        starting = group.create_task(proxy.client.start_server(shout, backlog=backlog))
        first = await proxy.next()
        await first.reply(*PUBLIC, ListenBacklog(backlog=backlog))
        async with await starting as server:
            yield proxy, server, first


async def hear(call: Call) -> bytes:
    """Be a peer; return all that it gets."""
    await call.reply(*PUBLIC)
    await call.reply(*PEER)
    await call.stream.send(b"hello\n")
    answer = b""
    while piece := await call.stream.receive():
        answer += piece
    await call.stream.aclose()
    return answer


def test_each_peer_is_served(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (proxy, server, _):
            assert (server.bound, server.backlog) == (PUBLIC, 1)
            assert server.options == (ListenBacklog(backlog=1),)
            await server.start_serving()
            assert server.is_serving()
            assert server.get_loop() is asyncio.get_running_loop()
            assert isinstance(server, asyncio.AbstractServer)
            assert not server.sockets
            for _ in range(3):
                assert await hear(await proxy.next()) == b"HELLO\n"

    run(scene())


def test_peers_outlive_the_server(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (proxy, server, first):
            call = await proxy.next()
            await call.reply(*PUBLIC)
            await call.reply(*PEER)
            await proxy.next()  # the peer was taken
            await asyncio.sleep(0.01)
            server.close()
            server.close()
            assert not server.is_serving()
            await server.wait_closed()
            with pytest.raises(ConnectionError):
                await first.stream.receive()
            await call.stream.send(b"still here\n")
            assert await call.stream.receive() == b"STILL HERE\n"
            await call.stream.aclose()

    run(scene())


def test_serving_for_ever_ends_with_the_proxys_port(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with serving() as (_, server, first):
            await first.stream.aclose()
            with pytest.raises(ProxyUnreachable):
                await server.serve_forever()
            assert not server.is_serving()

    with caplog.at_level(logging.WARNING, "socks6"):
        run(scene())
    assert "server at the proxy ended" in caplog.text


def test_serving_for_ever_closes_when_it_is_cancelled(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (_, server, _), asyncio.TaskGroup() as group:
            forever = group.create_task(server.serve_forever())
            await asyncio.sleep(0)
            forever.cancel()
            await asyncio.wait([forever])
            assert forever.cancelled()
            await server.wait_closed()

    run(scene())


def test_a_server_closed_at_once_gives_up_its_port(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            first = await proxy.next()
            await first.reply(*PUBLIC)
            server = BindServer(await binding, lambda stream: stream.aclose())
            server.close()  # before it has begun to run
            await server.wait_closed()
            with pytest.raises(ConnectionError):
                await first.stream.receive()

    run(scene())


def test_a_peer_that_is_gone_harms_no_other(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (proxy, _, _):
            gone = await proxy.next()
            await gone.reply(*PUBLIC)
            await gone.reply(*PEER)
            gone.stream.abort()
            assert await hear(await proxy.next()) == b"HELLO\n"

    run(scene())


def test_without_backlog_it_serves_one_after_the_other(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=0) as (proxy, server, first):
            assert server.backlog == 0
            await first.reply(*PEER)
            await first.stream.send(b"one\n")
            assert await first.stream.receive() == b"ONE\n"
            await first.stream.aclose()
            for _ in range(2):
                assert await hear(await proxy.next()) == b"HELLO\n"

    run(scene())


def test_a_handler_is_told_of_the_end_or_not_started_wherever_the_server_is_closed(run: Run) -> None:
    """Served peers outlive the server; one that is handed over when it is closed is lost as those in the backlog."""

    async def close_after(turns_of_the_loop: int) -> bool:
        told: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.append(b"")
            told[0] = await reader.readline()
            writer.write(b"answer")
            writer.close()

        async with calls() as proxy, asyncio.TaskGroup() as group:
            starting = group.create_task(proxy.client.start_server(talk, backlog=1))
            await (await proxy.next()).reply(*PUBLIC, ListenBacklog(backlog=1))
            server = await starting
            call = await proxy.next()
            await call.reply(*PUBLIC)
            await call.reply(*PEER)
            await call.stream.send(b"hello\n")
            for _ in range(turns_of_the_loop):
                await asyncio.sleep(0)
            server.close()
            await server.wait_closed()
            try:
                answer = await call.stream.receive()
            except OSError:
                answer = b""
            assert (told, answer) in (([], b""), ([b"hello\n"], b"answer"))
            call.stream.abort()
        return bool(told)

    async def scene() -> None:
        served = [await close_after(number) for number in range(30)]
        assert served == sorted(served)
        assert served[-1]

    run(scene())
