"""httpcore2 through a proxy: `AsyncConnectionPool(network_backend=AsyncBackend(URL))`, `ConnectionPool(network_backend=Backend(URL))`."""

import ssl
from collections.abc import Iterable
from typing import ClassVar

from socks6.adapters.base import missing
from socks6.adapters.http_base import AsyncBackendBase, AsyncStreamBase, BackendBase, StreamBase
from socks6.compat import override

try:
    import httpcore2
except ImportError as error:
    raise missing("httpcore2", "httpcore2") from error


class Stream(StreamBase, httpcore2.NetworkStream):
    """A stream through a proxy, for httpcore2."""

    library: ClassVar = httpcore2

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Encrypt end to end, through the proxy. Raises ConnectError, ConnectTimeout."""
        self._encrypt(ssl_context, server_hostname, timeout)
        return self


class Backend(BackendBase, httpcore2.NetworkBackend):
    """Connects httpcore2's pools through a proxy, which resolves the names."""

    library: ClassVar = httpcore2

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to a host; `local_address` and `socket_options` mean nothing here."""
        return Stream(self._connect(host, port, timeout))

    @override
    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Raise ConnectError: no proxy reaches Unix sockets."""
        raise httpcore2.ConnectError(f"no proxy reaches the Unix socket {path}")


class AsyncStream(AsyncStreamBase, httpcore2.AsyncNetworkStream):
    """A stream through a proxy, for httpcore2."""

    library: ClassVar = httpcore2

    @override
    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypt end to end, through the proxy. Raises ConnectError, ConnectTimeout."""
        await self._encrypt(ssl_context, server_hostname, timeout)
        return self


class AsyncBackend(AsyncBackendBase, httpcore2.AsyncNetworkBackend):
    """Connects httpcore2's asynchronous pools through a proxy, which resolves the names. Needs asyncio."""

    library: ClassVar = httpcore2

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host; `local_address` and `socket_options` mean nothing here."""
        return AsyncStream(await self._connect(host, port, timeout))

    @override
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raise ConnectError: no proxy reaches Unix sockets."""
        raise httpcore2.ConnectError(f"no proxy reaches the Unix socket {path}")
