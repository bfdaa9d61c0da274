"""httpx2's transports are httpx's, but for the names."""

import asyncio
from pathlib import Path

import httpx2
import pytest

import socks6.adapters
from socks6 import AuthenticationFailed
from socks6.adapters.httpx2 import AsyncTransport
from tests.kit.adapted import Adapted

FOLDER = Path(socks6.adapters.__file__).parent


@pytest.mark.parametrize("name", ["httpx", "httpcore"])
def test_nothing_but_names_differs(name: str) -> None:
    old, new = (FOLDER / f"{stem}.py" for stem in (name, f"{name}2"))
    words = new.read_text().replace("httpx2", "httpx").replace("httpcore2", "httpcore")
    assert words.split() == old.read_text().split()


def test_it_fetches_and_fails_as_httpx2_does(world: Adapted) -> None:
    async def main() -> None:
        transport = AsyncTransport(world.url("socks6"), verify=world.site.trusting())
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get(f"{world.site.url}/version")).text == "1.1"
        async with httpx2.AsyncClient(transport=AsyncTransport(world.wrong_password("socks6"))) as client:
            with pytest.raises(httpx2.ProxyError) as caught:
                await client.get(world.site.url)
        assert isinstance(caught.value.__cause__, AuthenticationFailed)

    asyncio.run(main())
