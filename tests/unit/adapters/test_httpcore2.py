"""httpcore2's backend is httpcore's, but for the names (test_httpx2.py)."""

import asyncio

import httpcore2

from socks6.adapters.httpcore2 import AsyncBackend
from tests.kit.adapted import Adapted


def test_a_pool_fetches(world: Adapted) -> None:
    async def main() -> None:
        backend = AsyncBackend(world.url("socks6"))
        async with httpcore2.AsyncConnectionPool(
            ssl_context=world.site.trusting(), http2=True, network_backend=backend
        ) as pool:
            assert (await pool.request("GET", f"{world.site.url}/version")).content == b"2"
        await backend.aclose()

    asyncio.run(main())
