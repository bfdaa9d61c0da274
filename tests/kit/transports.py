"""The ways to a proxy, as a table: what a server listens at, and how a client names it."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.url import ProxyUrl, QuicParameters
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.proxied import USERS

NAME: Final = "alice"
PASSWORD: Final = "wonder land/7"

Rephrase: TypeAlias = Callable[[ProxyUrl], ProxyUrl]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where a server listens, and what its clients make of the URL that it tells."""

    listen: str
    client: Rephrase
    authenticator: Authenticator | None = USERS


def _with_password(url: ProxyUrl) -> ProxyUrl:
    return replace(url, username=NAME, password=PASSWORD)


def _tcp(_: Path) -> Way:
    return Way(listen="socks6://127.0.0.1:0", client=_with_password)


def _unix(folder: Path) -> Way:
    return Way(listen=f"socks6+unix://{folder}/proxy.sock", client=_with_password)


def _tls(folder: Path, *, min_version: str = "1.3") -> Way:
    files = write_certificate(folder)
    pins = (parse_pin(pin_of_file(files.certificate)),)
    return Way(
        listen=f"socks6+tls://127.0.0.1:0?{files.listener_query}&min-version={min_version}",
        client=lambda url: replace(_with_password(url), tls=TlsParameters(pins=pins)),
    )


def _mutual_tls(folder: Path) -> Way:
    files = write_certificate(folder)
    user = write_certificate(folder, f"{NAME}@example.com", stem="user")
    said = TlsParameters(ca=files.ca, certificate=user.certificate, key=user.key)
    return Way(
        listen=f"socks6+tls://127.0.0.1:0?{files.listener_query}&client-ca={files.ca}",
        client=lambda url: replace(url, tls=said),
    )


def _quic(folder: Path, backend: str = "qh3") -> Way:
    files = write_certificate(folder)
    pins = (parse_pin(pin_of_file(files.certificate)),)
    said = QuicParameters(backend=backend)
    return Way(
        listen=f"socks6+quic://127.0.0.1:0?{files.listener_query}&backend={backend}",
        client=lambda url: replace(_with_password(url), tls=TlsParameters(pins=pins), quic=said),
    )


TRANSPORTS: Final[Mapping[str, Callable[[Path], Way]]] = {
    "TCP": _tcp,
    "Unix": _unix,
    "TLS": _tls,
    "TLS with certificates": _mutual_tls,
    "QUIC": _quic,
    "QUIC by aioquic": functools.partial(_quic, backend="aioquic"),
}


@contextlib.asynccontextmanager
async def serving(way: Way) -> AsyncIterator[ProxyUrl]:
    """Run a server that is reached in this way; give the URL for its clients."""
    worker = ServerWorker(authenticator=way.authenticator, policy=Policy(allow_private=True))
    async with Server([way.listen], worker) as server:
        yield way.client(ProxyUrl.parse(server.urls[0]))


@contextlib.asynccontextmanager
async def passing_on(url: ProxyUrl, listen: str) -> AsyncIterator[ProxyUrl]:
    """Run a proxy on loopback that goes through the one at `url`: a converter, or a link of a chain."""
    async with Client(url) as upstream:
        worker = ServerWorker(policy=Policy(allow_private=True), outbound=UpstreamOutbound(upstream))
        async with Server([listen], worker) as server:
            yield ProxyUrl.parse(server.urls[0])
