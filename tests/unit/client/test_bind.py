"""BIND without a backlog, against a proxy that answers as the test says."""

import asyncio
import itertools
import logging

import pytest

from socks6.errors import (
    CommandNotSupported,
    ConnectionTimedOut,
    NotAllowed,
    ProxyUnreachable,
    RemoteProtocolError,
)
from socks6.message.codes import Availability, Command, Leg
from socks6.message.options import ListenBacklog, Multipath, Ttl, find
from socks6.net.stream import Endpoint
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run
from tests.kit.streams import turns

PUBLIC = Endpoint("192.0.2.1", 4711)
PEER = Endpoint("2001:db8::7", 9)
OTHER = Endpoint("203.0.113.8", 99)


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


async def failed_accept(listener: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await listener.accept()  # type: ignore[attr-defined]  # a BindListener


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
