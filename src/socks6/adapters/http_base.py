"""What httpcore and httpx need to go through a proxy, for both of their lineages: httpcore2 and httpx2 differ in names alone.

A transport of httpx is a pool of httpcore whose backend connects through a proxy. So keeping connections, HTTP/2 and TLS
are httpcore's. Modules of the libraries' names give each class its library.
"""

import asyncio
import selectors
import socket
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from socks6.adapters.base import AdapterClient, AnyProxy, FailureKind, failure_of
from socks6.client.stream import ProxiedStream
from socks6.errors import Socks6Error
from socks6.net.scopes import on_failure
from socks6.net.url import ProxyUrl
from socks6.sync.client import Client as SyncClient

Certificate: TypeAlias = str | tuple[str, str] | tuple[str, str, str]

MAX_CONNECTIONS: Final = 100  # httpx's own defaults
MAX_KEEPALIVE_CONNECTIONS: Final = 20

_NAMES: Final = {
    FailureKind.TIMEOUT: "ConnectTimeout",
    FailureKind.REMOTE: "ConnectError",
    FailureKind.PROXY: "ProxyError",
}


@contextmanager
def connect_failures(library: ModuleType) -> Iterator[None]:
    """Raise what the library's users expect of a connection that does not come about."""
    try:
        yield
    except Socks6Error as error:
        raise getattr(library, _NAMES[failure_of(error)])(str(error)) from error
    except TimeoutError as error:
        raise library.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise library.ConnectError(str(error)) from error


@contextmanager
def stream_failures(library: ModuleType, verb: str) -> Iterator[None]:
    """Raise the library's own exceptions of a connection that breaks: `verb` is Read or Write."""
    try:
        yield
    except TimeoutError as error:
        raise getattr(library, f"{verb}Timeout")(str(error)) from error
    except OSError as error:
        raise getattr(library, f"{verb}Error")(str(error)) from error


class StreamBase:
    """httpcore's NetworkStream over a socket through a proxy."""

    library: ClassVar[ModuleType]

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what arrives next; b"" at the end. Raises ReadTimeout, ReadError."""
        with stream_failures(self.library, "Read"):
            self._socket.settimeout(timeout)
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of the bytes. Raises WriteTimeout, WriteError."""
        with stream_failures(self.library, "Write"):
            self._socket.settimeout(timeout)
            self._socket.sendall(buffer)

    def close(self) -> None:
        """Close; what was written is delivered."""
        self._socket.close()

    def _encrypt(self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None) -> None:
        with connect_failures(self.library), on_failure(self._socket.close):
            self._socket.settimeout(timeout)
            self._socket = context.wrap_socket(self._socket, server_hostname=server_hostname)

    def get_extra_info(self, info: str) -> object:
        """Return what httpcore and its users ask for."""
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
            case "socket":
                return self._socket
            case "is_readable":
                return _is_readable(self._socket)
            case _:
                return None


class BackendBase:
    """httpcore's NetworkBackend, whose connections go through a proxy."""

    library: ClassVar[ModuleType]

    def __init__(self, proxy: str | ProxyUrl | SyncClient) -> None:
        """`proxy` is a URL, or a `socks6.sync.Client` that its maker closes. Raises ConfigurationError for an impossible URL."""
        self._own = not isinstance(proxy, SyncClient)
        self._client = proxy if isinstance(proxy, SyncClient) else SyncClient(proxy)

    def _connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """Connect to a host. Raises ConnectTimeout, ConnectError of the remote host's, ProxyError."""
        with connect_failures(self.library):
            return self._client.connect(host, port, timeout=timeout)

    def sleep(self, seconds: float) -> None:
        """Wait, between two attempts to connect."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the client that a URL was made into. Connections of a pool are closed with the pool, before."""
        if self._own:
            self._client.close()


class AsyncStreamBase:
    """httpcore's AsyncNetworkStream over a `ProxiedStream`."""

    library: ClassVar[ModuleType]

    def __init__(self, stream: ProxiedStream) -> None:
        self._stream = stream
        self._tls: ssl.SSLObject | None = None
        self._peeked: bytes | None = None  # received to learn that there was something

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what arrives next; b"" at the end. Raises ReadTimeout, ReadError."""
        if self._peeked is not None:
            data, self._peeked = self._peeked[:max_bytes], self._peeked[max_bytes:] or None
            return data
        with stream_failures(self.library, "Read"):
            async with asyncio.timeout(timeout):
                return await self._stream.receive(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of the bytes. Raises WriteTimeout, WriteError."""
        with stream_failures(self.library, "Write"):
            async with asyncio.timeout(timeout):
                await self._stream.send(buffer)

    async def aclose(self) -> None:
        """Close; what was written is delivered."""
        await self._stream.aclose()

    async def _encrypt(
        self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None
    ) -> None:
        with connect_failures(self.library):
            async with asyncio.timeout(timeout):
                self._tls = await self._stream.start_tls(context, server_hostname)

    def get_extra_info(self, info: str) -> object:
        """Return what httpcore and its users ask for; `server_addr` is the remote host, as far as it is known here."""
        match info:
            case "ssl_object":
                return self._tls
            case "client_addr":
                return tuple(self._stream.bound)
            case "server_addr":
                return tuple(self._stream.peer)
            case "socket":
                return self._stream.raw_socket
            case "is_readable":
                return self._is_readable()
            case _:
                return None

    def _is_readable(self) -> bool:
        """Return whether bytes have come, or the end, without a request: then httpcore connects anew."""
        if self._peeked is None:
            try:
                self._peeked = self._stream.receive_nowait(65536)
            except OSError:
                return True
        return self._peeked is not None


class AsyncBackendBase:
    """httpcore's AsyncNetworkBackend, whose connections go through a proxy. Needs asyncio."""

    library: ClassVar[ModuleType]

    def __init__(self, proxy: AnyProxy) -> None:
        """`proxy` is a URL, or a `Client` that its maker closes. Raises ConfigurationError for an impossible URL."""
        self._client = AdapterClient(proxy)

    async def _connect(self, host: str, port: int, timeout: float | None) -> ProxiedStream:
        """Connect to a host. Raises ConnectTimeout, ConnectError of the remote host's, ProxyError."""
        client = await self._client.enter()
        with connect_failures(self.library):
            return await client.connect(host, port, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        """Wait, between two attempts to connect."""
        await asyncio.sleep(seconds)

    async def aclose(self) -> None:
        """Close the client that a URL was made into. Connections of a pool are closed with the pool, before."""
        await self._client.aclose()


class Limits(Protocol):
    """What a pool may hold: `httpx.Limits`."""

    max_connections: int | None
    max_keepalive_connections: int | None
    keepalive_expiry: float | None


@contextmanager
def http_failures(library: ModuleType) -> Iterator[None]:
    """Raise the library's exception for httpcore's: they have the same names. What is ours is its cause."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            mapped = getattr(library, kind.__name__, None)
            if mapped is not None and kind.__module__.startswith("httpcore"):
                ours = error.__context__  # which httpcore's pool has hidden: it raises `from None`
                raise mapped(str(error)) from (ours if isinstance(ours, Socks6Error | OSError) else error)
        raise


def pool_settings(
    library: ModuleType,
    *,
    verify: ssl.SSLContext | str | bool,
    cert: Certificate | None,
    trust_env: bool,
    http1: bool,
    http2: bool,
    limits: Limits | None,
    retries: int,
) -> dict[str, Any]:
    """Return what a pool of httpcore is made with."""
    limits = limits or library.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS
    )
    return {
        "ssl_context": library.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env),
        "max_connections": limits.max_connections,
        "max_keepalive_connections": limits.max_keepalive_connections,
        "keepalive_expiry": limits.keepalive_expiry,
        "http1": http1,
        "http2": http2,
        "retries": retries,
    }


def core_request(core: ModuleType, request: Any) -> Any:  # of one library or the other
    """Return httpcore's request for one of httpx."""
    url = request.url
    return core.Request(
        method=request.method,
        url=core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _is_readable(sock: socket.socket) -> bool:
    """Return whether bytes have come, or the end, without a request: then httpcore connects anew."""
    if sock.fileno() < 0:
        return True
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


class BodyBase:
    """The body of a response, as it arrives."""

    library: ClassVar[ModuleType]

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces. Raises ReadError, ReadTimeout, RemoteProtocolError."""
        with http_failures(self.library):
            yield from self._stream

    def close(self) -> None:
        """Give the connection back to the pool, or close it where the body was not read whole."""
        if hasattr(self._stream, "close"):
            self._stream.close()


class AsyncBodyBase:
    """The body of a response, as it arrives."""

    library: ClassVar[ModuleType]

    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces. Raises ReadError, ReadTimeout, RemoteProtocolError."""
        with http_failures(self.library):
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        """Give the connection back to the pool, or close it where the body was not read whole."""
        if hasattr(self._stream, "aclose"):
            await self._stream.aclose()


class AsyncTransportBase:
    """httpx's AsyncBaseTransport through a proxy."""

    library: ClassVar[ModuleType]
    core: ClassVar[ModuleType]
    backend: ClassVar[type[AsyncBackendBase]]
    body: ClassVar[type[AsyncBodyBase]]

    def __init__(
        self,
        proxy: AnyProxy,
        *,
        verify: ssl.SSLContext | str | bool = True,
        cert: Certificate | None = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Limits | None = None,
        retries: int = 0,
    ) -> None:
        """`proxy` is a URL, or a `Client` that its maker closes; the rest is as with `AsyncHTTPTransport`."""
        self._backend = self.backend(proxy)
        settings = pool_settings(
            self.library,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            http1=http1,
            http2=http2,
            limits=limits,
            retries=retries,
        )
        self._pool = self.core.AsyncConnectionPool(network_backend=self._backend, **settings)

    async def _respond(self, request: Any) -> Any:  # of one library or the other
        with http_failures(self.library):
            answer = await self._pool.handle_async_request(core_request(self.core, request))
        return self.library.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=self.body(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close the connections, and the client that a URL was made into."""
        with http_failures(self.library):
            await self._pool.aclose()
        await self._backend.aclose()


class TransportBase:
    """httpx's BaseTransport through a proxy."""

    library: ClassVar[ModuleType]
    core: ClassVar[ModuleType]
    backend: ClassVar[type[BackendBase]]
    body: ClassVar[type[BodyBase]]

    def __init__(
        self,
        proxy: str | ProxyUrl | SyncClient,
        *,
        verify: ssl.SSLContext | str | bool = True,
        cert: Certificate | None = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Limits | None = None,
        retries: int = 0,
    ) -> None:
        """`proxy` is a URL, or a `socks6.sync.Client` that its maker closes; the rest is as with `HTTPTransport`."""
        self._backend = self.backend(proxy)
        settings = pool_settings(
            self.library,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            http1=http1,
            http2=http2,
            limits=limits,
            retries=retries,
        )
        self._pool = self.core.ConnectionPool(network_backend=self._backend, **settings)

    def _respond(self, request: Any) -> Any:  # of one library or the other
        with http_failures(self.library):
            answer = self._pool.handle_request(core_request(self.core, request))
        return self.library.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=self.body(answer.stream),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connections, and the client that a URL was made into."""
        with http_failures(self.library):
            self._pool.close()
        self._backend.close()
