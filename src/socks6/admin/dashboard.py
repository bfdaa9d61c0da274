"""The web dashboard: static files, which use the REST API alone, with a token that the browser's tab keeps.

They are given to whoever asks, since there is nothing in them; what they show needs the token. The policy of their content lets
scripts and styles come from here alone, and no other site show the page within its own.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The file at each path, and its type."""


def dashboard_routes() -> list[Route]:
    """Return the routes of the dashboard, which read their files now."""
    folder = files("socks6.admin") / "static"
    return [_route(path, (folder / name).read_bytes(), kind) for path, (name, kind) in FILES.items()]


def _route(path: str, body: bytes, kind: str) -> Route:
    async def serve(_: Request) -> Response:
        return Response(body, media_type=kind, headers={"Content-Security-Policy": POLICY})

    return Route(path, serve, methods=["GET"])
