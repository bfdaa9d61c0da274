"""urllib3 through a proxy: `ProxyManager(URL)` in place of `urllib3.PoolManager()`."""

import socket
from typing import Any, TypeAlias

from socks6.adapters.base import FailureKind, failure_of, missing
from socks6.compat import override
from socks6.errors import Socks6Error
from socks6.net.url import ProxyUrl
from socks6.sync.client import Client

try:
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError
except ImportError as error:
    raise missing("urllib3", "urllib3") from error

AnySyncProxy: TypeAlias = str | ProxyUrl | Client
"""A proxy's URL, or a `socks6.sync.Client`, which whoever made it closes."""


def client_of(proxy: AnySyncProxy) -> Client:
    """Return the client, or one that is made of a URL. Raises ConfigurationError for an impossible one."""
    return proxy if isinstance(proxy, Client) else Client(proxy)


class _ProxiedConnection(HTTPConnection):
    """A connection through a proxy."""

    def __init__(self, *arguments: Any, proxy_client: Client, **settings: Any) -> None:  # of HTTPConnection
        super().__init__(*arguments, **settings)
        self._proxy_client = proxy_client

    @override
    def _new_conn(self) -> socket.socket:
        """Connect to the host. Raises ConnectTimeoutError, NewConnectionError, ProxyError."""
        seconds = self.timeout if isinstance(self.timeout, int | float) else None
        try:
            sock = self._proxy_client.connect(
                self._dns_host, self.port or 0, timeout="client" if seconds is None else seconds
            )
        except Socks6Error as error:
            match failure_of(error):
                case FailureKind.TIMEOUT:
                    raise ConnectTimeoutError(self, f"{self.host}: {error}") from error
                case FailureKind.REMOTE:
                    raise NewConnectionError(self, f"{self.host}: {error}") from error
                case FailureKind.PROXY:
                    raise ProxyError(str(error), error) from error
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        sock.settimeout(seconds)
        return sock


class _ProxiedHttpsConnection(_ProxiedConnection, HTTPSConnection):
    """The same with TLS, end to end."""


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _ProxiedConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _ProxiedHttpsConnection


class ProxyManager(urllib3.PoolManager):
    """A PoolManager whose connections go through a proxy, which resolves the names.

    Raises what urllib3's own does: MaxRetryError, whose `reason` is NewConnectionError of the remote host's, ProxyError of the
    proxy's, ConnectTimeoutError of either's. The `__cause__` of these is ours.
    """

    def __init__(self, proxy: AnySyncProxy, num_pools: int = 10, **settings: Any) -> None:  # of PoolManager
        """`proxy` is a URL, or a `socks6.sync.Client` that its maker closes; `settings` are those of `PoolManager`."""
        super().__init__(num_pools, **settings)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        self._own = not isinstance(proxy, Client)
        self._proxy_client = client_of(proxy)

    @override
    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> urllib3.HTTPConnectionPool:
        """Return a pool of connections to one host; urllib3 has this method for being replaced."""
        context = (self.connection_pool_kw if request_context is None else request_context).copy()
        context["proxy_client"] = self._proxy_client  # of all pools: it need be no part of their keys
        return super()._new_pool(scheme, host, port, context)

    @override
    def clear(self) -> None:
        """Close the connections that are not in use, and the session of a client that a URL was made into."""
        super().clear()
        if self._own:
            self._proxy_client.close()
