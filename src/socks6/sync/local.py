"""`local_proxy` for programs that block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from socks6.local import LocalProxy
from socks6.local import local_proxy as async_local_proxy
from socks6.net.url import ProxyUrl
from socks6.sync.loop_thread import loop_thread


@contextmanager
def local_proxy(proxy: str | ProxyUrl | Sequence[str | ProxyUrl]) -> Iterator[LocalProxy]:
    """Run a proxy on loopback that goes through `proxy`, for as long as the block lasts. See `socks6.local_proxy`.

    ::

        with socks6.sync.local_proxy("socks6+tls://alice:secret@far.example") as proxy:
            subprocess.run(["git", "clone", URL], env=proxy.environment, check=True)
    """
    with loop_thread().held(async_local_proxy(proxy)) as running:
        yield running
