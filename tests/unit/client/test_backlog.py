"""BIND with a backlog, against a proxy that answers as the test says."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.client.bind import MAX_FAILURES, MAX_IN_FLIGHT, BindListener, retry_pause
from socks6.errors import GeneralFailure, NotAllowed, ProxyUnreachable
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import (
    ListenBacklog,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.net.stream import Endpoint
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run

PUBLIC = Endpoint("192.0.2.1", 4711)
PEER = Endpoint("2001:db8::7", 9)
OTHER = Endpoint("203.0.113.8", 99)


@asynccontextmanager
async def listening(
    backlog: int = 2, *, granted: int | None = None, dialect: Dialect = DRAFT_12
) -> AsyncIterator[tuple[Calls, BindListener, Call]]:
    """Give a proxy, a listener there, and the connection that keeps its port."""
    async with calls(dialect) as proxy, asyncio.TaskGroup() as group:
        binding = group.create_task(proxy.client.bind(backlog=backlog))
        first = await proxy.next()
        assert find(first.request.options, ListenBacklog) == ListenBacklog(backlog=backlog)
        await first.reply(*PUBLIC, ListenBacklog(backlog=backlog if granted is None else granted))
        async with await binding as listener:
            yield proxy, listener, first


async def accept_bind(proxy: Calls) -> Call:
    """Answer an accept-BIND at once."""
    call = await proxy.next()
    await call.reply(*PUBLIC)
    return call


def test_as_many_accept_binds_wait_as_the_backlog_allows(run: Run) -> None:
    async def scene() -> None:
        async with listening(5, granted=2) as (proxy, listener, _):
            assert (listener.bound, listener.backlog) == (PUBLIC, 2)
            for _ in range(2):
                request = (await accept_bind(proxy)).request
                assert (request.command, request.host, request.port) == (Command.BIND, *PUBLIC)
                assert find(request.options, ListenBacklog) is None
            await asyncio.sleep(0)
            assert proxy.nobody_calls

    run(scene())


def test_all_its_requests_are_of_one_session(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=2))  # where sessions are off by default
            first = await proxy.next(SessionId(id=b"ours"))
            assert find(first.request.options, SessionRequest) is not None
            await first.reply(*PUBLIC, ListenBacklog(backlog=2))
            async with await binding:
                for _ in range(2):
                    request = (await proxy.next(SessionOk())).request
                    assert find(request.options, SessionId) == SessionId(id=b"ours")
            group.create_task(leave(proxy, b"ours"))
            await proxy.client.aclose()

    run(scene())


async def leave(proxy: Calls, session: bytes) -> None:
    """See the session torn down when the client ends."""
    request = (await proxy.next(SessionOk())).request
    assert find(request.options, SessionId) == SessionId(id=session)
    assert find(request.options, SessionTeardown) is not None


def test_a_session_that_came_meanwhile_is_not_its_own(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=1))
            first = await proxy.next(SessionId(id=b"ours"))
            await first.reply(*PUBLIC, ListenBacklog(backlog=1))
            async with await binding:
                accept = await proxy.next(SessionOk())
                pinging = group.create_task(proxy.client.noop())
                invalid = await proxy.refuse(SessionInvalid())
                assert find(invalid.request.options, SessionId) == SessionId(id=b"ours")
                await (await proxy.next()).reply()
                await pinging
                await accept.reply(*PUBLIC)
                await accept.reply(code=9)
                request = (await proxy.next(SessionOk())).request
                assert find(request.options, SessionId) == SessionId(id=b"ours")

    run(scene())


def test_a_great_backlog_does_not_make_a_crowd(run: Run) -> None:
    async def scene() -> None:
        async with listening(1000) as (proxy, listener, _):
            assert listener.backlog == 1000
            for _ in range(MAX_IN_FLIGHT):
                await accept_bind(proxy)
            await asyncio.sleep(0)
            assert proxy.nobody_calls

    run(scene())


def test_peers_that_come_while_nobody_accepts_wait_in_order(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, _):
            one, two = await accept_bind(proxy), await accept_bind(proxy)
            await two.reply(*PEER)
            await asyncio.sleep(0)
            await one.reply(*OTHER)
            async with await listener.accept() as stream:
                assert (stream.bound, stream.peer) == (PUBLIC, PEER)
                await two.stream.send(b"hi")
                assert await stream.receive() == b"hi"
            async with await listener.accept() as stream:
                assert stream.peer == OTHER

    run(scene())


def test_a_place_is_free_again_only_when_its_peer_was_accepted(run: Run) -> None:
    async def scene() -> None:
        async with listening(1) as (proxy, listener, _):
            await (await accept_bind(proxy)).reply(*PEER)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert proxy.nobody_calls
            (await listener.accept()).abort()
            await (await accept_bind(proxy)).reply(*OTHER)
            async with await listener.accept() as stream:
                assert stream.peer == OTHER

    run(scene())


def test_several_callers_get_one_peer_each(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, _), asyncio.TaskGroup() as group:
            accepting = [group.create_task(listener.accept()) for _ in range(2)]
            for peer in (PEER, OTHER):
                await (await accept_bind(proxy)).reply(*peer)
            streams = [await task for task in accepting]
            assert {stream.peer for stream in streams} == {PEER, OTHER}
            for stream in streams:
                stream.abort()

    run(scene())


def test_a_cancelled_accept_takes_nobody_along(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, _), asyncio.TaskGroup() as group:
            accepting = group.create_task(listener.accept())
            call = await accept_bind(proxy)
            await call.reply(*PEER)
            accepting.cancel()
            async with await listener.accept() as stream:
                assert stream.peer == PEER

    run(scene())


def test_the_end_of_the_first_connection_is_the_end(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, first), asyncio.TaskGroup() as group:
            calling = [await accept_bind(proxy) for _ in range(2)]
            await calling[0].reply(*PEER)
            stream = await listener.accept()
            await accept_bind(proxy)
            accepting = group.create_task(failed_accept(listener, ProxyUnreachable))
            await asyncio.sleep(0)
            await first.stream.aclose()
            await accepting
            await failed_accept(listener, ProxyUnreachable)  # again
            await calling[0].stream.send(b"alive")
            assert await stream.receive() == b"alive"  # who was accepted lives on
            stream.abort()
            with pytest.raises(ConnectionError):  # who waited has gone
                await calling[1].stream.receive()

    run(scene())


async def failed_accept(listener: BindListener, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await listener.accept()


def test_peers_that_were_fetched_before_the_end_are_given_out(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, first):
            await (await accept_bind(proxy)).reply(*PEER)
            await accept_bind(proxy)
            await accept_bind(proxy) if not proxy.nobody_calls else None
            await first.stream.aclose()
            (await listener.accept()).abort()
            await failed_accept(listener, ProxyUnreachable)

    run(scene())


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_announcements_are_coped_with(run: Run, dialect: Dialect) -> None:
    async def scene() -> None:
        async with listening(1, dialect=dialect) as (proxy, listener, first):
            await first.reply(*PEER, announces=True)
            call = await accept_bind(proxy)
            await call.reply(*PEER)
            await first.reply(*OTHER, announces=True)
            async with await listener.accept() as stream:
                assert stream.peer == PEER

    run(scene())


def test_the_older_dialect_needs_no_session_and_takes_one_accept_bind_at_a_time(run: Run) -> None:
    async def scene() -> None:
        async with listening(5, dialect=GO_212) as (proxy, listener, first):
            assert find(first.request.options, SessionRequest) is None
            for _ in range(3):
                call = await accept_bind(proxy)
                await asyncio.sleep(0)
                assert proxy.nobody_calls
                await call.reply(*PEER)
                async with await listener.accept() as stream:
                    assert stream.peer == PEER

    run(scene())


def test_a_failure_on_the_first_connection_says_why(run: Run) -> None:
    async def scene() -> None:
        async with listening(1) as (_, listener, first):
            await first.reply(code=2)
            await failed_accept(listener, NotAllowed)

    run(scene())


def test_rubbish_on_the_first_connection_ends_it(run: Run) -> None:
    async def scene() -> None:
        async with listening(1) as (_, listener, first):
            await first.stream.send(b"\x05")
            await failed_accept(listener, ProxyUnreachable)

    run(scene())


def test_the_proxys_time_limit_only_makes_us_ask_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.bind.BIND_RETRY_SECONDS", (60.0, 60.0))  # that is no failure
    monkeypatch.setattr("socks6.client.bind.SHORT_BIND_SECONDS", 0.0)  # and no haste

    async def scene() -> None:
        async with listening(1) as (proxy, listener, _):
            for _ in range(3):
                await (await accept_bind(proxy)).reply(code=9)
            await (await accept_bind(proxy)).reply(*PEER)
            (await listener.accept()).abort()

    run(scene())


def test_a_proxy_that_gives_no_time_is_asked_less_and_less_often(run: Run) -> None:
    async def scene() -> None:
        now = asyncio.get_running_loop().time
        async with listening(1) as (proxy, listener, _):
            asked_at = []
            for _ in range(4):
                call = await accept_bind(proxy)
                asked_at.append(now())
                await call.reply(code=9)
            gaps = [after - before for before, after in itertools.pairwise(asked_at)]
            assert [gap > 0.09 * 2**number for number, gap in enumerate(gaps)] == [True] * 3
            await (await accept_bind(proxy)).reply(*PEER)
            (await listener.accept()).abort()

    run(scene())


def test_pauses_grow_to_a_limit_however_long_it_goes_on() -> None:
    assert [retry_pause(attempts) for attempts in (1, 2, 3, 6, 7, 5_000)] == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]


def test_an_accept_bind_that_fails_is_made_again(run: Run) -> None:
    async def scene() -> None:
        async with listening(1) as (proxy, listener, _):
            await (await proxy.next()).reply(code=1)
            await (await accept_bind(proxy)).reply(*PEER)
            (await listener.accept()).abort()

    run(scene())


def test_a_peer_that_is_announced_ends_the_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.bind.BIND_RETRY_SECONDS", (60.0, 60.0))

    async def scene() -> None:
        async with listening(1) as (proxy, listener, first):
            for _ in range(MAX_FAILURES - 1):
                await (await proxy.next()).reply(code=1)
                await asyncio.sleep(0.01)
                await first.reply(*PEER, announces=True)
            await (await accept_bind(proxy)).reply(*PEER)
            async with asyncio.timeout(0.5):
                (await listener.accept()).abort()

    run(scene())


def test_a_proxy_that_grants_no_accept_bind_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.bind.BIND_RETRY_SECONDS", (0.001, 0.002))

    async def scene() -> None:
        async with listening(1) as (proxy, listener, _):
            for _ in range(MAX_FAILURES):
                await (await proxy.next()).reply(code=1)
            await failed_accept(listener, GeneralFailure)
            await asyncio.sleep(0.01)
            assert proxy.nobody_calls

    run(scene())


def test_a_busy_proxy_is_not_given_up_while_one_bind_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.bind.BIND_RETRY_SECONDS", (0.001, 0.002))

    async def scene() -> None:
        async with listening() as (proxy, listener, _):
            waiting = await accept_bind(proxy)
            for _ in range(MAX_FAILURES + 2):
                await (await proxy.next()).reply(code=1)
            await waiting.reply(*PEER)
            (await listener.accept()).abort()

    run(scene())


def test_nothing_is_left_of_a_listener_that_is_closed_at_once(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (_, listener, first):
            await listener.aclose()
            with pytest.raises(OSError, match="closed"):
                await listener.accept()
            with pytest.raises(ConnectionError):
                await first.stream.receive()

    run(scene())


def test_peers_nobody_accepted_are_let_go(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (proxy, listener, _):
            call = await accept_bind(proxy)
            await call.reply(*PEER)
            await asyncio.sleep(0)
            await listener.aclose()
            await listener.aclose()
            with pytest.raises(ConnectionError):
                await call.stream.receive()

    run(scene())
