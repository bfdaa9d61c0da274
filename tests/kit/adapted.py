"""What adapters are tried with: proxies of ours and of others as processes, a web site, and places that cannot be reached."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.kit.asgi_site import AsgiSite, asgi_site
from tests.kit.footprint import eventually
from tests.kit.origins import Place, refusing_place, silent_place
from tests.kit.proxies import server

USER: Final = "alice:wonderland"
OURS: Final = ("socks6", "socks6+tls", "socks6+quic")  # all with credentials
OTHERS: Final = ("socks5", "http")  # microsocks, tinyproxy
PROXIES: Final = OURS + OTHERS
LATER: Final = [kind if kind == "socks6+tls" else pytest.param(kind, marks=pytest.mark.deep) for kind in OURS]
TINYPROXY: Final = """
Listen {host}
Port {port}
BasicAuth alice wonderland
LogLevel Critical
MaxClients 200
"""


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """Proxies by their kinds, and what is behind them."""

    site: AsgiSite
    refusing: Place
    silent: Place
    proxies: dict[str, str]  # URLs with credentials

    def url(self, kind: str) -> str:
        """Return a proxy's URL."""
        return self.proxies[kind]

    def wrong_password(self, kind: str) -> str:
        """Return the same with another password."""
        return self.proxies[kind].replace("wonder", "under")


@contextlib.contextmanager
def adapted(folder: Path) -> Iterator[Adapted]:
    """Run them all."""
    listen = [word for kind in OURS for word in ("--listen", f"{kind}://127.0.0.1:0")]
    with contextlib.ExitStack() as held:
        site = held.enter_context(asgi_site(folder))
        ours = held.enter_context(server(*listen, "--user", "alice:wonderland", "--allow-private"))
        urls = {url.partition(":")[0]: url.replace("://", f"://{USER}@") for url in ours.urls}
        proxies = {
            kind: url if kind == "socks6" else f"{url}?insecure-no-verification=1"
            for kind, url in urls.items()
        }
        for kind, line in (("socks5", _microsocks), ("http", _tinyproxy)):
            place = held.enter_context(_listening(folder, line))
            proxies[kind] = f"{kind}://{USER}@{place.host}:{place.port}"
        yield Adapted(
            site=site,
            refusing=held.enter_context(refusing_place()),
            silent=held.enter_context(silent_place()),
            proxies=proxies,
        )


def _microsocks(_: Path, place: Place) -> list[str]:
    return ["microsocks", "-i", place.host, "-p", str(place.port), "-u", "alice", "-P", "wonderland"]


def _tinyproxy(folder: Path, place: Place) -> list[str]:
    settings = folder / "tinyproxy.conf"
    settings.write_text(TINYPROXY.format(host=place.host, port=place.port))
    return ["tinyproxy", "-d", "-c", str(settings)]


@contextlib.contextmanager
def _listening(folder: Path, line: Callable[[Path, Place], list[str]]) -> Iterator[Place]:
    """Run a proxy of others' until it listens, and for as long as the block lasts. The test skips where it is not installed."""
    with refusing_place() as place:
        pass  # a port that is free
    words = line(folder, place)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere) as process:
        try:
            assert eventually(lambda: _accepts(place)), words
            yield place
        finally:
            process.kill()


def _accepts(place: Place) -> bool:
    try:
        place.connected().close()
    except ConnectionRefusedError:
        return False
    return True
