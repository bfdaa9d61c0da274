"""Connections that are made ahead of requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from socks6.errors import ProxyUnreachable
from socks6.message.codes import Command
from socks6.message.options import Tos
from socks6.net.stream import ByteStream
from socks6.net.transports import spares
from socks6.net.transports.base import Connector, NotAnswered, StreamRequest
from socks6.net.transports.spares import SpareConnector
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.streams import turns, until

REQUEST = StreamRequest(Command.CONNECT, early_data=b"request", repeatable=True)


class Proxy(Connector):
    """Connects at once, or fails, or waits."""

    def __init__(self) -> None:
        self.opened: list[tuple[ByteStream, ByteStream]] = []  # both ends
        self.failure: OSError | None = None
        self.waits: asyncio.Future[None] | None = None

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        self.opened.append(memory_stream_pair())
        if self.waits is not None:
            await self.waits
        if self.failure is not None:
            raise self.failure
        await self.opened[-1][0].send(request.early_data or b"")
        return self.opened[-1][0]


@contextlib.asynccontextmanager
async def keeping(proxy: Proxy, limit: int = 4) -> AsyncIterator[SpareConnector]:
    connector = SpareConnector(proxy, limit)
    connector.keep_spares()
    try:
        yield connector
    finally:
        await connector.aclose()


async def asked(connector: SpareConnector, request: StreamRequest) -> ByteStream:
    """Make a request that the proxy answers."""
    stream = await connector.open(request)
    connector.answered(stream)
    return stream


@pytest.fixture(autouse=True)
def same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "source_address", lambda _: "")  # as streams in memory have it


def test_after_a_request_the_next_one_goes_by_a_connection_that_is_there(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            assert await asked(connector, REQUEST) is proxy.opened[0][0]
            await turns()
            assert len(proxy.opened) == 2
            assert proxy.opened[1][1].receive_nowait(1) is None  # nothing was sent on it
            assert await asked(connector, REQUEST) is proxy.opened[1][0]
            assert await proxy.opened[1][1].receive() == b"request"

    run(scene())


def test_the_request_comes_first(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            proxy.waits = asyncio.get_running_loop().create_future()
            opening = asyncio.create_task(asked(connector, REQUEST))
            await turns()
            assert len(proxy.opened) == 1
            proxy.failure = ConnectionRefusedError()
            proxy.waits.set_result(None)
            with pytest.raises(ConnectionRefusedError):
                await opening
            await turns()
            assert len(proxy.opened) == 1
            proxy.failure = None
            await connector.open(REQUEST)  # the proxy may refuse us yet
            await turns()
            assert len(proxy.opened) == 2

    run(scene())


def test_there_are_as_many_as_the_rate_of_requests_needs_and_no_more_than_the_limit(run: Run) -> None:
    async def scene() -> None:
        for limit, requests, expected in (4, 1, 1), (4, 8, 2), (4, 100, 4), (2, 100, 2), (0, 100, 0):
            proxy = Proxy()
            async with keeping(proxy, limit) as connector:
                for _ in range(requests):
                    await asked(connector, StreamRequest(Command.CONNECT, (Tos.of(4),)))  # takes no spare one
                await turns()
                assert len(proxy.opened) - requests == expected

    run(scene())


@pytest.mark.parametrize(
    "request_",
    [StreamRequest(Command.CONNECT, (Tos.of(4),)), StreamRequest(Command.CONNECT, repeated=True)],
    ids=["options about its connection", "lost its first one"],
)
def test_some_requests_get_a_connection_of_their_own(run: Run, request_: StreamRequest) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await turns()
            spare = proxy.opened[1][0]
            assert await connector.open(request_) is proxy.opened[2][0]
            assert await connector.open(REQUEST) is spare

    run(scene())


def test_a_proxy_that_closes_a_young_connection_has_not_told_its_time_out(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await turns()
            proxy.opened[1][1].abort()
            assert await connector.open(REQUEST) is proxy.opened[2][0]
            assert connector._seconds == spares.SPARE_SECONDS

    run(scene())


def test_none_is_kept_unless_told(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        connector = SpareConnector(proxy, 4)
        await asked(connector, REQUEST)
        await turns()
        assert len(proxy.opened) == 1

    run(scene())


def test_old_ones_are_closed_and_replaced_until_requests_are_long_ago(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spares, "SPARE_SECONDS", 0.05)
    monkeypatch.setattr(spares, "ACTIVE_SECONDS", 0.12)

    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await until(lambda: len(proxy.opened) > 2)
            assert await proxy.opened[1][1].receive() == b""  # in order
            await until(lambda: not (connector._spares or connector._closing) and connector._timer is None)
            made = len(proxy.opened)
            await asyncio.sleep(0.1)
            assert len(proxy.opened) == made

    run(scene())


def test_none_are_made_while_so_many_requests_come_that_few_would_get_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spares, "BUSY_SECONDS", 0.2)

    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            for _ in range(spares.MAX_REQUESTS):
                connector._requested.append(asyncio.get_running_loop().time())
            await asked(connector, REQUEST)
            await turns()
            assert len(proxy.opened) == 1
            await asyncio.sleep(0.25)
            await asked(connector, REQUEST)
            await turns()
            assert len(proxy.opened) > 2

    run(scene())


@pytest.mark.parametrize("fault", ["closed", "reset", "other network", "too old"])
def test_a_connection_that_is_not_sound_is_not_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await turns()
            match fault:
                case "closed":
                    await proxy.opened[1][1].send_eof()
                case "reset":
                    proxy.opened[1][1].abort()
                case "other network":
                    connector._spares[0].since -= spares.FRESH_SECONDS
                    monkeypatch.setattr(spares, "source_address", lambda _: "192.0.2.1")
                case _:
                    connector._spares[0].since -= spares.SPARE_SECONDS
            stream = await asked(connector, REQUEST)
            assert stream is not proxy.opened[1][0]
            with pytest.raises(OSError, match="closed"):
                await proxy.opened[1][0].send(b"x")

    run(scene())


def test_a_request_that_met_a_closing_connection_may_be_made_again_on_another(run: Run) -> None:
    async def failing() -> None:
        raise ProxyUnreachable("the connection broke")

    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            fresh = await asked(connector, REQUEST)
            await turns()
            spare = await asked(connector, REQUEST)
            with pytest.raises(NotAnswered, match="broke"):
                await connector.first_answer(spare, failing())
            with pytest.raises(ProxyUnreachable) as caught:
                await connector.first_answer(fresh, failing())
            assert not isinstance(caught.value, NotAnswered)

    run(scene())


def test_a_request_that_is_not_even_acknowledged_may_be_made_again_and_the_others_are_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as old, and so may be as dead. One that was acknowledged waits: the proxy has it."""
    monkeypatch.setattr(spares, "SILENT_SECONDS", 0.01)
    unacknowledged = 1
    monkeypatch.setattr(MemoryStream, "unacknowledged", property(lambda _: unacknowledged))

    async def scene() -> None:
        nonlocal unacknowledged
        proxy = Proxy()
        async with keeping(proxy) as connector:
            for _ in range(16):
                await asked(connector, REQUEST)
                await turns()
            spare = await connector.open(REQUEST)
            assert connector._spares
            with pytest.raises(NotAnswered):
                await connector.first_answer(spare, asyncio.Event().wait())
            assert not connector._spares
            unacknowledged = 0
            waiting = asyncio.ensure_future(connector.first_answer(spare, asyncio.Event().wait()))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])

    run(scene())


@pytest.mark.parametrize("found", ["taken", "used", "at its end"])
def test_connections_are_kept_for_less_time_than_the_proxy_lets_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(spares, "LEARN_SECONDS", 0.1)
    monkeypatch.setattr(spares, "SPARE_SECONDS", 0.15)

    async def failing() -> None:
        raise ProxyUnreachable("the connection broke")

    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await turns()
            await asyncio.sleep(0.11)
            if found != "used":
                proxy.opened[1][1].abort()
            match found:
                case "taken":
                    await asked(connector, REQUEST)
                case "used":
                    with pytest.raises(NotAnswered):
                        await connector.first_answer(await asked(connector, REQUEST), failing())
                case _:
                    await until(lambda: len(proxy.opened) == 3)
            assert connector._seconds <= spares.CLOSED_SHARE * spares.SPARE_SECONDS + 0.05
            assert connector._seconds < spares.SPARE_SECONDS
            connector.close()
            assert connector._seconds == spares.SPARE_SECONDS

    run(scene())


def test_connections_of_an_event_loop_that_is_over_are_not_used() -> None:
    proxy = Proxy()
    connector = SpareConnector(proxy, 4)

    async def request() -> ByteStream:
        connector.keep_spares()
        stream = await asked(connector, REQUEST)
        await turns()
        assert len(connector._spares) == 1
        assert connector._timer is not None
        assert not connector._timer.cancelled()
        return stream

    first, second = asyncio.run(request()), asyncio.run(request())
    assert [ends[0] for ends in proxy.opened[::2]] == [first, second]
    asyncio.run(connector.aclose())


def test_after_a_failure_nothing_is_made_ahead_for_a_while(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            proxy.failure = ConnectionRefusedError()
            await turns()
            proxy.failure = None
            for _ in range(5):
                await asked(connector, REQUEST)
                await turns()
            assert len(proxy.opened) == 7
            connector._paused_until = 0.0
            await asked(connector, REQUEST)
            await turns()
            assert connector._spares

    run(scene())


def test_closing_ends_all_and_stops_what_is_under_way(run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy()
        async with keeping(proxy) as connector:
            await asked(connector, REQUEST)
            await turns()
            connector.close()
            with pytest.raises(ConnectionResetError):
                await proxy.opened[1][1].receive()
            await asked(connector, REQUEST)
            await turns()
            assert len(connector._spares) == 1
            connector.close()
            await asked(connector, REQUEST)
            proxy.waits = asyncio.get_running_loop().create_future()
            await turns()
            assert (len(proxy.opened), len(connector._connecting)) == (6, 1)
            await connector.aclose()
            assert not connector._connecting
            assert proxy.waits.cancelled()

    run(scene())


def test_a_connection_that_takes_far_longer_than_the_last_one_is_begun_once_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spares, "SLOW_SECONDS", 0.01)

    async def scene() -> None:
        proxy = Proxy()
        connector = SpareConnector(proxy, 4)
        connector._seconds_to_open = 1e-4
        proxy.waits = first = asyncio.get_running_loop().create_future()
        opening = asyncio.create_task(connector.open(REQUEST))
        await until(lambda: len(proxy.opened) == 2)
        assert first.cancelled()
        proxy.waits = None
        opening.cancel()
        connector._seconds_to_open = 0.0  # nothing is known of the network
        proxy.waits = asyncio.get_running_loop().create_future()
        opening = asyncio.create_task(connector.open(REQUEST))
        await asyncio.sleep(0.05)
        assert len(proxy.opened) == 3
        proxy.waits.set_result(None)
        assert await opening is proxy.opened[2][0]
        assert connector._seconds_to_open > 0.04

    run(scene())
