"""httpcore's pools connect through a proxy, and know what a stream is like."""

import asyncio

import httpcore
import pytest

from socks6 import Client
from socks6.adapters.httpcore import AsyncBackend, AsyncStream, Backend
from tests.kit.adapted import Adapted
from tests.kit.origins import echo


def test_a_pool_fetches(world: Adapted) -> None:
    async def main() -> None:
        backend = AsyncBackend(world.url("socks6+tls"))
        async with httpcore.AsyncConnectionPool(
            ssl_context=world.site.trusting(), network_backend=backend
        ) as pool:
            for _ in range(2):
                response = await pool.request("GET", f"{world.site.url}/version")
                assert response.content == b"1.1"
            assert len(pool.connections) == 1
        await backend.aclose()

    asyncio.run(main())


def test_what_a_stream_knows(world: Adapted) -> None:
    async def main() -> None:
        async with Client(world.url("socks6")) as client:
            backend = AsyncBackend(client)
            stream = await backend.connect_tcp(place.host, place.port)
            assert isinstance(stream, AsyncStream)
            assert stream.get_extra_info("server_addr") == (place.host, place.port)
            assert stream.get_extra_info("socket") is not None
            assert stream.get_extra_info("ssl_object") is None
            assert not stream.get_extra_info("is_readable")
            await stream.write(b"hello ")
            assert await stream.read(1) == b"h"  # so the rest is there
            assert stream.get_extra_info("is_readable")
            assert await stream.read(2) == b"el"
            assert await stream.read(100) == b"lo "
            assert not stream.get_extra_info("is_readable")
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=0.01)
            await stream.write(b"x", timeout=1)
            assert await stream.read(1) == b"x"
            await stream.aclose()
            assert stream.get_extra_info("is_readable")
            with pytest.raises(httpcore.ReadError):
                await stream.read(1)
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"x")
            with pytest.raises(httpcore.ConnectError, match="Unix"):
                await backend.connect_unix_socket("/tmp/x")

    with echo() as place:
        asyncio.run(main())


def test_tls_failures_are_httpcores(world: Adapted) -> None:
    async def main() -> None:
        backend = AsyncBackend(world.url("socks6"))
        with echo() as place:
            stream = await backend.connect_tcp(place.host, place.port)
            with pytest.raises(httpcore.ConnectError):
                await stream.start_tls(world.site.trusting(), "localhost")
        with pytest.raises(httpcore.ConnectTimeout):
            await backend.connect_tcp(world.silent.host, world.silent.port, timeout=0.1)
        await backend.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["socks6", "socks6+quic"])
def test_blocking_streams(world: Adapted, kind: str) -> None:
    backend = Backend(world.url(kind))
    with httpcore.ConnectionPool(ssl_context=world.site.trusting(), network_backend=backend) as pool:
        for _ in range(2):
            assert pool.request("GET", f"{world.site.url}/version").content == b"1.1"
        assert len(pool.connections) == 1
    with echo() as place:
        stream = backend.connect_tcp(place.host, place.port)
        assert stream.get_extra_info("server_addr")
        assert stream.get_extra_info("ssl_object") is None
        stream.write(b"hello")
        assert stream.read(1) == b"h"
        assert stream.get_extra_info("is_readable")
        assert stream.read(100) == b"ello"
        assert not stream.get_extra_info("is_readable")
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout=0.01)
        with pytest.raises(httpcore.ConnectError):
            stream.start_tls(world.site.trusting(), "localhost")
        assert stream.get_extra_info("is_readable")
    with pytest.raises(httpcore.ConnectTimeout):
        backend.connect_tcp(world.silent.host, world.silent.port, timeout=0.1)
    with pytest.raises(httpcore.ConnectError, match="Unix"):
        backend.connect_unix_socket("/tmp/x")
    backend.close()
