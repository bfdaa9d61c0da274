"""The users database by REST."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from socks6.admin.app import Guard, create_app
from socks6.admin.events import EventFeed
from socks6.admin.openapi import document
from socks6.admin.users import users_routes
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.chain import AuthenticatorChain
from socks6.proxy.authentication.database_users import DatabaseUsers
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.authentication.users_database import UsersDatabase
from socks6.proxy.worker import ServerWorker
from tests.kit.admin import bridge_of
from tests.kit.loops import Run

PASSWORD = "correct horse battery"


@asynccontextmanager
async def asked(authenticator: Authenticator | None) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the interface of a proxy with these users."""
    bridge = bridge_of(ServerWorker(authenticator=authenticator))
    app: Starlette = create_app(bridge, EventFeed(bridge), users_routes(bridge))
    transport = httpx.ASGITransport(app=Guard(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1") as client:
        yield client


def database_in(folder: Path) -> UsersDatabase:
    database = UsersDatabase(folder / "users.db", create=True)
    database.add("alice", {"password": PASSWORD})
    return database


def checked(user: Any) -> Any:
    """Return a user that is as the document says."""
    properties = document()["components"]["schemas"]["User"]["properties"]
    assert set(user) == {name for name, schema in properties.items() if not schema.get("writeOnly")}
    return user


@pytest.mark.parametrize("alone", [True, False])
def test_users_are_added_read_changed_and_removed(run: Run, tmp_path: Path, alone: bool) -> None:
    async def scene() -> None:
        database = database_in(tmp_path)
        users = DatabaseUsers(database)
        async with asked(users if alone else AuthenticatorChain([UserTable({}), users])) as client:
            new = {
                "name": "bob/builder",
                "password": PASSWORD,
                "quota": "10M",
                "sources": ["192.0.2.0/24"],
                "note": "x",
            }
            added = await client.post("/users", json=new)
            assert added.status_code == 201
            bob = checked(added.json())
            assert (bob["quota"], bob["sources"], bob["enabled"]) == (10_000_000, ["192.0.2.0/24"], True)
            assert checked((await client.get("/users/bob%2Fbuilder")).json()) == bob
            changed = await client.patch("/users/bob%2Fbuilder", json={"quota": None, "enabled": False})
            assert (checked(changed.json())["quota"], changed.json()["enabled"]) == (0, False)
            listed = (await client.get("/users", params={"after": "alice"})).json()
            assert ([user["name"] for user in listed["users"]], listed["total"]) == (["bob/builder"], 2)
            assert (await client.get("/users?limit=1")).json()["users"][0]["name"] == "alice"
            removed = await client.delete("/users/bob%2Fbuilder")
            assert removed.json() == {"removed": "bob/builder"}
            assert len(database) == 1
        database.close()

    run(scene())


@pytest.mark.parametrize(
    ("asking", "body", "status"),
    [
        ("GET /users/nobody", None, 404),
        ("PATCH /users/nobody", {"note": "x"}, 404),
        ("DELETE /users/nobody", None, 404),
        ("POST /users", {"name": "alice", "password": PASSWORD}, 409),
        ("POST /users", {"name": "bob"}, 400),
        ("POST /users", {"password": PASSWORD}, 400),
        ("POST /users", {"name": 7, "password": PASSWORD}, 400),
        ("PATCH /users/alice", {"quota": "much"}, 400),
        ("PATCH /users/alice", {"created": "yesterday"}, 400),
        ("PATCH /users/alice", {"password": 7}, 400),
        ("GET /users?limit=0", None, 400),
        ("GET /users?limit=x", None, 400),
    ],
)
def test_what_cannot_be_is_refused(run: Run, tmp_path: Path, asking: str, body: object, status: int) -> None:
    async def scene() -> None:
        database = database_in(tmp_path)
        async with asked(DatabaseUsers(database)) as client:
            answer = await client.request(*asking.split(), json=body)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        assert [record.name for record in database.list()] == ["alice"]
        database.close()

    run(scene())


def test_without_a_database_there_is_none(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        async with asked(UserTable({})) as client:
            answer = await client.get("/users")
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                "there is no users database (--users-db)",
            )
        database_in(tmp_path).close()
        users = DatabaseUsers(UsersDatabase(tmp_path / "users.db"))
        users.database.close()
        (tmp_path / "users.db").unlink()
        async with asked(users) as client:
            assert (await client.get("/users")).status_code == 503

    run(scene())
