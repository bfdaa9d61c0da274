"""A user's program, for type checkers alone: what adapters take and return."""

import asyncio
import ssl
import threading
from typing import assert_type

import aiohttp
import anyio.abc
import asyncpg
import asyncssh
import httpcore
import httpx
import httpx2
import requests
import urllib3

import socks6.sync
from socks6 import Client
from socks6.adapters.aiohttp import Connector
from socks6.adapters.anyio import Connectable, connect_tcp, create_tcp_listener, create_udp
from socks6.adapters.asyncpg import EventLoop
from socks6.adapters.asyncssh import Tunnel
from socks6.adapters.httpcore import AsyncBackend, Backend
from socks6.adapters.httpx import AsyncTransport, Transport
from socks6.adapters.httpx2 import AsyncTransport as AsyncTransport2
from socks6.adapters.requests import Adapter, Session
from socks6.adapters.urllib3 import ProxyManager


async def fetch(url: str, context: ssl.SSLContext) -> None:
    transport = AsyncTransport(url, verify=context, http2=True, limits=httpx.Limits(max_connections=5))
    async with Client(url) as proxy, httpx.AsyncClient(transport=transport) as client:
        assert_type(await client.get("https://example.com"), httpx.Response)
        async with httpx2.AsyncClient(transport=AsyncTransport2(proxy)) as newer:
            assert_type(await newer.get("https://example.com"), httpx2.Response)
        async with httpcore.AsyncConnectionPool(network_backend=AsyncBackend(proxy)) as pool:
            assert_type((await pool.request("GET", "https://example.com")).status, int)
        async with (
            aiohttp.ClientSession(connector=Connector(proxy, ssl=context, limit=3)) as session,
            session.get("https://example.com") as response,
        ):
            assert_type(await response.text(), str)
        stream = await proxy.connect("example.com", 443)
        assert_type(await stream.start_tls(context, "example.com"), ssl.SSLObject)
        loop = asyncio.get_running_loop()
        assert_type(await loop.sock_recv(await proxy.connect_socket("example.com", 80), 10), bytes)


async def connect(url: str) -> None:
    async with await connect_tcp(url, "example.com", 80) as stream:
        assert_type(stream, anyio.abc.ByteStream)
    await Connectable(url, "example.com", 80).connect()
    async with await create_tcp_listener(url) as listener, await create_udp(url) as udp:
        await udp.sendto(b"", "example.com", listener.bound.port)
        assert_type(await udp.receive(), tuple[bytes, tuple[str, int]])
    async with Tunnel(url) as tunnel, asyncssh.connect("example.com", tunnel=tunnel) as connection:
        await connection.run("true")
    async with EventLoop(url) as loop:
        await asyncpg.connect("postgresql://example.com", loop=loop)


def block(url: str) -> int:
    with socks6.sync.Client(url) as proxy, Session(proxy) as session:
        session.mount("https://example.com", Adapter(url, max_retries=3))
        assert_type(session.get("https://example.com"), requests.Response)
        with httpx.Client(transport=Transport(proxy)) as client:
            assert_type(client.get("https://example.com"), httpx.Response)
        with httpcore.ConnectionPool(network_backend=Backend(proxy)) as pool:
            pool.request("GET", "https://example.com")
        with ProxyManager(proxy, 5, timeout=urllib3.Timeout(3)) as manager:
            threading.Thread(target=manager.request, args=("GET", "https://example.com")).start()
            return manager.request("GET", "https://example.com").status
