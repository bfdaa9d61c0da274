"""The OpenAPI document of the admin interface; its schemas are made from the values that it returns."""

import dataclasses
import typing
from typing import Any, Final

from socks6.admin.proxy import Status
from socks6.admin.settings import PREFIX
from socks6.distribution import VERSION
from socks6.policy.user_limits import QuotaPeriod
from socks6.proxy.authentication.penalty import Penalty
from socks6.proxy.live import ConnectionInfo, SessionInfo

JSON_TYPES: Final[dict[object, dict[str, Any]]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
}
PROBLEM_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
USER_SCHEMA: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": TEXT,
        "enabled": {"type": "boolean"},
        **dict.fromkeys(("connections", "associations", "bindings", "up", "down", "burst", "quota"), NUMBER),
        "quota_period": {"type": "string", "enum": [period.value for period in QuotaPeriod]},
        "expires": {"type": ["string", "null"], "format": "date-time"},
        "sources": {"type": "array", "items": TEXT},
        "outgoing": TEXT,
        "note": TEXT,
        **{name: {**TEXT, "writeOnly": True} for name in ("password", "hash")},
        "created": {**TEXT, "format": "date-time", "readOnly": True},
        **{name: {**NUMBER, "readOnly": True} for name in ("used_up", "used_down")},
    },
}
"""A user of the database: 0, an empty text and an empty list are no limit."""
USER: Final = "user", "the user's name; empty for clients without"
SOURCE: Final = "source", "an address, a network such as 192.0.2.0/24, or unix"
REASON: Final = "reason", "why, for the log"


def document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "socks6 admin",
            "version": VERSION,
            "description": "See and steer a SOCKS 6 proxy. Bytes are counted as the receiving side took them; times are seconds.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": {
            "/status": {"get": _operation("How the proxy is", "status", _reference("Status"))},
            "/connections": {
                "get": _operation(
                    "The connections, the oldest first",
                    "listConnections",
                    _list("connections", "ConnectionInfo"),
                    USER,
                    SOURCE,
                ),
                "delete": _operation(
                    "End the connections of a user, or of a source",
                    "kickConnections",
                    _ended(),
                    USER,
                    SOURCE,
                    REASON,
                    errors={400: "neither a user nor a source"},
                ),
            },
            "/connections/{id}": {
                "parameters": [_path("id", {"type": "integer"}, "as in the log and the events")],
                "delete": _operation(
                    "End a connection: both sides are reset",
                    "kickConnection",
                    _ended(),
                    REASON,
                    errors={404: "no such connection"},
                ),
            },
            "/associations": {
                "get": _operation(
                    "The connections that hold a UDP association",
                    "listAssociations",
                    _list("associations", "ConnectionInfo"),
                    USER,
                    SOURCE,
                )
            },
            "/bindings": {
                "get": _operation(
                    "The connections that hold a binding",
                    "listBindings",
                    _list("bindings", "ConnectionInfo"),
                    USER,
                    SOURCE,
                )
            },
            "/sessions": {
                "get": _operation("The sessions", "listSessions", _list("sessions", "SessionInfo"))
            },
            "/penalties": {
                "get": _operation(
                    "The sources that are refused after too many failed attempts to authenticate",
                    "listPenalties",
                    _list("penalties", "Penalty"),
                )
            },
            "/penalties/{source}": {
                "parameters": [_path("source", {"type": "string"}, "an address or a network")],
                "delete": _operation(
                    "Lift the penalties of a source",
                    "liftPenalty",
                    _object({"lifted": {"type": "integer"}}),
                    errors={400: "no address and no network", 404: "no penalty"},
                ),
            },
            **_users(),
            "/reload": {
                "post": _operation(
                    "Read users and policy again",
                    "reload",
                    _object({"reloaded": {"type": "boolean"}}),
                    errors={409: "what is read has a fault; nothing has changed"},
                )
            },
            "/events": {
                "get": {
                    **_operation(
                        "What happens, as server-sent events: the name is the event's class, the data its fields; `Lost` counts"
                        " what came too fast. Last-Event-ID goes on where it was",
                        "followEvents",
                        {"type": "string"},
                        ("kinds", "names of events, with commas between them; all if there are none"),
                        errors={503: "too many followers"},
                        media="text/event-stream",
                    )
                }
            },
            "/openapi.json": {"get": _operation("This document", "openapi", {"type": "object"})},
        },
        "components": {
            "schemas": {
                "Problem": PROBLEM_SCHEMA,
                **{kind.__name__: _schema(kind) for kind in (Status, ConnectionInfo, SessionInfo, Penalty)},
                "User": USER_SCHEMA,
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Not asked for on the Unix socket.",
                }
            },
        },
    }


def _users() -> dict[str, Any]:
    """Return the paths about the users database."""
    content = {"application/json": {"schema": _reference("User")}}
    body = {
        "requestBody": {
            "description": "What is to be set, and `password`; sizes may be texts such as 10M, null takes a limit away.",
            "required": True,
            "content": content,
        }
    }
    none = {404: "no such user, or no users database"}
    wrong = {400: "a name or a value that cannot be"}
    added = _operation(
        "Add a user", "addUser", _reference("User"), errors={**wrong, 404: none[404], 409: "there is one"}
    )
    added["responses"]["201"] = added["responses"].pop("200")
    page = (("after", "the names after this one"), ("limit", "so many; 1000 at most, and without"))
    return {
        "/users": {
            "get": _operation(
                "The users of the database, by name",
                "listUsers",
                _object(
                    {
                        "users": {"type": "array", "items": _reference("User")},
                        "total": {"type": "integer", "description": "of all that there are"},
                    }
                ),
                *page,
                errors={**wrong, 404: "no users database"},
            ),
            "post": {**added, **body},
        },
        "/users/{name}": {
            "parameters": [_path("name", {"type": "string"}, "the user's")],
            "get": _operation("A user", "getUser", _reference("User"), errors=none),
            "patch": {
                **_operation(
                    "Change a user: it acts at once, on open connections, too",
                    "setUser",
                    _reference("User"),
                    errors={**wrong, **none},
                ),
                **body,
            },
            "delete": _operation(
                "Remove a user; its connections end",
                "removeUser",
                _object({"removed": {"type": "string"}}),
                errors=none,
            ),
        },
    }


def _operation(
    summary: str,
    name: str,
    schema: dict[str, Any],
    *parameters: tuple[str, str],
    errors: dict[int, str] | None = None,
    media: str = "application/json",
) -> dict[str, Any]:
    problems = {401: "no token, or a wrong one", 503: "the proxy did not answer", **(errors or {})}
    content = {"application/problem+json": {"schema": _reference("Problem")}}
    return {
        "summary": summary,
        "operationId": name,
        "parameters": [
            {"name": name, "in": "query", "description": words, "schema": {"type": "string"}}
            for name, words in parameters
        ],
        "responses": {
            "200": {"description": "Done", "content": {media: {"schema": schema}}},
            **{str(code): {"description": words, "content": content} for code, words in problems.items()},
        },
    }


def _path(name: str, schema: dict[str, Any], words: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": words, "schema": schema}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list(name: str, item: str) -> dict[str, Any]:
    return _object({name: {"type": "array", "items": _reference(item)}})


def _ended() -> dict[str, Any]:
    return _object({"ended": {"type": "array", "items": {"type": "integer"}}})


def _schema(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return _object({field.name: JSON_TYPES[hints[field.name]] for field in dataclasses.fields(kind)})
