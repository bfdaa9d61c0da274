"""httpx2 through a proxy: `httpx2.AsyncClient(transport=AsyncTransport(URL))`, `httpx2.Client(transport=Transport(URL))`."""

from typing import ClassVar

from socks6.adapters.base import missing
from socks6.adapters.http_base import AsyncBodyBase, AsyncTransportBase, BodyBase, TransportBase
from socks6.compat import override

try:
    import httpcore2
    import httpx2
except ImportError as error:
    raise missing("httpx2", "httpx2") from error

from socks6.adapters.httpcore2 import AsyncBackend, Backend


class _Body(BodyBase, httpx2.SyncByteStream):
    library: ClassVar = httpx2


class _AsyncBody(AsyncBodyBase, httpx2.AsyncByteStream):
    library: ClassVar = httpx2


class AsyncTransport(AsyncTransportBase, httpx2.AsyncBaseTransport):
    """Sends the requests of an `httpx2.AsyncClient` through a proxy, which resolves the names. Needs asyncio.

    Raises what httpx2's own transport does: ConnectError of the remote host's, ProxyError of the proxy's, ConnectTimeout of
    either's. Their `__cause__` leads to ours.
    """

    library: ClassVar = httpx2
    core: ClassVar = httpcore2
    backend: ClassVar = AsyncBackend
    body: ClassVar = _AsyncBody

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return the response, whose body is still to come."""
        response: httpx2.Response = await self._respond(request)
        return response


class Transport(TransportBase, httpx2.BaseTransport):
    """Sends the requests of an `httpx2.Client` through a proxy. Raises as `AsyncTransport` does."""

    library: ClassVar = httpx2
    core: ClassVar = httpcore2
    backend: ClassVar = Backend
    body: ClassVar = _Body

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return the response, whose body is still to come."""
        response: httpx2.Response = self._respond(request)
        return response
