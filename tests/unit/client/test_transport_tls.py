"""Transports over a proxy that is reached over TLS."""

import asyncio
import os
from pathlib import Path

from socks6.client.client import Client
from tests.kit.loops import Run
from tests.kit.proxied import echoing
from tests.kit.streams import until
from tests.kit.transports import TRANSPORTS, serving


def epolls() -> int:
    """Return how many epolls this process has."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "eventpoll" in os.readlink(Path("/proc/self/fd", number))
        except OSError:  # the one that the folder was read with
            continue
    return found


async def talk(client: Client, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an echo, and hear it."""
    reader, writer = await client.open_connection("127.0.0.1", port)
    assert await reader.readexactly(6) == b"hello "
    return reader, writer


def test_one_client_has_one_epoll_for_all_of_them(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(TRANSPORTS["TLS"](tmp_path)) as url, echoing() as port:
            async with Client(url) as client:
                talks = [await talk(client, port)]
                before = epolls()
                talks += [await talk(client, port) for _ in range(3)]
                assert epolls() == before
                for reader, writer in talks:
                    writer.write_eof()
                    assert await reader.read() == b""
                    writer.close()
            await until(lambda: epolls() < before)

    run(play())
