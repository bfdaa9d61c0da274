"""The admin interface's requests and answers, and who may ask."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from socks6.admin.app import UNIX, Guard, create_app, read_json
from socks6.admin.events import EventFeed
from socks6.admin.proxy import Reload
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import SessionOpened
from tests.kit.admin import bridge_of, connected, nothing_wrong
from tests.kit.loops import Run

API = "/api/v1"
TOKEN = "a-token-of-those-who-may"


@asynccontextmanager
async def asked(
    worker: ServerWorker | None = None, *, token: str | None = None, reload: Reload = nothing_wrong
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the interface, by the Unix socket unless there is a token."""
    bridge = bridge_of(worker, reload=reload)
    app = create_app(bridge, EventFeed(bridge), [Route("/echo", echo, methods=["POST"]), Route("/", echo)])
    guard = Guard(app, token=token, names=("admin.example",))
    transport = httpx.ASGITransport(
        app=guard, raise_app_exceptions=False, client=("192.0.2.1", 1) if token else (UNIX, 0)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(await read_json(request))


async def problem(answer: Awaitable[httpx.Response]) -> tuple[int, str]:
    """Return what is wrong with a request."""
    response = await answer
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    return response.status_code, found["detail"]


def test_connections_are_listed_filtered_and_ended(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        connections = [
            connected(worker, user, command) for user, command in (("alice", 1), ("bob", 2), ("", 3))
        ]
        connections[1].source = "::ffff:192.0.2.7"  # type: ignore[misc]  # as if it came from there
        async with asked(worker) as client:

            async def ids(path: str) -> list[int]:
                answer = await client.get(API + path)
                assert answer.status_code == 200
                return [row["id"] for rows in answer.json().values() for row in rows]

            assert await ids("/connections") == [1, 2, 3]
            assert await ids("/connections?user=alice") == [1]
            assert await ids("/connections?user=") == [3]
            assert await ids("/connections?source=192.0.2.0/24") == [2]
            assert await ids("/connections?source=unix") == [1, 3]
            assert await ids("/associations") == [3]
            assert await ids("/bindings") == [2]
            assert (await client.get(f"{API}/sessions")).json() == {"sessions": []}
            assert (await client.get(f"{API}/status")).json()["connections"] == 3
            assert (await client.delete(f"{API}/connections/1?reason=abuse")).json() == {"ended": [1]}
            assert connections[0].reason == "by root: abuse"
            assert (await client.delete(f"{API}/connections?source=192.0.2.7")).json() == {"ended": [2]}
            assert (await client.delete(f"{API}/connections?user=nobody")).json() == {"ended": []}

    run(play())


def test_what_cannot_be_meant_is_a_problem(run: Run) -> None:
    async def play() -> None:
        async def broken() -> str:
            return "users: no such file"

        async with asked(reload=broken) as client:
            assert await problem(client.get(f"{API}/connections?source=x")) == (
                400,
                "source: 'x' is no address, no network and not unix",
            )
            for path, method, status in (
                ("/connections?limit=3", "GET", 400),
                ("/connections", "DELETE", 400),
                ("/connections/7", "DELETE", 404),
                (f"/connections/{'7' * 5000}", "DELETE", 404),  # more digits than Python takes for a number
                (f"/connections/7?reason={'x' * 201}", "DELETE", 400),
                ("/connections/7?reason=%0a", "DELETE", 400),
                ("/penalties/192.0.2.1", "DELETE", 404),
                ("/penalties/nonsense", "DELETE", 400),
                ("/events?kinds=Nonsense", "GET", 400),
                ("/status", "POST", 405),
                ("/nowhere", "GET", 404),
            ):
                found, _ = await problem(client.request(method, API + path))
                assert (path, found) == (path, status)
            assert await problem(client.post(f"{API}/reload")) == (
                409,
                "nothing has changed: users: no such file",
            )
            assert (await client.get(f"{API}/openapi.json")).json()["openapi"] == "3.1.0"
        async with asked() as client:
            assert (await client.post(f"{API}/reload")).json() == {"reloaded": True}
            assert (await client.get(f"{API}/penalties")).json() == {"penalties": []}

    run(play())


def test_a_fault_of_ours_is_logged_and_hidden(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async def faulty() -> str:
            raise KeyError("secret")

        async with asked(reload=faulty) as client:
            status, words = await problem(client.post(f"{API}/reload"))
            assert (status, "secret" in words) == (500, False)

    run(play())
    assert "secret" in caplog.text


def test_a_body_is_a_json_object_and_short(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.admin.app.BODY_SECONDS", 0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(10)

    async def play() -> None:
        async with asked() as client:
            assert (await client.post("/echo", json={"a": 1})).json() == {"a": 1}
            for body, status in ((b"[]", 400), (b"\xff", 400), (b"[" * 60_000, 400), (bytes(70_000), 413)):
                assert (await problem(client.post("/echo", content=body)))[0] == status
            assert (await problem(client.post("/echo", content=never())))[0] == 408

    run(play())


def test_those_without_the_token_wait_and_learn_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.admin.app.WRONG_TOKEN_SECONDS", 0.1)

    async def play() -> None:
        async with asked(token=TOKEN) as client:
            ours = {"Authorization": f"Bearer {TOKEN}"}
            assert (await client.get(f"{API}/status", headers=ours)).status_code == 200
            assert (await problem(client.get(f"{API}/status")))[0] == 401
            assert (await problem(client.get(f"{API}/nowhere")))[0] == 401
            began = time.monotonic()
            for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}"):
                answer = await client.get(f"{API}/status", headers={"Authorization": wrong})
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == 'Bearer realm="socks6"'
            assert time.monotonic() - began > 0.29

    run(play())


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Host": "evil.example"}, "/status", 421),
        ({"Host": "evil.example:8390"}, "/status", 421),
        ({"Host": "admin.example"}, "/status", 200),
        ({"Host": "[::1]:8390"}, "/status", 200),
        ({"Origin": "http://evil.example"}, "/status", 403),
        ({"Origin": "null"}, "/status", 403),
        ({"Origin": "http://localhost"}, "/status", 200),
        ({"Sec-Fetch-Site": "cross-site"}, "/status", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/status", 403),
        ({"Sec-Fetch-Site": "same-origin"}, "/status", 200),
    ],
)
def test_other_sites_and_other_names_are_refused(
    run: Run, headers: dict[str, str], path: str, status: int
) -> None:
    async def play() -> None:
        async with asked(token=TOKEN) as client:
            ours = {"Authorization": f"Bearer {TOKEN}", **headers}
            answer = await client.get(API + path, headers=ours)
            assert answer.status_code == status
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]

    run(play())


def test_events_are_streamed(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        bridge = bridge_of(worker)
        app = create_app(bridge, EventFeed(bridge))
        came: asyncio.Queue[str] = asyncio.Queue()
        scope = {
            "type": "http", "method": "GET", "path": f"{API}/events", "query_string": b"kinds=SessionOpened",
            "headers": [(b"last-event-id", b"9" * 5000)], "asgi": {"spec_version": "2.3"},
        }  # fmt: skip
        left = asyncio.Event()

        async def receive() -> dict[str, str]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            came.put_nowait(str(message.get("body", b""), "utf-8") if "body" in message else "")

        serving = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]  # as ASGI has them
        assert [await came.get(), await came.get()] == ["", ": follows\n\n"]
        worker.events.observe(SessionOpened(id=1, user="alice"))
        assert "event: SessionOpened" in await came.get()
        left.set()
        await serving
        await asyncio.sleep(0)
        assert not worker.events.wanted

    run(play())
