"""HTTP of the admin interface: bounds on connections and slow clients, users of the Unix socket, TLS."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from socks6.admin import web
from socks6.admin.listeners import HttpListener
from socks6.admin.service import AdminService
from socks6.admin.web import CONNECTIONS, peer_of
from tests.kit.admin import bridge_of
from tests.kit.certificates import certificate
from tests.kit.loops import Run

TOKEN = "a-token-of-those-who-may"
REQUEST = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.asynccontextmanager
async def socket_of(tmp_path: Path) -> AsyncIterator[str]:
    path = str(tmp_path / "admin.sock")
    async with AdminService(bridge_of(), path=path):
        yield path


async def answered(path: str, request: bytes) -> bytes:
    """Return what comes until the connection is closed, or the first piece of an answer."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:  # uvloop's, of a connection that is closed already
        return b""
    try:
        writer.write(request)
        return await reader.read(4096)
    except OSError:
        return b""
    finally:
        writer.close()


def test_users_of_the_socket_are_told_by_the_kernel(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == os.geteuid()

    async def play() -> None:
        async with socket_of(tmp_path) as path:
            assert (await answered(path, REQUEST)).startswith(b"HTTP/1.1 200")
            monkeypatch.setattr(web, "peer_of", lambda _: 65_534)
            assert await answered(path, REQUEST) == b""

    run(play())


def test_slow_and_broken_clients_are_left_and_there_are_so_many(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.2)

    async def play() -> None:
        async with socket_of(tmp_path) as path:
            assert await answered(path, REQUEST[:-2]) == b""
            monkeypatch.setattr(web, "HEAD_SECONDS", 10.0)
            assert (await answered(path, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")
            assert (await answered(path, b"GET /" + b"x" * 40_000)).startswith(b"HTTP/1.1 400")
            held = [await asyncio.open_unix_connection(path) for _ in range(CONNECTIONS)]
            for _, writer in held:
                writer.write(REQUEST)
            for reader, _ in held:
                assert await reader.read(20)
            assert await answered(path, REQUEST) == b""
            for _, writer in held:
                writer.close()

    run(play())


def test_connections_end_with_the_interface(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        async with socket_of(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(REQUEST)
            assert await reader.read(20)
        async with asyncio.timeout(5):
            with contextlib.suppress(OSError):
                await reader.read()
        writer.close()

    run(play())


def test_one_that_takes_nothing_is_left(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SLOW_SECONDS", 0.2)

    async def play() -> None:
        async with socket_of(tmp_path) as path:
            _, writer = await asyncio.open_unix_connection(path, limit=1024)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it
            with pytest.raises(OSError):  # noqa: PT011, PT012 - whichever, it is over
                while True:
                    writer.write(REQUEST * 100)
                    await writer.drain()
                    await asyncio.sleep(0)
            writer.close()

    run(play())


def test_over_tls_the_newest_certificate_counts(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            http = HttpListener(host="127.0.0.1", port=0, token=TOKEN, tls=files.server)
            async with AdminService(bridge_of(), path="", http=http) as service:
                (url,) = service.urls
                assert url.startswith("https://127.0.0.1:")
                context = ssl.create_default_context(cafile=files.ca)
                async with httpx.AsyncClient(
                    verify=context, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
                ) as client:
                    answer = await client.get(f"{url.replace('127.0.0.1', 'localhost')}/api/v1/status")
                    assert answer.status_code == 200

    run(play())
