"""socks6 bind, against a proxy that answers as the test says and a service on loopback."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from socks6.cli import bind
from socks6.cli.bind import Publisher
from socks6.errors import CommandNotSupported, NotAllowed, ProxyUnreachable
from socks6.message.options import ListenBacklog
from socks6.net.stream import Endpoint
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run

PUBLIC: Final = Endpoint("192.0.2.1", 4711)
ANYWHERE: Final = Endpoint("", 0)
PEER: Final = Endpoint("2001:db8::7", 9)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bind, "MAX_PAUSE_SECONDS", 0.02)


def publisher(proxy: Calls, target: Endpoint, *, place: Endpoint = ANYWHERE, **settings: float) -> Publisher:
    chosen = {"backlog": 1, "connections": 10, "connect_timeout": 5.0, "drain_timeout": 5.0, **settings}
    return Publisher(client=proxy.client, endpoint=place, target=target, **chosen)  # type: ignore[arg-type]  # named freely


@asynccontextmanager
async def service() -> AsyncIterator[Endpoint]:
    """Give a place on loopback that shouts back what it hears, to the end."""

    ended: set[asyncio.Task[None] | None] = set()

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1000):
                writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server:
        yield Endpoint(*server.sockets[0].getsockname())
        await asyncio.gather(*filter(None, ended))


def nobody() -> Endpoint:
    """Return a place on loopback where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Endpoint(*sock.getsockname())


async def published(proxy: Calls, public: Endpoint = PUBLIC, backlog: int = 1) -> Call:
    """Answer the first BIND."""
    call = await proxy.next()
    await call.reply(*public, ListenBacklog(backlog=backlog))
    return call


async def come(proxy: Calls) -> Call:
    """Have a peer come."""
    call = await proxy.next()
    await call.reply(*PUBLIC)
    await call.reply(*PEER)
    return call


def test_peers_reach_the_service(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with calls() as proxy, service() as place, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, place, place=Endpoint("192.0.2.1", 4711))
            running = group.create_task(publishing.run())
            first = await published(proxy)
            assert (first.request.host, first.request.port) == PUBLIC
            for _ in range(2):
                call = await come(proxy)
                await call.stream.send(b"hello")
                await call.stream.send_eof()
                assert await call.stream.receive() == b"HELLO"
                assert await call.stream.receive() == b""
                await call.stream.aclose()
            publishing.stop()
            await running

    run(scene())
    assert capsys.readouterr().out == "published at 192.0.2.1:4711\n"


def test_a_service_that_is_not_there_is_a_reset(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, nobody())
            running = group.create_task(publishing.run())
            await published(proxy)
            call = await come(proxy)
            with pytest.raises(ConnectionError):
                await call.stream.receive()
            publishing.stop()
            await running

    with caplog.at_level(logging.WARNING, "socks6"):
        run(scene())
    assert "service not reached target=127.0.0.1" in caplog.text
    assert "Connection refused" in caplog.text


def test_it_publishes_again_at_the_same_port(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with calls() as proxy, service() as place, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, place)
            running = group.create_task(publishing.run())
            first = await published(proxy)
            assert first.request.port == 0
            await proxy.next()
            await first.stream.aclose()
            proxy.refusing = True  # the proxy is being restarted
            await asyncio.sleep(0.05)
            proxy.refusing = False
            again = await published(proxy)
            assert again.request.port == PUBLIC.port
            call = await come(proxy)
            await call.stream.send(b"hi")
            assert await call.stream.receive() == b"HI"
            await call.stream.aclose()
            publishing.stop()
            await running

    run(scene())
    told = capsys.readouterr()
    assert told.out == "published at 192.0.2.1:4711\n"
    assert "the proxy has ended the port" in told.err
    assert "cannot reach the proxy" in told.err
    assert told.err.endswith("socks6: published again\n")


def test_a_new_address_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, nobody())
            running = group.create_task(publishing.run())
            first = await published(proxy)
            await proxy.next()
            await first.stream.aclose()
            await (await proxy.next()).reply(code=1)  # somebody else has the port
            again = await published(proxy, Endpoint("2001:db8::1", 5))
            assert again.request.port == 0
            await proxy.next()
            publishing.stop()
            await running

    run(scene())
    assert capsys.readouterr().out == "published at 192.0.2.1:4711\npublished at [2001:db8::1]:5\n"


def test_a_port_that_was_asked_for_is_insisted_on(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, nobody(), place=Endpoint("", 4711))
            running = group.create_task(publishing.run())
            first = await published(proxy)
            await proxy.next()
            await first.stream.aclose()
            for _ in range(3):
                call = await proxy.next()
                assert call.request.port == 4711
                await call.reply(code=1)
            publishing.stop()
            await running

    run(scene())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_proxy_that_listens_everywhere_is_reached_where_we_do(
    run: Run, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, nobody())
            running = group.create_task(publishing.run())
            await published(proxy, Endpoint(host, 99))
            await proxy.next()
            publishing.stop()
            await running

    run(scene())
    assert capsys.readouterr().out == "published at memory:99\n"


def test_a_first_attempt_that_fails_is_the_end(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy:
            proxy.refusing = True
            with pytest.raises(ProxyUnreachable):
                await publisher(proxy, nobody()).run()

    run(scene())


def test_what_waiting_does_not_help_is_the_end(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            running = group.create_task(failed(publisher(proxy, nobody()), CommandNotSupported))
            first = await published(proxy)
            await proxy.next()
            await first.stream.aclose()
            await (await proxy.next()).reply(code=7)
            await running

    run(scene())


async def failed(publishing: Publisher, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await publishing.run()


def test_open_connections_may_end_after_stop(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, service() as place, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, place)
            running = group.create_task(publishing.run())
            first = await published(proxy)
            call = await come(proxy)
            await proxy.next()
            publishing.stop()
            with pytest.raises(ConnectionError):
                await first.stream.receive()
            await call.stream.send(b"late")
            assert await call.stream.receive() == b"LATE"
            assert not running.done()
            await call.stream.aclose()
            await running

    run(scene())


@pytest.mark.parametrize("twice", [False, True])
def test_connections_that_do_not_end_are_cut_off(run: Run, twice: bool) -> None:
    async def scene() -> None:
        async with calls() as proxy, service() as place, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, place, drain_timeout=60.0 if twice else 0.01)
            running = group.create_task(publishing.run())
            await published(proxy)
            call = await come(proxy)
            await call.stream.send(b"here")
            assert await call.stream.receive() == b"HERE"
            publishing.stop()
            if twice:
                publishing.stop()
            with pytest.raises(ConnectionError):
                await call.stream.receive()
            await running

    run(scene())


def test_stopping_before_it_runs(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy:
            publishing = publisher(proxy, nobody())
            publishing.stop()
            await publishing.run()
            assert proxy.nobody_calls

    run(scene())


def test_no_more_peers_at_a_time_than_allowed(run: Run) -> None:
    async def scene() -> None:
        async with calls() as proxy, service() as place, asyncio.TaskGroup() as group:
            publishing = publisher(proxy, place, connections=1)
            running = group.create_task(publishing.run())
            await published(proxy)
            one = await come(proxy)
            two = await come(proxy)
            await one.stream.send(b"one")
            assert await one.stream.receive() == b"ONE"
            await two.stream.send(b"two")
            await asyncio.sleep(0.01)
            assert two.stream.receive_nowait(10) is None
            await one.stream.aclose()
            assert await two.stream.receive() == b"TWO"
            await two.stream.aclose()
            publishing.stop()
            await running

    run(scene())


@pytest.mark.parametrize("port", [0, 8080])
def test_a_port_that_may_not_be_named_is_told_with_what_may_help(
    run: Run, capsys: pytest.CaptureFixture[str], port: int
) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            asking = publisher(proxy, nobody(), place=Endpoint("", port))
            running = group.create_task(failed(asking, NotAllowed))
            await (await proxy.next()).reply(code=2)
            await running
        assert ("--bind-ports" in capsys.readouterr().err) == bool(port)

    run(scene())
