"""The admin interface's HTTP: uvicorn's protocol with bounds on connections, slow clients and, on the Unix socket, users."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from starlette.routing import BaseRoute
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from socks6.admin.app import UNIX, Guard, create_app
from socks6.admin.events import EventFeed
from socks6.admin.listeners import BACKLOG, AdminSocket, HttpListener
from socks6.admin.proxy import ProxyBridge
from socks6.compat import override

CONNECTIONS: Final = 64  # at a time, of the Unix socket and of HTTP each
HEAD_SECONDS: Final = 10.0  # for a TLS handshake, and for the head of a request
SLOW_SECONDS: Final = 10.0  # for which a client may take nothing that waits for it
KEEP_ALIVE_SECONDS: Final = 30
HEAD_BYTES: Final = 32_768
CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


@contextlib.asynccontextmanager
async def serve_http(
    bridge: ProxyBridge, sockets: list[AdminSocket], more: Sequence[BaseRoute] = ()
) -> AsyncIterator[None]:
    """Serve the interface at sockets that listen already, in the running loop; `more` are routes beside the API.

    At the end of the context every connection is closed.
    """
    logger = logging.getLogger("uvicorn.error")  # of requests that are none: anyone can send them
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    app = create_app(bridge, EventFeed(bridge), more)
    servers: list[asyncio.Server] = []
    states: list[ServerState] = []
    for listening in sockets:
        http = listening.http
        guard = Guard(app) if http is None else Guard(app, token=http.token, names=(http.host, *http.names))
        config = Config(
            guard,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        config.load()
        state = ServerState()
        states.append(state)

        def protocol(
            config: Config = config, state: ServerState = state, http: HttpListener | None = http
        ) -> AdminProtocol:
            return AdminProtocol(config, state, {}, by_socket=http is None)

        context = None if listening.context is None else _following(listening)
        servers.append(
            await asyncio.get_running_loop().create_server(
                protocol,
                sock=listening.sock.dup(),
                backlog=BACKLOG,
                ssl=context,
                ssl_handshake_timeout=HEAD_SECONDS if context else None,
            )
        )
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for state in states:
            for connection in tuple(state.connections):
                connection.transport.abort()
        await asyncio.sleep(0)  # in which they are closed


def _following(listening: AdminSocket) -> ssl.SSLContext:
    """Return a context that makes each connection by the newest certificate."""
    assert listening.context is not None  # noqa: S101 - asked before
    reloading = listening.context
    context = reloading.current()

    def renew(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = reloading.current()

    context.sni_callback = renew
    return context


class AdminProtocol(H11Protocol):
    """One client's connection."""

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, Any], *, by_socket: bool
    ) -> None:
        super().__init__(config, state, app_state)
        self._by_socket = by_socket
        self._head: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if self._by_socket:
            uid = peer_of(transport.get_extra_info("socket"))
            self.client = UNIX, uid
            self.server = UNIX, None
            if uid not in {0, os.geteuid()}:
                transport.abort()
                return
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle:
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            self._await_head()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow = self.loop.call_later(SLOW_SECONDS, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        _cancel(self._slow)
        super().resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head)
        _cancel(self._slow)
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is answered now."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._is_idle:
            self.transport.abort()


def peer_of(sock: socket.socket) -> int:
    """Return the number of the user at the other end of a Unix socket; where the system does not tell, our own."""
    if sys.platform != "linux":  # where the file's mode has to do
        return os.geteuid()
    return int(
        CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[1]
    )


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
