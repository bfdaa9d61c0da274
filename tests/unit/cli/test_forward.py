"""socks6 forward, against a proxy that answers as the test says."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.cli.forward import StreamForwarder, listening
from socks6.client.monitor import UpstreamMonitor
from socks6.message.codes import ReplyCode
from socks6.net.stream import Endpoint
from socks6.telemetry import EventHub
from tests.kit.calls import Calls, calls
from tests.kit.loops import Run

REMOTE = Endpoint("db.internal", 5432)


@asynccontextmanager
async def forwarding(
    proxy: Calls, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a connection to the forwarded port."""
    forwarder = StreamForwarder(
        UpstreamMonitor(proxy.client), REMOTE, idle=60.0, peers=10, observer=EventHub()
    )
    running = asyncio.get_running_loop().create_task(forwarder.run(Endpoint("127.0.0.1", 0), listening))
    shown = ""
    while not (place := re.search(r"listening on 127\.0\.0\.1:(\d+)", shown)):
        await asyncio.sleep(0)
        assert not running.done()
        shown += capsys.readouterr().err
    reader, writer = await asyncio.open_connection("127.0.0.1", int(place[1]))
    try:
        yield reader, writer
    finally:
        writer.close()
        running.cancel()
        await asyncio.wait([running])


def test_a_connection_reaches_the_host(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with calls() as proxy, forwarding(proxy, capsys) as (reader, writer):
            call = await proxy.next()
            assert (call.request.host, call.request.port) == REMOTE
            await call.reply("192.0.2.1", 9)
            writer.write(b"hello")
            assert await call.stream.receive() == b"hello"
            await call.stream.send(b"HELLO")
            assert await reader.read(100) == b"HELLO"

    run(scene())


def test_a_host_that_is_not_reached_is_reported_and_the_client_reset(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        async with calls() as proxy, forwarding(proxy, capsys) as (reader, _):
            call = await proxy.next()
            await call.reply("0.0.0.0", 0, code=ReplyCode.CONNECTION_REFUSED)
            with pytest.raises(ConnectionResetError):
                await reader.read(100)

    run(scene())
    assert re.fullmatch(r"socks6: 127\.0\.0\.1 port \d+: .*refused.*\n", capsys.readouterr().err)
