"""Unix sockets."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Final

from socks6.compat import override
from socks6.message.codes import Leg
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.files import discard_file
from socks6.net.scopes import on_failure
from socks6.net.sockets import SocketListener, SocketStream, connect_socket
from socks6.net.stackopts.table import apply_options
from socks6.net.transports.base import (
    Connector,
    ConnectParameters,
    ListenParameters,
    OpenListeners,
    StreamRequest,
    send_first,
)

BACKLOG: Final = 4096  # the kernel lowers it to net.core.somaxconn
MODE: Final = 0o600  # users who may write to the file may connect
RETRY_SECONDS: Final = 0.01  # a full backlog refuses at once, and no event reports room


def listen(parameters: ListenParameters) -> OpenListeners:
    """Return what listens on a socket file."""

    async def open_listeners(_: SharedPorts) -> list[SocketListener]:
        return [await listen_unix(parameters.path, url=parameters.url)]

    return open_listeners


class UnixConnector(Connector):
    """Reaches one proxy at a socket file."""

    def __init__(self, proxy: ConnectParameters) -> None:
        self._path = proxy.path

    @override
    async def open(self, request: StreamRequest) -> SocketStream:
        stream = await connect_unix(self._path)
        apply_options(stream.raw_socket, request.client_leg_options, Leg.CLIENT_PROXY)
        await send_first(stream, request.early_data)
        return stream


async def listen_unix(
    path: str, *, mode: int = MODE, backlog: int = BACKLOG, url: str | None = None
) -> SocketListener:
    """Listen on a socket file, which is removed on close. Raises OSError.

    A file that a dead server left behind is replaced; one that a server listens on, or any other kind of
    file, is not: EADDRINUSE, EEXIST. `url` is what the listener calls itself.
    """
    sock, on_close = open_unix(path, mode=mode, backlog=backlog)
    return SocketListener(sock, url=url or f"unix://{path}", on_close=on_close)


def open_unix(
    path: str, *, mode: int = MODE, backlog: int = BACKLOG
) -> tuple[socket.socket, Callable[[], None]]:
    """Return a socket that listens as `listen_unix` does, and what removes its file. Raises OSError."""
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with on_failure(sock.close):
        try:
            sock.bind(path)
        except OSError as error:  # a long path has no number, and none names the path
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from error
        with on_failure(lambda: discard_file(path)):
            os.chmod(path, mode)  # no client can have connected: the socket does not listen yet
            made = os.stat(path)
            sock.listen(backlog)
            sock.setblocking(False)
    return sock, lambda: _remove_ours(path, made)


async def connect_unix(path: str, *, timeout: float | None = None) -> SocketStream:
    """Connect to a socket file. Raises OSError."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                return SocketStream(await connect_socket(socket.AF_UNIX, path))
            except BlockingIOError:
                await asyncio.sleep(RETRY_SECONDS)


def _remove_stale(path: str) -> None:
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "there is a file, but it is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    os.unlink(path)


def _remove_ours(path: str, made: os.stat_result) -> None:
    """Remove the file unless another server has put its own in its place; one that stays is replaced by the next."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(path), made):
            os.unlink(path)
