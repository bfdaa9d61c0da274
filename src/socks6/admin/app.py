"""The admin interface as a web application: REST, server-sent events, and who may ask. `openapi` describes it.

Requests by the Unix socket come from users who may; those by HTTP carry the token, `Authorization: Bearer TOKEN`. There are no
cookies, so that no other site can ask in a browser's name; Host, Origin and Sec-Fetch-Site are looked at all the same.
Errors are problem details (RFC 9457).
"""

import asyncio
import dataclasses
import hmac
import ipaddress
import json
import logging
import pwd
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from operator import attrgetter
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from socks6.admin.events import KINDS, EventFeed, TooManyFollowers
from socks6.admin.openapi import document
from socks6.admin.proxy import ProxyBridge, ProxyUnavailable
from socks6.admin.settings import PREFIX
from socks6.observability.logs import LOGGER
from socks6.proxy.live import ConnectionInfo

PROBLEM: Final = "application/problem+json"
WRONG_TOKEN_SECONDS: Final = 1.0
BODY_BYTES: Final = 65_536
BODY_SECONDS: Final = 5.0
REASON_CHARACTERS: Final = 200
DIGITS: Final = 20
ROWS: Final = 100  # of a list that are encoded at a time
UNIX: Final = (
    "unix"  # how the server names clients of the socket: this, and the user's number instead of a port
)
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
ASSOCIATION: Final = "UDP_ASSOCIATE"
BIND: Final = "BIND"


class InvalidRequest(HTTPException):
    """A request that cannot be meant so."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, detail)


def create_app(bridge: ProxyBridge, feed: EventFeed, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application, without what guards it; `more` are routes beside the API."""
    api = _Api(bridge, feed)
    paths: Mapping[str, tuple[tuple[str, Callable[[Request], Any]], ...]] = {
        "/status": (("GET", api.status),),
        "/connections": (("GET", api.connections), ("DELETE", api.kick_all)),
        "/connections/{id}": (("DELETE", api.kick),),
        "/associations": (("GET", api.associations),),
        "/bindings": (("GET", api.bindings),),
        "/sessions": (("GET", api.sessions),),
        "/penalties": (("GET", api.penalties),),
        "/penalties/{source:path}": (("DELETE", api.lift),),
        "/reload": (("POST", api.reload),),
        "/events": (("GET", api.events),),
        "/openapi.json": (("GET", api.openapi),),
    }
    routes = [
        Route(PREFIX + path, endpoint, methods=[method])
        for path, methods in paths.items()
        for method, endpoint in methods
    ]
    return Starlette(
        routes=[*routes, *more],
        exception_handlers={
            HTTPException: _http_problem,
            ProxyUnavailable: _unavailable,
            Exception: _fault,
        },
    )


class Guard:
    """Lets in those who may ask. `token` is None for the Unix socket, whose clients are known already."""

    def __init__(self, app: ASGIApp, *, token: str | None = None, names: Collection[str] = ()) -> None:
        """`names` are the hosts, beside addresses and localhost, that requests may be for."""
        self._app = app
        self._token = None if token is None else token.encode()
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])  # the last one of a name counts

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in HEADERS if header[0] not in named),
                ]
            await send(message)

        problem = self._refusal(scope, headers)
        if problem is None and self._token is not None and scope["path"].startswith(PREFIX):
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                if given:
                    await asyncio.sleep(WRONG_TOKEN_SECONDS)
                problem = _problem(
                    HTTPStatus.UNAUTHORIZED,
                    "the token is wrong" if given else "the token is missing: Authorization: Bearer TOKEN",
                    {"www-authenticate": 'Bearer realm="socks6"'},
                )
        await (problem or self._app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return what answers a request that another site, or another name of this machine, has caused."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_ours(host):
            return _problem(
                HTTPStatus.MISDIRECTED_REQUEST, "requests are for an address, localhost or an --admin-name"
            )
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin != f"{scope['scheme']}://{host}":
            return _problem(HTTPStatus.FORBIDDEN, "other sites may not ask")
        navigates = headers.get(b"sec-fetch-mode") == b"navigate" and not scope["path"].startswith(PREFIX)
        if headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"} and not navigates:
            return _problem(HTTPStatus.FORBIDDEN, "other sites may not ask")
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


class _Api:
    """What each route does."""

    def __init__(self, bridge: ProxyBridge, feed: EventFeed) -> None:
        self._bridge = bridge
        self._feed = feed

    async def status(self, _: Request) -> Response:
        return JSONResponse(dataclasses.asdict(await self._bridge.status()))

    async def connections(self, request: Request) -> Response:
        return await self._listed(request, "connections", lambda _: True)

    async def associations(self, request: Request) -> Response:
        return await self._listed(
            request, "associations", lambda info: info.established and info.command == ASSOCIATION
        )

    async def bindings(self, request: Request) -> Response:
        return await self._listed(request, "bindings", lambda info: info.established and info.command == BIND)

    async def sessions(self, _: Request) -> Response:
        return _rows("sessions", await self._bridge.sessions())

    async def kick(self, request: Request) -> Response:
        text = request.path_params["id"]
        number, reason = _number(text), _reason(request)
        if number is None or not await self._bridge.kick(number, reason):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no connection {text[:100]}")
        return JSONResponse({"ended": [number]})

    async def kick_all(self, request: Request) -> Response:
        wanted = _filter(request)
        if wanted is None:
            raise InvalidRequest("which connections? Name a user or a source: ?user=NAME, ?source=NETWORK")
        return JSONResponse({"ended": await self._bridge.kick_all(wanted, _reason(request))})

    async def penalties(self, _: Request) -> Response:
        return _rows("penalties", await self._bridge.penalties())

    async def lift(self, request: Request) -> Response:
        source = request.path_params["source"]
        try:
            lifted = await self._bridge.lift(source)
        except ValueError as error:
            raise InvalidRequest(f"{source[:100]!r} is no address and no network") from error
        if not lifted:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"{source} has no penalty")
        return JSONResponse({"lifted": lifted})

    async def reload(self, _: Request) -> Response:
        if fault := await self._bridge.reload():
            return _problem(HTTPStatus.CONFLICT, f"nothing has changed: {fault}")
        return JSONResponse({"reloaded": True})

    async def events(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("kinds", "").split(",") if name]
        if unknown := [name for name in names if name not in KINDS]:
            raise InvalidRequest(f"unknown kind of event {unknown[0][:100]!r}: one of {', '.join(KINDS)}")
        followed = self._feed.follow(
            frozenset(KINDS[name] for name in names or KINDS),
            _number(request.headers.get("last-event-id", "")),
        )
        try:
            first = await anext(followed)
        except TooManyFollowers:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "there are as many followers as may be"
            ) from None

        async def stream() -> AsyncIterator[str]:
            try:
                yield first
                async for text in followed:
                    yield text
            finally:
                await followed.aclose()

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document())

    async def _listed(self, request: Request, name: str, kind: Callable[[ConnectionInfo], bool]) -> Response:
        wanted = _filter(request)
        found = await self._bridge.connections(lambda info: kind(info) and (wanted is None or wanted(info)))
        return _rows(name, found)


def _rows(name: str, rows: Sequence[Any]) -> Response:
    """Return a list, encoded piece by piece: a long one must not keep the interpreter from the proxy."""

    async def pieces() -> AsyncIterator[str]:
        yield f'{{"{name}": ['
        names = [field.name for field in dataclasses.fields(rows[0])] if rows else []
        values = attrgetter(*names) if rows else tuple  # `asdict` copies, and takes five times as long
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            piece = json.dumps([dict(zip(names, values(row), strict=True)) for row in part])
            yield f"{', ' if start else ''}{piece[1:-1]}"
            await asyncio.sleep(0)
        yield "]}"

    return StreamingResponse(pieces(), media_type="application/json")


def _filter(request: Request) -> Callable[[ConnectionInfo], bool] | None:
    """Return which connections a request is about; None for all of them."""
    user, source = request.query_params.get("user"), request.query_params.get("source")
    if unknown := set(request.query_params) - {"user", "source", "reason"}:
        raise InvalidRequest(f"unknown parameter {min(unknown)[:100]!r}: user, source, reason")
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    if source is not None and source != UNIX:
        try:
            network = ipaddress.ip_network(source, strict=False)
        except ValueError:
            raise InvalidRequest(
                f"source: {source[:100]!r} is no address, no network and not {UNIX}"
            ) from None
    if user is None and source is None:
        return None

    def wanted(info: ConnectionInfo) -> bool:
        if user is not None and info.user != user:
            return False
        return source is None or (
            info.source == UNIX if network is None else _is_within(info.source, network)
        )

    return wanted


def _is_within(source: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address in network or (mapped is not None and mapped in network)


def _number(text: str) -> int | None:
    """Return the number of a connection or an event; None for what cannot be one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else None


def _reason(request: Request) -> str:
    """Return what the record of a connection that is ended says: by whom, and why if that was told."""
    reason = request.query_params.get("reason", "")
    if len(reason) > REASON_CHARACTERS or not reason.isprintable():
        raise InvalidRequest(f"reason: printable characters, {REASON_CHARACTERS} at most")
    client = request.client
    who = "an operator" if client is None or client.host != UNIX else _user_name(client.port)
    return f"by {who}: {reason}" if reason else f"by {who}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return problem details."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": int(status), "detail": detail},
        int(status),
        headers,
        PROBLEM,
    )


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return _problem(error.status_code, error.detail, error.headers)


async def _unavailable(_: Request, error: Exception) -> Response:
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))


async def _fault(_: Request, error: Exception) -> Response:
    logging.getLogger(LOGGER).error("unexpected error where=admin", exc_info=error)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the proxy's; its log says more")


async def read_json(request: Request) -> Mapping[str, object]:
    """Return a request's body, a JSON object. Raises HTTPException for another, a long or a slow one."""
    data = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                data += piece
                if len(data) > BODY_BYTES:
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{BODY_BYTES} bytes at most")
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is no JSON") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body is no JSON object")
    return value
