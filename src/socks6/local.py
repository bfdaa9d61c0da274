"""`local_proxy`: a proxy on this machine, for the time of a block, for programs that know SOCKS 5 or HTTP and no more."""

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import field
from typing import Final

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.dataclass import dataclass
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Policy
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker

HOST: Final = "127.0.0.1"
USER: Final = "local"
PASSWORD_BYTES: Final = 24
DRAIN_SECONDS: Final = 0.2  # for connections to end when the block does


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProxy:
    """A running proxy on this machine: one port for SOCKS 5, 4a and HTTP, and one user, whose password was made up."""

    port: int
    password: str = field(repr=False)
    host: str = HOST
    username: str = USER

    @property
    def url(self) -> str:
        """socks5h://USER:PASSWORD@HOST:PORT: names are resolved at the far proxy."""
        return self._url("socks5h")

    @property
    def http_url(self) -> str:
        """The same port as an HTTP proxy: http://USER:PASSWORD@HOST:PORT."""
        return self._url("http")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process, with what programs read of proxies, in capitals and small letters.

        HTTP_PROXY, HTTPS_PROXY and all_proxy are `http_url`, ALL_PROXY is `url`. Python's programs prefer small letters, and
        httpx would fail at a SOCKS proxy without its extra; those of Go prefer capitals, and know no other proxy there.
        NO_PROXY stays what it is.
        """
        http = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy")
        return {**os.environ, **dict.fromkeys(http, self.http_url), "ALL_PROXY": self.url}

    def _url(self, scheme: str) -> str:
        return f"{scheme}://{self.username}:{self.password}@{self.host}:{self.port}"


@asynccontextmanager
async def local_proxy(
    proxy: str | ProxyUrl | Sequence[str | ProxyUrl] | Client,
) -> AsyncIterator[LocalProxy]:
    """Run a proxy on loopback that goes through `proxy`, for as long as the block lasts.

    ::

        async with socks6.local_proxy("socks6+tls://alice:secret@far.example") as proxy:
            process = await asyncio.create_subprocess_exec("curl", URL, env=proxy.environment)
            await process.wait()

    Only who has the password may use it, which is new for each block; `LocalProxy.url` and `environment` carry it, and so may
    the process list where a URL is an argument. Several URLs are a chain. A `Client` is used as it is, and not closed. Connections end with the block.
    Raises ConfigurationError for a URL, and OSError where no port can be bound.
    """
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    async with nullcontext(proxy) if isinstance(proxy, Client) else Client(proxy) as client:
        worker = ServerWorker(
            authenticator=UserTable.from_plain({USER: password}),
            policy=Policy(allow_private=True),  # the far proxy judges
            outbound=UpstreamOutbound(client),
            settings=Settings(drain_timeout=DRAIN_SECONDS),
        )
        async with Server([f"mixed://{HOST}:0"], worker) as server:
            yield LocalProxy(port=int(server.urls[0].rpartition(":")[2]), password=password)
