"""httpx fetches through a proxy, and its users get httpx's exceptions."""

import asyncio
import ssl

import httpx
import pytest

from socks6 import AuthenticationFailed, Client, ConnectionRefused, ProxyTimedOut, ProxyUnreachable
from socks6.adapters.httpx import AsyncTransport, Transport
from tests.kit.adapted import PROXIES, Adapted
from tests.kit.asgi_site import PAGE
from tests.kit.footprint import Footprint
from tests.kit.loops import LOOP_FACTORIES


@pytest.mark.parametrize("kind", PROXIES)
def test_both_versions_of_http_come_through_every_proxy(world: Adapted, kind: str) -> None:
    async def main() -> None:
        for http2, version in ((False, "1.1"), (True, "2")):
            transport = AsyncTransport(world.url(kind), verify=world.site.trusting(), http2=http2)
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    assert (await client.get(f"{world.site.url}/version")).text == version
                body = bytes(range(256)) * 1000
                assert (await client.post(world.site.url, content=body)).content == body

    asyncio.run(main())


@pytest.mark.parametrize("kind", PROXIES)
def test_blocking_clients_too(world: Adapted, kind: str) -> None:
    for http2, version in ((False, "1.1"), (True, "2")):
        transport = Transport(world.url(kind), verify=world.site.trusting(), http2=http2)
        with httpx.Client(transport=transport) as client:
            for _ in range(2):
                assert client.get(f"{world.site.url}/version").text == version
            body = bytes(range(256)) * 1000
            assert client.post(world.site.url, content=body).content == body
            with pytest.raises(httpx.ReadTimeout):
                client.get(f"{world.site.url}/slow", timeout=0.1)
    with httpx.Client(transport=Transport(world.wrong_password(kind))) as client:
        with pytest.raises(httpx.ProxyError) as caught:
            client.get(world.site.url)
        assert isinstance(caught.value.__cause__, AuthenticationFailed)


def test_failures_are_httpx_own(world: Adapted) -> None:
    refusing, silent = (f"http://127.0.0.1:{place.port}" for place in (world.refusing, world.silent))
    nobody = f"socks6://127.0.0.1:{world.refusing.port}"

    async def fail(proxy: str, url: str, timeout: float = 5.0) -> httpx.TransportError:
        async with httpx.AsyncClient(transport=AsyncTransport(proxy), timeout=timeout) as client:
            with pytest.raises(httpx.TransportError) as caught:
                await client.get(url)
        return caught.value

    async def main() -> None:
        for proxy, url, kind, cause in (
            (world.url("socks6"), refusing, httpx.ConnectError, ConnectionRefused),
            (world.url("socks6"), world.site.url, httpx.ConnectError, ssl.SSLCertVerificationError),
            (world.wrong_password("socks6"), refusing, httpx.ProxyError, AuthenticationFailed),
            (nobody, refusing, httpx.ProxyError, ProxyUnreachable),
        ):
            error = await fail(proxy, url)
            assert type(error) is kind, repr(error)
            assert isinstance(error.__cause__, cause)
        error = await fail(world.url("socks6"), silent, 0.1)
        assert type(error) is httpx.ConnectTimeout
        assert isinstance(error.__cause__, ProxyTimedOut)
        transport = AsyncTransport(world.url("socks6"), verify=world.site.trusting())
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{world.site.url}/slow", timeout=0.1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("loop_name", "requests"),
    [("asyncio", 100), *(pytest.param(name, 1000, marks=pytest.mark.deep) for name in LOOP_FACTORIES)],
)
def test_many_requests_leave_nothing_behind(world: Adapted, loop_name: str, requests: int) -> None:
    """Fifty at a time, some of them cancelled; the client is the user's own, and stays usable."""

    async def main() -> None:
        async with Client(world.url("socks6")) as proxy:
            transport = AsyncTransport(proxy, verify=world.site.trusting())
            async with httpx.AsyncClient(transport=transport) as client:
                places = asyncio.Semaphore(50)

                async def fetch(number: int) -> None:
                    async with places:
                        if number % 20 == 0:
                            with pytest.raises(TimeoutError):
                                async with asyncio.timeout(0.05):
                                    await client.get(f"{world.site.url}/slow")
                        else:
                            assert (await client.get(world.site.url, timeout=20)).content == PAGE

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
