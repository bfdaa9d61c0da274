"""Hosts that answer before they have read everything, and reset: the answer arrives, through any number of hops."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from socks6.client.client import Client
from socks6.net.sockets import SocketListener
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp
from socks6.net.url import ProxyUrl
from socks6.relay.delivery import deliver
from tests.kit.loops import Run
from tests.kit.streams import BULK, accept, receive_exactly
from tests.kit.transports import TRANSPORTS, Way, passing_on, serving

pytestmark = pytest.mark.e2e

Dial: TypeAlias = Callable[[int], Awaitable[ByteStream]]

BODY: Final = b"too large\n"
ANSWER: Final = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
ROUNDS: Final = 5


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[SocketListener]:
    """Give a listener on loopback."""
    sock = socket.create_server(("127.0.0.1", 0))
    listener = SocketListener(sock, url="")
    try:
        yield listener
    finally:
        await listener.aclose()


async def answer_and_reset(stream: ByteStream) -> None:
    """Read a little of what comes, answer, and reset."""
    await stream.receive()
    await stream.send(ANSWER)
    await deliver(stream)
    stream.abort()


async def upload(stream: ByteStream) -> None:
    """Send as long as that goes well."""
    with contextlib.suppress(OSError):
        while True:
            await stream.send(BULK)


async def read_answer(stream: ByteStream) -> bytes:
    """Return what comes up to an end of whatever kind, uploading all the time."""
    data = b""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(upload(stream))
        with contextlib.suppress(ConnectionResetError):
            while piece := await stream.receive():
                data += piece
        sending.cancel()
    return data


async def tunnelled(mixed: ProxyUrl, port: int) -> ByteStream:
    """Return a tunnel by SOCKS 5 through a proxy."""
    stream = await connect_tcp("127.0.0.1", mixed.port)
    await stream.send(b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2, "big"))
    await receive_exactly(stream, 2 + 10)
    return stream


async def requested(mixed: ProxyUrl, port: int) -> ByteStream:
    """Return a connection that has begun to POST through a proxy."""
    stream = await connect_tcp("127.0.0.1", mixed.port)
    await stream.send(b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" % port)
    await stream.send(b"Content-Length: 1000000000\r\n\r\n")
    return stream


async def check(origin: SocketListener, dial: Dial, *, whole: Callable[[bytes], bool]) -> None:
    """See that an upload's answer arrives, time after time."""
    for _ in range(ROUNDS):
        client = await dial(origin.local.port)
        async with asyncio.TaskGroup() as group:

            async def serve() -> None:
                await answer_and_reset(await accept(origin))

            group.create_task(serve())
            answer = await read_answer(client)
        client.abort()
        assert whole(answer), answer


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_early_answer_arrives_over_every_transport(run: Run, transport: str, tmp_path: Path) -> None:
    """From the library, through a converter's tunnel, and as HTTP."""
    way: Way = TRANSPORTS[transport](tmp_path)

    async def play() -> None:
        async with (
            listening() as origin,
            serving(way) as url,
            passing_on(url, "mixed://127.0.0.1:0") as mixed,
        ):
            async with Client(url) as client:
                await check(origin, lambda port: client.connect("127.0.0.1", port), whole=ANSWER.__eq__)
            await check(origin, functools.partial(tunnelled, mixed), whole=ANSWER.__eq__)
            await check(
                origin,
                functools.partial(requested, mixed),
                whole=lambda got: got.startswith(b"HTTP/1.1 413 ") and got.endswith(BODY),
            )

    run(play())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_clients_last_words_arrive_over_every_transport(run: Run, transport: str, tmp_path: Path) -> None:
    """The mirror case: the host keeps sending, the client says something and resets."""
    way: Way = TRANSPORTS[transport](tmp_path)

    async def play() -> None:
        async with (
            listening() as origin,
            serving(way) as url,
            passing_on(url, "mixed://127.0.0.1:0") as mixed,
        ):
            for _ in range(ROUNDS):
                client = await tunnelled(mixed, origin.local.port)
                host = await accept(origin)
                async with asyncio.TaskGroup() as group:
                    group.create_task(answer_and_reset(client))
                    assert await read_answer(host) == ANSWER
                host.abort()

    run(play())
