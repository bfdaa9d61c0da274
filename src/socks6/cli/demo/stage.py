"""What the demonstration consists of: a web site, a SOCKS 6 server, two converters."""

import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from socks6.cli.demo.recording import Ends, RecordingInbound
from socks6.cli.demo.site import Site
from socks6.client.client import Client
from socks6.client.outbound import Socks6Outbound
from socks6.net.stream import Outbound
from socks6.net.url import ProxyURL
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker, standard_inbounds

USER: Final = "demo"


class Post:
    """One of our servers, with a record of its clients' handshakes and of what became of them."""

    def __init__(
        self, inbound: str, *, authenticator: Authenticator | None = None, outbound: Outbound | None = None
    ) -> None:
        self.ends = Ends()
        self.inbound = RecordingInbound(standard_inbounds(Settings())[inbound])
        worker = ServerWorker(
            authenticator=authenticator,
            outbound=outbound,
            policy=Policy(allow_private=True),  # all of it is on this machine
            observer=self.ends,
            inbounds={inbound: self.inbound},
        )
        self.server = Server([f"{inbound}://127.0.0.1:0"], worker)

    @property
    def url(self) -> ProxyURL:
        """Where it listens."""
        return ProxyURL.parse(self.server.urls[0])

    @property
    def address(self) -> str:
        """Where it listens, without the scheme."""
        return f"{self.url.host}:{self.url.port}"


class Stage:
    """All of them, listening on free ports of this machine."""

    site: Site
    server: Post
    converter: Post
    stranger: Post  # a converter with a wrong password

    def __init__(self, upload: Path) -> None:
        self._upload = upload
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen."""
        password = secrets.token_urlsafe(12)
        self.site = await self._open.enter_async_context(Site())
        self.server = Post("socks6", authenticator=UserTable.from_plain({USER: password}))
        await self._open.enter_async_context(self.server.server)
        self.converter = await self._converter(password)
        self.stranger = await self._converter("not" + password)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._open.aclose()

    def names(self) -> dict[str, str]:
        """Return what the acts call the places of the stage."""
        return {
            "site": self.site.address,
            "site_port": self.site.address.rpartition(":")[2],
            "converter": self.converter.address,
            "stranger": self.stranger.address,
            "upload": str(self._upload),
        }

    def description(self) -> tuple[str, ...]:
        """Return what there is, in lines."""
        return (
            "Everything here is on this machine, in one process, but for curl:",
            "",
            f"   web site   http://{self.site.address}/",
            f"   server     {self.server.url}, for the user {USER} with a password made up for this run",
            f"   converter  {self.converter.url}, going out through the server as that user",
            f"   stranger   {self.stranger.url}, the same with a wrong password",
        )

    async def _converter(self, password: str) -> Post:
        url = self.server.url
        upstream = ProxyURL(
            protocol=url.protocol, host=url.host, port=url.port, username=USER, password=password
        )
        post = Post("mixed", outbound=Socks6Outbound(Client(upstream)))
        await self._open.enter_async_context(post.server)
        return post
