"""httpcore through a proxy: `AsyncConnectionPool(network_backend=AsyncBackend(URL))`, `ConnectionPool(network_backend=Backend(URL))`."""

import ssl
from collections.abc import Iterable
from typing import ClassVar

from socks6.adapters.base import missing
from socks6.adapters.http_base import AsyncBackendBase, AsyncStreamBase, BackendBase, StreamBase
from socks6.compat import override

try:
    import httpcore
except ImportError as error:
    raise missing("httpcore", "httpcore") from error


class Stream(StreamBase, httpcore.NetworkStream):
    """A stream through a proxy, for httpcore."""

    library: ClassVar = httpcore

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Encrypt end to end, through the proxy. Raises ConnectError, ConnectTimeout."""
        self._encrypt(ssl_context, server_hostname, timeout)
        return self


class Backend(BackendBase, httpcore.NetworkBackend):
    """Connects httpcore's pools through a proxy, which resolves the names."""

    library: ClassVar = httpcore

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host; `local_address` and `socket_options` mean nothing here."""
        return Stream(self._connect(host, port, timeout))

    @override
    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Raise ConnectError: no proxy reaches Unix sockets."""
        raise httpcore.ConnectError(f"no proxy reaches the Unix socket {path}")


class AsyncStream(AsyncStreamBase, httpcore.AsyncNetworkStream):
    """A stream through a proxy, for httpcore."""

    library: ClassVar = httpcore

    @override
    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt end to end, through the proxy. Raises ConnectError, ConnectTimeout."""
        await self._encrypt(ssl_context, server_hostname, timeout)
        return self


class AsyncBackend(AsyncBackendBase, httpcore.AsyncNetworkBackend):
    """Connects httpcore's asynchronous pools through a proxy, which resolves the names. Needs asyncio."""

    library: ClassVar = httpcore

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host; `local_address` and `socket_options` mean nothing here."""
        return AsyncStream(await self._connect(host, port, timeout))

    @override
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raise ConnectError: no proxy reaches Unix sockets."""
        raise httpcore.ConnectError(f"no proxy reaches the Unix socket {path}")
