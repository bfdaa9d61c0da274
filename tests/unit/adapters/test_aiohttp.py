"""aiohttp fetches through a proxy, speaks WebSocket, and its users get aiohttp's exceptions."""

import asyncio
import ssl

import aiohttp
import pytest

from socks6 import AuthenticationFailed, Client, ConnectionRefused, ProxyUnreachable
from socks6.adapters.aiohttp import Connector
from tests.kit.adapted import PROXIES, Adapted
from tests.kit.asgi_site import PAGE
from tests.kit.footprint import Footprint
from tests.kit.loops import LOOP_FACTORIES


@pytest.mark.parametrize("kind", PROXIES)
def test_requests_and_websockets_come_through_every_proxy(world: Adapted, kind: str) -> None:
    async def main() -> None:
        connector = Connector(world.url(kind), ssl=world.site.trusting())
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(2):
                async with session.get(f"{world.site.url}/version") as response:
                    assert await response.text() == "1.1"
            body = bytes(range(256)) * 1000
            async with session.post(world.site.url, data=body) as response:
                assert await response.read() == body
            async with session.ws_connect(world.site.url.replace("https", "wss")) as websocket:
                await websocket.send_str("hello")
                assert await websocket.receive_str() == "you said hello"

    asyncio.run(main())


def test_failures_are_aiohttps_own(world: Adapted) -> None:
    refusing, silent = (f"http://127.0.0.1:{place.port}" for place in (world.refusing, world.silent))
    nobody = f"socks6://127.0.0.1:{world.refusing.port}"

    async def main() -> None:
        for proxy, url, kind, cause in (
            (world.url("socks6"), refusing, aiohttp.ClientConnectorError, ConnectionRefused),
            (
                world.url("socks6"),
                world.site.url,
                aiohttp.ClientConnectorCertificateError,
                ssl.SSLCertVerificationError,
            ),
            (
                world.wrong_password("socks6"),
                refusing,
                aiohttp.ClientProxyConnectionError,
                AuthenticationFailed,
            ),
            (nobody, refusing, aiohttp.ClientProxyConnectionError, ProxyUnreachable),
            (world.url("socks6"), silent, aiohttp.ConnectionTimeoutError, TimeoutError),
        ):
            timeout = aiohttp.ClientTimeout(sock_connect=0.1 if url == silent else 5.0)
            async with aiohttp.ClientSession(connector=Connector(proxy), timeout=timeout) as session:
                with pytest.raises(aiohttp.ClientError) as caught:
                    await session.get(url)
            assert type(caught.value) is kind, repr(caught.value)
            assert isinstance(caught.value.__cause__, cause)
        digest = aiohttp.Fingerprint(bytes(32))
        connector = Connector(world.url("socks6"), ssl=digest)
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ServerFingerprintMismatch):
                await session.get(world.site.url)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("loop_name", "requests"),
    [("uvloop", 100), *(pytest.param(name, 1000, marks=pytest.mark.deep) for name in LOOP_FACTORIES)],
)
def test_many_requests_leave_nothing_behind(world: Adapted, loop_name: str, requests: int) -> None:
    """Fifty at a time, some of them cancelled; the client is the user's own, and stays usable."""

    async def main() -> None:
        async with Client(world.url("socks6+tls")) as proxy:
            connector = Connector(proxy, ssl=world.site.trusting(), limit=50)
            async with aiohttp.ClientSession(connector=connector) as session:

                async def fetch(number: int) -> None:
                    if number % 20 == 0:
                        with pytest.raises(TimeoutError):
                            async with asyncio.timeout(0.05):
                                await session.get(f"{world.site.url}/slow")
                    else:
                        async with session.get(world.site.url) as response:
                            assert await response.read() == PAGE

                async with asyncio.TaskGroup() as group:
                    for number in range(requests):
                        group.create_task(fetch(number))
            await proxy.noop()

    async def nothing() -> None:
        return

    for work in (nothing, main):  # a first loop has what the next ones find there
        before = Footprint.of().descriptors
        with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
            runner.run(work())
    assert Footprint.of().descriptors <= before
