"""httpx through a proxy: `httpx.AsyncClient(transport=AsyncTransport(URL))`, `httpx.Client(transport=Transport(URL))`."""

from typing import ClassVar

from socks6.adapters.base import missing
from socks6.adapters.http_base import AsyncBodyBase, AsyncTransportBase, BodyBase, TransportBase
from socks6.compat import override

try:
    import httpcore
    import httpx
except ImportError as error:
    raise missing("httpx", "httpx") from error

from socks6.adapters.httpcore import AsyncBackend, Backend


class _Body(BodyBase, httpx.SyncByteStream):
    library: ClassVar = httpx


class _AsyncBody(AsyncBodyBase, httpx.AsyncByteStream):
    library: ClassVar = httpx


class AsyncTransport(AsyncTransportBase, httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` through a proxy, which resolves the names. Needs asyncio.

    Raises what httpx's own transport does: ConnectError of the remote host's, ProxyError of the proxy's, ConnectTimeout of
    either's. Their `__cause__` leads to ours.
    """

    library: ClassVar = httpx
    core: ClassVar = httpcore
    backend: ClassVar = AsyncBackend
    body: ClassVar = _AsyncBody

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, whose body is still to come."""
        response: httpx.Response = await self._respond(request)
        return response


class Transport(TransportBase, httpx.BaseTransport):
    """Sends the requests of an `httpx.Client` through a proxy. Raises as `AsyncTransport` does."""

    library: ClassVar = httpx
    core: ClassVar = httpcore
    backend: ClassVar = Backend
    body: ClassVar = _Body

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, whose body is still to come."""
        response: httpx.Response = self._respond(request)
        return response
