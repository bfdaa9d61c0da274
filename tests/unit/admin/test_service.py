"""The admin interface's listeners: they cost nothing before a client comes, and then a thread."""

import asyncio
import os
import threading
from pathlib import Path

import httpx
import pytest

from socks6.admin.listeners import HttpListener
from socks6.admin.service import AdminService, is_installed
from tests.kit.admin import bridge_of
from tests.kit.loops import Run

TOKEN = "a-token-of-those-who-may"


def of_admin() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "socks6 admin"]


def test_a_thread_begins_with_the_first_client_and_ends_with_the_service(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        path = tmp_path / "admin.sock"
        http = HttpListener(host="127.0.0.1", port=0, token=TOKEN)
        async with AdminService(bridge_of(), path=str(path), http=http) as service:
            assert path.stat().st_mode & 0o777 == 0o600
            assert not of_admin()
            unix, place = service.urls
            assert unix == f"unix://{path}"
            async with httpx.AsyncClient(base_url=place, trust_env=False) as client:
                assert (await client.get("/api/v1/status")).status_code == 401
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                assert (await client.get("/api/v1/status")).json()["listeners"] == ["socks6://127.0.0.1:1080"]
            assert len(of_admin()) == 1
        assert not of_admin()
        assert not path.exists()

    run(play())


def test_a_socket_that_is_used_is_left_and_a_stale_one_replaced(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        path = str(tmp_path / "admin.sock")
        async with AdminService(bridge_of(), path=path):
            with pytest.raises(OSError, match="in use"):
                await AdminService(bridge_of(), path=path).__aenter__()
            os.rename(path, path + ".stale")
        os.rename(path + ".stale", path)
        async with AdminService(bridge_of(), path=path) as service:
            assert service.urls == (f"unix://{path}",)
        async with AdminService(bridge_of(), path=path, asked_for=False) as service:
            assert service.urls == ()
            async with AdminService(bridge_of(), path=path, asked_for=False):
                pass
        assert is_installed()
        await asyncio.sleep(0)

    run(play())
