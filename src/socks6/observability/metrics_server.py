"""Serves metrics over HTTP, where Prometheus reads them: one answer a connection, within bounds."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

import h11
from prometheus_client.exposition import choose_encoder

from socks6.net.sockets import endpoint
from socks6.net.stream import Endpoint
from socks6.observability.metrics import Metrics
from socks6.proxy.context import ProxyContext

PATH: Final = "/metrics"
MAX_HEAD: Final = 16_384  # bytes of a request
MAX_CLIENTS: Final = 16  # at a time; others are closed at once
SECONDS: Final = 10.0  # for a request and its answer


class MetricsServer:
    """Listens, and answers with the metrics of `proxy`, whose loop it runs in.

    ::

        async with MetricsServer(Endpoint("127.0.0.1", 9106), metrics, worker) as server:
            print(server.urls)

    The proxy's own clients are not connected to it.
    """

    def __init__(self, place: Endpoint, metrics: Metrics, proxy: ProxyContext) -> None:
        self._place: Final = place
        self._metrics: Final = metrics
        self._proxy: Final = proxy
        self._clients = 0
        self._server: asyncio.Server | None = None
        self._places: tuple[Endpoint, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the metrics are, with real ports."""
        hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in self._places)
        return tuple(f"http://{host}:{port}{PATH}" for host, port in hosts)

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError."""
        self._metrics.attach(self._proxy)
        host, port = self._place
        try:
            self._server = await asyncio.start_server(self._serve, host or None, port, limit=MAX_HEAD)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot serve metrics at {host}:{port}: {error.strerror or error}"
            ) from error
        self._places = tuple(endpoint(sock.getsockname()) for sock in self._server.sockets)
        for place in self._places:
            self._proxy.machine.listeners.add(place, udp=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; requests that are under way are given up."""
        for place in self._places:
            self._proxy.machine.listeners.remove(place, udp=False)
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(SECONDS):
                    if self._clients <= MAX_CLIENTS:
                        await self._answer(reader, writer)
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await reader.read(MAX_HEAD))
        except h11.RemoteProtocolError as error:
            writer.write(_response(http, None, error.error_status_hint, b"text/plain", b"no HTTP request\n"))
            await writer.drain()
            return
        if not isinstance(event, h11.Request):
            return
        path = event.target.decode("ascii").partition("?")[0]
        if event.method not in {b"GET", b"HEAD"}:
            answer = _response(http, event, 405, b"text/plain", b"GET alone\n")
        elif path != PATH:
            answer = _response(http, event, 404, b"text/plain", f"metrics are at {PATH}\n".encode())
        else:
            accepted = ",".join(value.decode("latin-1") for name, value in event.headers if name == b"accept")
            encode, kind = choose_encoder(accepted)
            # the loop's part is short; writing thousands of lines is not
            body = await asyncio.to_thread(encode, self._metrics.scrape(self._proxy))
            answer = _response(http, event, 200, kind.encode(), body)
        writer.write(answer)
        await writer.drain()


def _response(
    http: h11.Connection, request: h11.Request | None, status: int, kind: bytes, body: bytes
) -> bytes:
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
    ]
    head = http.send(h11.Response(status_code=status, headers=headers)) or b""
    return head if request is not None and request.method == b"HEAD" else head + body
