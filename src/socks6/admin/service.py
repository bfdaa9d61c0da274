"""Serves the admin interface: listeners that cost nothing until the first client comes, then a thread of its own.

The thread has an event loop, and imports Starlette and uvicorn, which take 0.3 s, only then.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from importlib.util import find_spec
from types import TracebackType
from typing import Final, Self

from socks6.admin.listeners import BACKLOG, AdminSocket, HttpListener
from socks6.admin.proxy import ProxyBridge
from socks6.distribution import install_hint
from socks6.net.encryption.contexts import ReloadingContext, server_context
from socks6.net.transports.unix import open_unix
from socks6.observability.logs import LOGGER

STOP_SECONDS: Final = 2.0
EXTRA: Final = f"the admin interface needs more: {install_hint('admin')}"


def is_installed() -> bool:
    """Return whether what the interface is made of is there."""
    return find_spec("starlette") is not None and find_spec("uvicorn") is not None


class AdminService:
    """The admin interface of a proxy, for the time of a block within the proxy's loop."""

    def __init__(
        self, bridge: ProxyBridge, *, path: str, asked_for: bool = True, http: HttpListener | None = None
    ) -> None:
        """`path` is that of the Unix socket, "" for none; if it was not `asked_for`, it is not shown, and may fail.

        Raises ConfigurationError for a certificate that cannot be used.
        """
        self._bridge: Final = bridge
        self._path: Final = path
        self._asked_for: Final = asked_for
        self._http: Final = http
        self._context: ReloadingContext[ssl.SSLContext] | None = None
        if http is not None and http.tls.certificate is not None:
            self._context = ReloadingContext(http.tls, lambda tls: server_context(tls, alpn=("http/1.1",)))
        self._sockets: list[AdminSocket] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it listens, as far as that was asked for."""
        return tuple(
            f"unix://{self._path}" if listening.http is None else self._url(listening.sock, listening.http)
            for listening in self._sockets
            if self._asked_for or listening.http is not None
        )

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError."""
        self._bridge.begin()
        try:
            if self._path:
                with contextlib.nullcontext() if self._asked_for else contextlib.suppress(OSError):
                    sock, on_close = open_unix(self._path, backlog=BACKLOG)
                    self._sockets.append(AdminSocket(sock=sock, on_close=on_close))
            if self._http is not None:
                family = socket.AF_INET6 if ":" in self._http.host else socket.AF_INET
                sock = socket.create_server(
                    (self._http.host, self._http.port), family=family, backlog=BACKLOG
                )
                sock.setblocking(False)
                self._sockets.append(AdminSocket(sock=sock, http=self._http, context=self._context))
        except BaseException:
            self._free()
            raise
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.add_reader(listening.sock.fileno(), self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; requests that are being answered end."""
        self._stopping = True
        if self._thread is None:
            self._unwatch()
        else:
            if self._loop is not None and self._stop is not None:
                with contextlib.suppress(RuntimeError):  # it is over
                    self._loop.call_soon_threadsafe(self._stop.set)
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
        self._free()

    def _begin(self) -> None:
        """Start the thread: the first client has come."""
        if self._thread is None:
            self._unwatch()
            self._thread = threading.Thread(target=self._run, name="socks6 admin", daemon=True)
            self._thread.start()

    def _unwatch(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening.sock.fileno())

    def _free(self) -> None:
        for listening in self._sockets:
            listening.on_close()
            listening.sock.close()
        self._sockets.clear()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # the edge of a thread: nobody else would report it
            logging.getLogger(LOGGER).exception("unexpected error where=admin")

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        from socks6.admin.dashboard import dashboard_routes  # noqa: PLC0415 - see the module's docstring
        from socks6.admin.users import users_routes  # noqa: PLC0415
        from socks6.admin.web import serve_http  # noqa: PLC0415

        routes = [*users_routes(self._bridge), *dashboard_routes()]
        async with serve_http(self._bridge, self._sockets, routes):
            if not self._stopping:
                await self._stop.wait()

    def _url(self, sock: socket.socket, http: HttpListener) -> str:
        host = f"[{http.host}]" if ":" in http.host else http.host
        return f"{'https' if self._context else 'http'}://{host}:{sock.getsockname()[1]}"
