"""Each type of proxy, destination and TLS, with a password and without: what python-socks tries, through an adapter."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from socks6 import (
    AddressTypeNotSupported,
    AuthenticationFailed,
    Client,
    ConnectionRefused,
    GeneralFailure,
    HostUnreachable,
)
from socks6.adapters.httpx import AsyncTransport
from tests.kit.origins import PAGE, Site, refusing_place, web_site
from tests.kit.proxies import Proxy, server

pytestmark = pytest.mark.e2e

TYPES: Final = ("socks4", "socks4a", "socks5", "socks5h", "http", "socks6")
OLDEST: Final = ("socks4", "socks4a")  # they have no passwords, no IPv6, and one way to say no
SAYS_NO_MORE: Final = (httpx.ProxyError, GeneralFailure)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, bool], Site]]:
    """Give web sites by host and whether they are encrypted."""
    with contextlib.ExitStack() as held:
        found = {}
        for number, host in enumerate(("127.0.0.1", "::1")):
            folder: Path = tmp_path_factory.mktemp(f"site{number}")
            found[host, False] = held.enter_context(web_site(host))
            found[host, True] = held.enter_context(web_site(host, tls_folder=folder))
        found |= {("localhost", encrypted): found["127.0.0.1", encrypted] for encrypted in (False, True)}
        yield found


@pytest.fixture(scope="module")
def proxies() -> Iterator[dict[bool, Proxy]]:
    """Give proxies that speak everything, by whether they want a password."""
    listen = ("--listen", "mixed://127.0.0.1:0", "--allow-private")
    with server(*listen, "--open") as free, server(*listen, "--user", "alice:wonder land") as guarded:
        yield {False: free, True: guarded}


@pytest.mark.parametrize(
    ("kind", "password"),
    [*((kind, False) for kind in TYPES), *((kind, True) for kind in TYPES if kind not in OLDEST)],
)
def test_every_destination(
    sites: dict[tuple[str, bool], Site], proxies: dict[bool, Proxy], kind: str, password: bool
) -> None:
    place = proxies[password].authority
    login = "alice:wonder%20land@" if password else ""

    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for site in sites.values():
        if site.ca_file is not None:
            trusting.load_verify_locations(site.ca_file)

    async def main() -> None:
        client = Client(f"{kind}://{login}{place}", timeout=10)
        for (host, _), site in sites.items():
            url = site.url.replace("127.0.0.1", host)
            async with httpx.AsyncClient(transport=AsyncTransport(client, verify=trusting)) as http:
                if ":" in host and kind in OLDEST:
                    with pytest.raises(httpx.ProxyError) as caught:
                        await http.get(url)
                    assert isinstance(caught.value.__cause__, AddressTypeNotSupported)
                else:
                    assert (await http.get(url)).content == PAGE
        async with httpx.AsyncClient(transport=AsyncTransport(client, verify=trusting)) as http:
            with refusing_place() as nobody:
                refused = (httpx.ConnectError, ConnectionRefused)
                unknown = (httpx.ConnectError, HostUnreachable)
                for url, (failure, cause) in (
                    (f"http://127.0.0.1:{nobody.port}/", SAYS_NO_MORE if kind in OLDEST else refused),
                    ("http://nowhere.invalid/", SAYS_NO_MORE if kind == "socks4a" else unknown),
                ):
                    with pytest.raises(failure) as failed:
                        await http.get(url)
                    assert isinstance(failed.value.__cause__, cause)
        if password:
            client = Client(f"{kind}://alice:wrong@{place}", timeout=10)
            async with httpx.AsyncClient(transport=AsyncTransport(client, verify=trusting)) as http:
                with pytest.raises(httpx.ProxyError) as caught:
                    await http.get(sites["127.0.0.1", False].url)
                assert isinstance(caught.value.__cause__, AuthenticationFailed)

    asyncio.run(main())
