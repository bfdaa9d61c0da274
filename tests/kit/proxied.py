"""Clients whose proxy is a worker in memory, a script, or a server on loopback."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from socks6.client.client import Client
from socks6.client.requester import MethodFactory
from socks6.message.options import STANDARD, OptionTable
from socks6.net.stream import ByteStream, Outbound
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator, NoAuthentication
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.memory import memory_stream_pair

LOOPBACK = "socks6://127.0.0.1:0"
OPEN = NoAuthentication()
USERS = UserTable.from_plain({"alice": "wonder land/7"})


@asynccontextmanager
async def proxied(worker: ServerWorker, *, option_table: OptionTable = STANDARD) -> AsyncIterator[Client]:
    """Give a client whose proxy is reached through memory."""
    async with asyncio.TaskGroup() as group:

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            group.create_task(worker.serve_stream(theirs))
            return ours

        url = "socks6://alice:wonder%20land%2F7@memory"
        async with Client(url, dial=dial, option_table=option_table) as client:
            yield client


@asynccontextmanager
async def through(
    url: str, outbound: Outbound, authenticator: Authenticator = OPEN, *, no_proxy: str = ""
) -> AsyncIterator[Client]:
    """Give a client whose proxy is our own worker, reached through memory, by the inbound for the URL's protocol."""
    worker = ServerWorker(outbound=outbound, authenticator=authenticator, policy=Policy(allow_private=True))
    async with asyncio.TaskGroup() as group:

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            group.create_task(worker.serve_stream(theirs, "mixed"))
            return ours

        async with Client(url, dial=dial, timeout=5.0, no_proxy=no_proxy) as client:
            yield client


@asynccontextmanager
async def scripted(
    *script: bytes, methods: Sequence[MethodFactory] = (), session: bool | None = None
) -> AsyncIterator[Client]:
    """Give a client whose proxy answers what is written here, whatever it is asked, and closes."""

    async def dial() -> ByteStream:
        ours, theirs = memory_stream_pair()
        for piece in script:
            await theirs.send(piece)
        await theirs.send_eof()
        return ours

    async with Client("socks6://memory", dial=dial, timeout=5.0, methods=methods, session=session) as client:
        yield client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, then return what comes, until the client leaves."""
    writer.write(b"hello ")
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def echoing(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def as_alice(server: Server) -> str:
    """Return the URL of a server with a user's name and password."""
    return server.urls[0].replace("://", "://alice:wonder%20land%2F7@")


def local_worker() -> ServerWorker:
    return ServerWorker(authenticator=USERS, policy=Policy(allow_private=True))
