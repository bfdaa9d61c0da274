"""BIND, with and without a backlog, and the server upon it, against a proxy that answers as the test says."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.client.bind import MAX_FAILURES, MAX_IN_FLIGHT, BindListener, BindServer, retry_pause
from socks6.errors import (
    CommandNotSupported,
    ConnectionTimedOut,
    GeneralFailure,
    NotAllowed,
    ProxyUnreachable,
    RemoteProtocolError,
)
from socks6.message.codes import Availability, Command, Leg
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import (
    ListenBacklog,
    Multipath,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    Ttl,
    find,
)
from socks6.net.stream import Endpoint
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run
from tests.kit.streams import turns

pytestmark = pytest.mark.e2e  # takes long, with real sockets

PUBLIC = Endpoint("192.0.2.1", 4711)
PEER = Endpoint("2001:db8::7", 9)
OTHER = Endpoint("203.0.113.8", 99)


async def failed_accept(listener: BindListener, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await listener.accept()


async def bound(proxy: Calls, *options: object) -> Call:
    """Answer the next BIND."""
    call = await proxy.next()
    await call.reply(*PUBLIC, *options)  # type: ignore[arg-type]  # tests give options
    return call


def test_both_replies_are_told(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind("192.0.2.77", 4711))
            call = await bound(proxy)
            assert (call.request.command, call.request.host, call.request.port) == (
                Command.BIND,
                "192.0.2.77",
                4711,
            )
            async with await binding as listener:
                assert listener.bound == PUBLIC
                assert listener.backlog == 0
                await call.reply(*PEER)
                async with await listener.accept() as stream:
                    assert (stream.bound, stream.peer) == (PUBLIC, PEER)
                    await call.stream.send(b"hello")
                    assert await stream.receive() == b"hello"
                    await stream.send(b"you")
                    assert await call.stream.receive() == b"you"

    run(scene())


def test_nothing_is_asked_for_unless_named(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            call = await bound(proxy)
            assert (call.request.host, call.request.port) == ("0.0.0.0", 0)
            assert find(call.request.options, ListenBacklog) is None
            await (await binding).aclose()

    run(scene())


@pytest.mark.parametrize("backlog", [0, 1])
def test_what_follows_the_second_reply_at_once_is_the_streams(run: Run, backlog: int) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=backlog))
            call = await bound(proxy)
            await call.reply(*PEER)
            await call.stream.send(b"\x06\x00 first")
            async with await binding as listener:
                accepting = group.create_task(listener.accept())
                if backlog:
                    await bound(proxy)
                stream = await accepting
                assert await stream.receive() == b"\x06\x00 first"
                stream.abort()

    run(scene())


def test_the_second_replys_options_stand_above_the_firsts(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(options=[Ttl(leg=Leg.PROXY_REMOTE, ttl=9)]))
            hopes, ttl = Multipath(availability=Availability.YES), Ttl(leg=Leg.PROXY_REMOTE, ttl=9)
            call = await bound(proxy, hopes, ttl)
            assert find(call.request.options, Ttl) == ttl
            async with await binding as listener:
                assert set(listener.options) == {hopes, ttl}
                came = Multipath(availability=Availability.NO)
                await call.reply(*PEER, came)
                async with await listener.accept() as stream:
                    assert set(stream.options) == {came, ttl}

    run(scene())


def test_the_next_peer_is_waited_for_at_the_same_port(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind("192.0.2.77"))
            call = await bound(proxy)
            await call.reply(*PEER)
            async with await binding as listener:
                (await listener.accept()).abort()
                assert proxy.nobody_calls  # whoever wants one peer makes one BIND
                accepting = group.create_task(listener.accept())
                again = await bound(proxy)
                assert (again.request.host, again.request.port) == ("192.0.2.77", PUBLIC.port)
                await again.reply(*OTHER)
                async with await accepting as stream:
                    assert stream.peer == OTHER

    run(scene())


def test_a_port_that_is_not_free_yet_is_asked_for_again(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(*PEER)
            async with await binding as listener:
                (await listener.accept()).abort()
                accepting = group.create_task(listener.accept())
                await (await proxy.next()).reply(code=1)
                await (await bound(proxy)).reply(*OTHER)
                (await accepting).abort()

    run(scene())


def test_a_port_that_is_kept_from_us_is_told(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(*PEER)
            async with await binding as listener:
                (await listener.accept()).abort()
                accepting = group.create_task(failed_accept(listener, NotAllowed))
                for _ in range(4):
                    await (await proxy.next()).reply(code=2)
                await accepting

    run(scene())


def test_the_proxys_time_limit_is_no_failure(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(code=9)
            async with await binding as listener:
                accepting = group.create_task(listener.accept())
                again = await bound(proxy)
                assert again.request.port == PUBLIC.port
                await again.reply(*PEER)
                (await accepting).abort()

    run(scene())


def test_a_proxy_that_gives_no_time_is_asked_less_and_less_often(run: Run) -> None:
    async def scene() -> None:
        now = asyncio.get_running_loop().time
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            call = await bound(proxy)
            async with await binding as listener:
                accepting = group.create_task(listener.accept())
                answered_at = []
                for _ in range(4):
                    answered_at.append(now())
                    await call.reply(code=9)
                    call = await bound(proxy)
                gaps = [after - before for before, after in itertools.pairwise([*answered_at, now()])]
                assert [gap > 0.09 * 2**number for number, gap in enumerate(gaps)] == [True] * 4
                await call.reply(*PEER)
                (await accepting).abort()

    run(scene())


def test_closing_ends_such_a_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.bind.BIND_RETRY_SECONDS", (60.0, 60.0))

    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(code=9)
            listener = await binding
            accepting = [group.create_task(failed_accept(listener, OSError)) for _ in range(2)]
            await turns()
            await listener.aclose()
            await asyncio.wait(accepting)

    run(scene())


def test_the_callers_time_limit_is_one(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            call = await bound(proxy)
            async with await binding as listener:
                with pytest.raises(ConnectionTimedOut, match="no peer"):
                    await listener.accept(timeout=0.01)
                await call.reply(*PEER)  # the BIND still waits
                (await listener.accept()).abort()

    run(scene())


def test_another_failure_is_the_callers(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(code=2)
            async with await binding as listener:
                await failed_accept(listener, NotAllowed)

    run(scene())


def test_a_refused_bind_is_told(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            group.create_task(refuse(proxy, 7))
            with pytest.raises(CommandNotSupported):
                await proxy.client.bind()

    run(scene())


async def refuse(proxy: Calls, code: int) -> None:
    await (await proxy.next()).reply(code=code)


@pytest.mark.parametrize(("rubbish", "kind"), [(b"", ProxyUnreachable), (b"\x05\x00", RemoteProtocolError)])
def test_a_proxy_that_breaks_off_is_told(run: Run, rubbish: bytes, kind: type[Exception]) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            call = await bound(proxy)
            await call.stream.send(rubbish)
            await call.stream.send_eof()
            async with await binding as listener:
                await failed_accept(listener, kind)

    run(scene())


def test_a_cancelled_accept_loses_nobody(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=2))
            call = await bound(proxy)
            async with await binding as listener:
                accepting = group.create_task(listener.accept())
                await call.reply(*PEER)
                await proxy.next()  # it has a peer, and asks for the next BIND before it gives it away
                accepting.cancel()
                async with await listener.accept(timeout=1.0) as stream:
                    assert stream.peer == PEER

    run(scene())


def test_closing_ends_a_pending_accept(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await bound(proxy)
            listener = await binding
            accepting = group.create_task(failed_accept(listener, OSError))
            await asyncio.sleep(0)
            await listener.aclose()
            await listener.aclose()
            await accepting
            with pytest.raises(OSError, match="closed"):
                await listener.accept()

    run(scene())


def test_closing_gives_up_a_bind_that_is_under_way(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(*PEER)
            listener = await binding
            (await listener.accept()).abort()
            accepting = group.create_task(failed_accept(listener, OSError))
            again = await proxy.next()
            await listener.aclose()
            await again.reply(*PUBLIC)
            await accepting
            with pytest.raises(ConnectionError):
                await again.stream.receive()

    run(scene())


@pytest.mark.parametrize("answer", [(), (ListenBacklog(backlog=0),)])
def test_a_proxy_without_backlog_is_said_to_be_one(
    run: Run, answer: tuple[ListenBacklog, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=16))
            call = await bound(proxy, *answer)
            assert find(call.request.options, ListenBacklog) == ListenBacklog(backlog=16)
            async with await binding as listener:
                assert listener.backlog == 0

    with caplog.at_level(logging.WARNING, "socks6"):
        run(scene())
    assert "no backlog" in caplog.text
    assert "asked=16" in caplog.text


def test_without_backlog_the_port_is_opened_again_as_soon_as_there_is_a_peer(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind(backlog=16))
            await (await bound(proxy)).reply(*PEER)
            async with await binding as listener:
                accepting = group.create_task(listener.accept())
                again = await bound(proxy)
                assert find(again.request.options, ListenBacklog) is None
                (await accepting).abort()
                await again.reply(*OTHER)  # while nobody accepts
                accepting = group.create_task(listener.accept())
                await bound(proxy)
                async with await accepting as stream:
                    assert stream.peer == OTHER

    run(scene())


def test_a_port_elsewhere_is_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            binding = group.create_task(proxy.client.bind())
            await (await bound(proxy)).reply(*PEER)
            async with await binding as listener:
                (await listener.accept()).abort()
                accepting = group.create_task(listener.accept())
                call = await proxy.next()
                await call.reply(PUBLIC.host, 5000)
                await call.reply(*OTHER)
                async with await accepting as stream:
                    assert listener.bound == stream.bound == (PUBLIC.host, 5000)

    with caplog.at_level(logging.WARNING, "socks6"):
        run(scene())
    assert "port=5000" in caplog.text


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


def test_a_proxy_that_gives_accept_binds_no_time_is_asked_less_and_less_often(run: Run) -> None:
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
