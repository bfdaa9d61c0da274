"""What adapters are tried with: proxies of ours and of others as processes, a web site, and places that cannot be reached."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.asgi_site import AsgiSite, asgi_site
from tests.kit.origins import Place, refusing_place, silent_place
from tests.kit.proxies import server

USER: Final = "alice:wonder%20land"
OURS: Final = ("socks6", "socks6+tls", "socks6+quic")  # all with credentials
PROXIES: Final = OURS
START_SECONDS: Final = 10.0


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
        ours = held.enter_context(server(*listen, "--user", "alice:wonder land", "--allow-private"))
        urls = {url.partition(":")[0]: url.replace("://", f"://{USER}@") for url in ours.urls}
        proxies = {
            kind: url if kind == "socks6" else f"{url}?insecure-no-verification=1"
            for kind, url in urls.items()
        }
        yield Adapted(
            site=site,
            refusing=held.enter_context(refusing_place()),
            silent=held.enter_context(silent_place()),
            proxies=proxies,
        )
