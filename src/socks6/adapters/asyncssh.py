"""asyncssh through a proxy: `asyncssh.connect(HOST, tunnel=tunnel)`, with `async with Tunnel(URL) as tunnel`."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from socks6.adapters.base import AdapterClient, AnyProxy

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Tunnel:
    """What asyncssh takes as `tunnel`: its connections go through a proxy, which resolves the names.

    An async context manager; close the connections before. `asyncssh.connect` raises what `Client.create_connection` does,
    which are OSErrors.
    """

    def __init__(self, proxy: AnyProxy) -> None:
        """`proxy` is a URL, or a `Client` that its maker closes. Raises ConfigurationError for an impossible URL."""
        self._client = AdapterClient(proxy)

    async def create_connection(
        self, session_factory: Callable[[], ProtocolT], remote_host: str, remote_port: int
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect to an SSH server; asyncssh calls it."""
        client = await self._client.enter()
        return await client.create_connection(session_factory, remote_host, remote_port)

    async def __aenter__(self) -> "Tunnel":
        """Return the tunnel."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client that a URL was made into."""
        await self._client.aclose()
