"""asyncpg through a proxy: `asyncpg.connect(DSN, loop=loop)` and `create_pool`, with `async with EventLoop(URL) as loop`."""

import asyncio
import ssl as tls
from collections.abc import Callable
from typing import Any, TypeVar

from socks6.adapters.base import AdapterClient, AnyProxy

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class EventLoop:
    """The running event loop, but that it connects through a proxy, which resolves the names.

    For libraries that take `loop` and no socket, as asyncpg does. An async context manager; close what was connected before.
    """

    def __init__(self, proxy: AnyProxy) -> None:
        """`proxy` is a URL, or a `Client` that its maker closes. Raises ConfigurationError for an impossible URL."""
        self._client = AdapterClient(proxy)

    async def __aenter__(self) -> asyncio.AbstractEventLoop:
        """Return the loop, for an argument `loop`."""
        await self._client.enter()
        return self  # type: ignore[return-value]  # it has all methods of the running one

    async def __aexit__(self, *_: object) -> None:
        """Close the client that a URL was made into."""
        await self._client.aclose()

    def __getattr__(self, name: str) -> Any:
        """Return what the running loop has."""
        return getattr(asyncio.get_running_loop(), name)

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: tls.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        **others: Any,  # of the loop's method; with `sock` there is nothing to be connected
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect through the proxy, as the loop does. Raises what `Client.create_connection` does."""
        if host is None or port is None:
            loop = asyncio.get_running_loop()
            return await loop.create_connection(
                protocol_factory, ssl=ssl, server_hostname=server_hostname, **others
            )
        client = await self._client.enter()
        return await client.create_connection(
            protocol_factory, host, port, ssl=ssl, server_hostname=server_hostname
        )
