"""The HTTP server of metrics: what it answers, and what it does not put up with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.net.stream import Endpoint
from socks6.observability import metrics_server
from socks6.observability.metrics import Metrics
from socks6.observability.metrics_server import MetricsServer
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run

LOCAL = Endpoint("127.0.0.1", 0)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, ServerWorker]]:
    """Serve the metrics of an idle proxy; give the port."""
    metrics = Metrics()
    worker = ServerWorker(observers=[metrics])
    async with MetricsServer(LOCAL, metrics, worker) as server:
        (url,) = server.urls
        host, _, rest = url.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        yield int(rest.removesuffix("/metrics")), worker


async def asked(port: int, request: bytes) -> bytes:
    """Return all that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def test_prometheus_gets_the_format_that_it_asks_for(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (port, _):
            plain = await asked(port, get("/metrics?x=1"))
            assert plain.startswith(b"HTTP/1.1 200 ")
            assert b"Content-Type: text/plain; version=0.0.4" in plain
            assert b"\nsocks6_limits_reached_total 0.0\n" in plain
            openmetrics = await asked(
                port, get("/metrics", "Accept: application/openmetrics-text;version=1.0.0")
            )
            assert b"Content-Type: application/openmetrics-text; version=1.0.0" in openmetrics
            assert openmetrics.endswith(b"# EOF\n")
            head, _, body = (await asked(port, get("/metrics", method="HEAD"))).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert not body

    run(scene())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), b"404"),
        (get("/metrics", method="POST"), b"405"),
        (b"\x06\x01\x00\x00rubbish\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + 20_000 * b"y", b"431"),
    ],
)
def test_anything_else_is_refused(run: Run, request_: bytes, status: bytes) -> None:
    async def scene() -> None:
        async with serving() as (port, _):
            assert (await asked(port, request_))[:13] == b"HTTP/1.1 " + status + b" "

    run(scene())


def test_who_is_silent_or_one_too_many_is_let_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "SECONDS", 0.05)
    monkeypatch.setattr(metrics_server, "MAX_CLIENTS", 1)

    async def scene() -> None:
        async with serving() as (port, _):
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await asked(port, b"") == b""
            assert await silent.read() == b""
            writer.close()
            assert (await asked(port, get("/metrics"))).startswith(b"HTTP/1.1 200 ")

    run(scene())


def test_the_proxys_clients_are_not_led_there(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (port, worker):
            assert worker.machine.listeners.at(port, udp=False)
        assert not worker.machine.listeners.at(port, udp=False)

    run(scene())


def test_a_place_that_is_taken_is_named(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (port, worker):
            with pytest.raises(OSError, match=f"cannot serve metrics at 127.0.0.1:{port}: "):
                await MetricsServer(Endpoint("127.0.0.1", port), Metrics(), worker).__aenter__()

    run(scene())
