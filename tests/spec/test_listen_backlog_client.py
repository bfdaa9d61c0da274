"""§ Listen Backlog options, the client's part."""

import asyncio

import pytest

from socks6.client.bind import BindListener
from socks6.message.codes import Command
from socks6.message.options import ListenBacklog, SessionId, SessionOk, SessionRequest, find
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run

PLACE = ("192.0.2.1", 4711)
SESSION = SessionId(id=b"same session")


async def begin(proxy: Calls, group: asyncio.TaskGroup, granted: int) -> tuple[BindListener, Call]:
    """Have a client ask for a backlog; give its listener and the initial connection."""
    binding = group.create_task(proxy.client.bind(backlog=3))
    initial = await proxy.next(SESSION)
    await initial.reply(*PLACE, ListenBacklog(backlog=granted))
    return await binding, initial


def test_a_backlog_is_asked_for_within_a_session(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            listener, initial = await begin(proxy, group, 0)
            async with listener:
                assert find(initial.request.options, ListenBacklog) == ListenBacklog(backlog=3)
                assert find(initial.request.options, SessionRequest) is not None

    run(scene())


def test_further_binds_use_the_address_and_port_supplied_and_belong_to_the_same_session(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            listener, _ = await begin(proxy, group, 2)
            async with listener:
                for _ in range(2):
                    request = (await proxy.next(SessionOk())).request
                    assert (request.command, request.host, request.port) == (Command.BIND, *PLACE)
                    assert find(request.options, SessionId) == SESSION

    run(scene())


def test_the_initial_connection_stays_open_until_the_client_listens_no_more(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            listener, initial = await begin(proxy, group, 1)
            async with listener:
                further = await proxy.next(SessionOk())
                await further.reply(*PLACE)
                await further.reply("2001:db8::7", 9)
                (await listener.accept()).abort()
                assert initial.stream.receive_nowait(1) is None
            with pytest.raises(ConnectionError):
                await initial.stream.receive()

    run(scene())


def test_without_a_backlog_bind_is_as_ever(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            listener, initial = await begin(proxy, group, 0)
            async with listener:
                accepting = group.create_task(listener.accept())
                await initial.reply("2001:db8::7", 9)
                await (await proxy.next(SessionOk())).reply(*PLACE)
                async with await accepting as stream:
                    await initial.stream.send(b"hi")
                    assert await stream.receive() == b"hi"

    run(scene())
