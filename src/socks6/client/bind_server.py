"""`BindServer`: an asyncio server whose port is at the proxy (§ Handling BIND)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from typing_extensions import override

from socks6.client.bind import BindListener
from socks6.client.stream import ProxiedStream
from socks6.errors import Socks6Error
from socks6.message.options import StackOption
from socks6.net.stream import Endpoint

DEFAULT_BACKLOG: Final = 100  # peers that may wait, as asyncio's default; the proxy may grant fewer
MAX_HANDSHAKES: Final = 100  # TLS handshakes under way; more peers wait at the proxy

ConnectedCallback: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
PeerHandler: TypeAlias = Callable[[ProxiedStream], Awaitable[None]]


class BindServer(asyncio.AbstractServer):
    """Serves the peers of a `BindListener`, from its creation until it is closed.

    Used as an `asyncio.Server`: `close` it, wait for it, or enter it as an async context manager. It has no
    `sockets`, which are at the proxy; peers reach it at `bound`. Connections that are being served stay open.
    """

    sockets: tuple[()] = ()

    def __init__(self, listener: BindListener, serve: PeerHandler) -> None:
        self._listener = listener
        self._serve = serve
        self._room = asyncio.Semaphore(MAX_HANDSHAKES)
        self._failure: Exception | None = None
        self._running = asyncio.create_task(self._run(), name="socks6 reverse server")  # until `wait_closed`

    @property
    def bound(self) -> Endpoint:
        """Where peers connect to."""
        return self._listener.bound

    @property
    def backlog(self) -> int:
        """How many peers may wait at the proxy; 0 if it accepts one at a time."""
        return self._listener.backlog

    @property
    def options(self) -> tuple[StackOption, ...]:
        """The stack options in force on the port."""
        return self._listener.options

    @override
    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that it runs on."""
        return self._running.get_loop()

    @override
    async def start_serving(self) -> None:
        """Do nothing: it serves from the start."""

    @override
    def is_serving(self) -> bool:
        """Return whether peers are accepted."""
        return not (self._running.done() or self._running.cancelling())

    @override
    def close(self) -> None:
        """Stop accepting peers. Idempotent."""
        self._running.cancel()

    @override
    async def wait_closed(self) -> None:
        """Wait until no peer is accepted any more and the port at the proxy is closed."""
        await asyncio.wait([self._running])
        await self._listener.aclose()  # again, if it was closed before it began to run

    @override
    async def serve_forever(self) -> None:
        """Serve until it is closed; when cancelled, close. Raises OperationFailed, ProxyUnreachable if the port ended."""
        try:
            await self.wait_closed()
        finally:
            self.close()
        if self._failure is not None:
            raise self._failure

    @override
    async def __aenter__(self) -> "BindServer":
        """Return the server."""
        return self

    @override
    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        self.close()
        await self.wait_closed()

    async def _run(self) -> None:
        async with self._listener, asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._room.acquire()
                    stream = await self._listener.accept()
                    group.create_task(self._hand_over(stream), name="socks6 reverse peer")
            except Socks6Error as error:
                self._failure = error
                logging.getLogger("socks6").warning(
                    "server at the proxy ended bound=%s port=%d reason=%r", *self.bound, str(error)
                )

    async def _hand_over(self, stream: ProxiedStream) -> None:
        try:
            await self._serve(stream)
        except (Socks6Error, OSError) as error:  # this peer alone is gone, or speaks no TLS
            stream.abort()
            logging.getLogger("socks6").debug("peer lost peer=%s port=%d reason=%r", *stream.peer, str(error))
        except BaseException:
            stream.abort()
            raise
        finally:
            self._room.release()
