"""A proxy for the admin interface's tests: a worker without listeners, or one in memory."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import cast

from socks6.admin.proxy import ProxyBridge, Reload
from socks6.admin.service import AdminService
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.memory import memory_stream_pair


class Listed:
    """As much of a server as a bridge needs."""

    urls = ("socks6://127.0.0.1:1080",)


async def nothing_wrong() -> str:
    return ""


def bridge_of(worker: ServerWorker | None = None, *, reload: Reload = nothing_wrong) -> ProxyBridge:
    """Return a bridge to a worker whose loop is the running one, if one runs."""
    worker = worker or ServerWorker(policy=Policy(allow_private=True))
    bridge = ProxyBridge(cast("Server", Listed()), worker, reload)
    with contextlib.suppress(RuntimeError):
        bridge.begin()
    return bridge


def connected(worker: ServerWorker, user: str, command: int = 1) -> ClientConnection:
    """Return a connection with a request that succeeded."""
    connection = worker.open(memory_stream_pair()[1], "socks6")
    connection.begin(
        ProxyRequest(command=command, host="example.com", port=443, identity=Identity(name=user))
    )
    connection.reply = 0
    return connection


@contextlib.contextmanager
def administered(
    path: str, *users: str, authenticator: Authenticator | None = None
) -> Iterator[ServerWorker]:
    """Give a worker with a connection for each user, whose interface is at a path; it runs in a thread of its own."""
    worker = ServerWorker(policy=Policy(allow_private=True), authenticator=authenticator)
    over, ready = threading.Event(), threading.Event()

    async def play() -> None:
        for user in users:
            connected(worker, user)
        async with AdminService(bridge_of(worker), path=path):
            ready.set()
            while not over.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(play()))
    thread.start()
    try:
        assert ready.wait(10)
        yield worker
    finally:
        over.set()
        thread.join()
