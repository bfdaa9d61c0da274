"""requests through a proxy: `Session(URL)` in place of `requests.Session()`, or `session.mount("https://", Adapter(URL))`."""

from typing import Any

from socks6.adapters.base import missing
from socks6.compat import override

try:
    import requests
    from requests.adapters import DEFAULT_POOLBLOCK, HTTPAdapter
except ImportError as error:
    raise missing("requests", "requests") from error

from socks6.adapters.urllib3 import AnySyncProxy, ProxyManager, client_of


class Adapter(HTTPAdapter):
    """Sends the requests of a `requests.Session` through a proxy, which resolves the names.

    Proxies that the session, a request or the environment name are not used. Raises what requests' own adapter does:
    ConnectionError of the remote host's, ProxyError of the proxy's, ConnectTimeout of either's.
    """

    def __init__(self, proxy: AnySyncProxy, **settings: Any) -> None:  # of HTTPAdapter
        """`proxy` is a URL, or a `socks6.sync.Client` that its maker closes; `settings` are those of `HTTPAdapter`."""
        self._own = isinstance(proxy, str)
        self._proxy_client = client_of(proxy)
        super().__init__(**settings)

    @override
    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **pool_kwargs: Any
    ) -> None:
        """Make the pools, which requests has called."""
        self.poolmanager = ProxyManager(
            self._proxy_client, connections, maxsize=maxsize, block=block, **pool_kwargs
        )

    @override
    def send(self, request: requests.PreparedRequest, *arguments: Any, **settings: Any) -> requests.Response:
        """Send a request, and return the response."""
        settings["proxies"] = None
        return super().send(request, *arguments[:4], **settings)

    @override
    def close(self) -> None:
        """Close the connections that are not in use, and the session of a client that a URL was made into."""
        super().close()
        if self._own:
            self._proxy_client.close()


class Session(requests.Session):
    """A `requests.Session` that goes through a proxy for all hosts."""

    def __init__(self, proxy: AnySyncProxy) -> None:
        """`proxy` is a URL, or a `socks6.sync.Client` that its maker closes. Raises ConfigurationError."""
        super().__init__()
        adapter = Adapter(proxy)
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)
