"""How a client leaves its session, against a proxy that does as it is told."""

import pytest

from socks6.message.codes import Command
from socks6.message.options import SessionId, SessionTeardown
from socks6.net.stream import ByteStream
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.session_proxy import SessionProxy, fast_opening, in_sessions


def test_the_session_is_torn_down_without_a_password(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()
        assert len(proxy.torn_down) == 1
        assert proxy.kinds() == {SessionId, SessionTeardown}
        assert proxy.asked[-1].command == Command.NOOP
        await client.aclose()
        assert len(proxy.asked) == 2

    run(scene())


def test_while_a_stream_is_open_the_session_is_left_alone(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            stream = await client.connect("example.com", 80)
        assert not proxy.torn_down
        stream.abort()
        stream.abort()

    run(scene())


def test_what_was_closed_just_now_may_still_be_under_way(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client, await client.connect("example.com", 80) as stream:
            await stream.send(b"last words")
        assert not proxy.torn_down

    run(scene())


def test_a_detached_socket_counts_as_open(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            stream = await client.connect("example.com", 80)
            detached = stream.detach_socket()
            detached.close()
            await client.aclose()
            assert not proxy.torn_down

    run(scene())


def test_a_transport_may_outlive_the_client(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            _, writer = await client.open_connection("example.com", 80)
            await client.aclose()
            assert not proxy.torn_down
            writer.write(b"still here")
            assert await proxy.ends[-1].receive() == b"still here"
            writer.close()

    run(scene())


def test_a_close_waits_no_longer_than_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.requester.TEARDOWN_SECONDS", 0.01)

    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()

            async def silent() -> ByteStream:
                ends.append(memory_stream_pair())
                return ends[-1][0]

            ends: list[tuple[ByteStream, ByteStream]] = []
            client._requester._connector._dial = silent
        assert len(ends) == 1

    run(scene())


def test_a_close_raises_nothing_when_the_proxy_is_gone(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.noop()

            async def nowhere() -> ByteStream:
                raise ConnectionRefusedError

            client._requester._connector._dial = nowhere

    run(scene())
