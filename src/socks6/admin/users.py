"""The users of the proxy's database, for the admin interface: read, added, changed and removed.

A change acts at once, on open connections too: the proxy looks for changes each second, whoever makes them. Passwords go in, and
nothing of them comes out.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from socks6.admin.app import InvalidRequest, read_json
from socks6.admin.proxy import ProxyBridge
from socks6.admin.settings import PREFIX
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.users_database import (
    DatabaseUnavailable,
    UnknownUser,
    UserExists,
    UserRecord,
    UsersDatabase,
)

MAX_PAGE: Final = 1000  # users in an answer
STATUS_OF: Final[dict[type[Exception], HTTPStatus]] = {
    UnknownUser: HTTPStatus.NOT_FOUND,
    UserExists: HTTPStatus.CONFLICT,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def users_routes(bridge: ProxyBridge) -> list[Route]:
    """Return the routes about users."""
    users = _Users(bridge)
    of_one = f"{PREFIX}/users/{{name:path}}"
    return [
        Route(f"{PREFIX}/users", users.list, methods=["GET"]),
        Route(f"{PREFIX}/users", users.add, methods=["POST"]),
        Route(of_one, users.get, methods=["GET"]),
        Route(of_one, users.set, methods=["PATCH"]),
        Route(of_one, users.remove, methods=["DELETE"]),
    ]


class _Users:
    """What each route does."""

    def __init__(self, bridge: ProxyBridge) -> None:
        self._bridge = bridge

    async def list(self, request: Request) -> Response:
        after, limit = request.query_params.get("after", ""), request.query_params.get("limit", str(MAX_PAGE))
        if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit) <= MAX_PAGE:
            raise InvalidRequest(f"limit: 1 to {MAX_PAGE}")

        def read(database: UsersDatabase) -> dict[str, object]:
            found = [*database.list(after=after, limit=int(limit))]
            return {"users": [_shown(record) for record in found], "total": len(database)}

        return JSONResponse(await self._with_database(read))

    async def get(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(await self._with_database(lambda database: _shown(database.get(name))))

    async def add(self, request: Request) -> Response:
        values = dict(await read_json(request))
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise InvalidRequest("name: a text is needed")
        shown = await self._with_database(lambda database: _shown(database.add(name, values)))
        return JSONResponse(shown, HTTPStatus.CREATED)

    async def set(self, request: Request) -> Response:
        name, values = request.path_params["name"], await read_json(request)
        return JSONResponse(await self._with_database(lambda database: _shown(database.set(name, values))))

    async def remove(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._with_database(lambda database: database.remove(name))
        return JSONResponse({"removed": name})

    async def _with_database(self, use: Callable[[UsersDatabase], Any]) -> Any:
        """Return what comes of using the database, in a thread. Raises HTTPException."""
        database = self._bridge.users_database
        if database is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no users database (--users-db)")
        try:
            return await asyncio.to_thread(use, database)
        except ConfigurationError as error:
            raise HTTPException(STATUS_OF.get(type(error), HTTPStatus.BAD_REQUEST), str(error)) from error


def _shown(record: UserRecord) -> dict[str, object]:
    """Return a user as JSON has it: what can be set, and what was used in the quota's current period."""
    return {**record.values(), "used_up": record.used_up, "used_down": record.used_down}
