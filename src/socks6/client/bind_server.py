"""A server whose port is the proxy's, shaped as asyncio's (§ Handling BIND)."""

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

DEFAULT_BACKLOG: Final = 100  # asyncio's own; the proxy grants what it will
MAX_HANDSHAKES: Final = 100  # peers whose TLS handshake is under way

ConnectedCallback: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
PeerHandler: TypeAlias = Callable[[ProxiedStream], Awaitable[None]]


class BindServer(asyncio.AbstractServer):
    """Hands each peer of a listener to `serve`, until closed. It serves from the start.

    As an `asyncio.Server`: close it, wait for it, or use it as an async context manager. It has no `sockets`,
    for they are the proxy's; `bound` says where it is reached. Peers that are being served outlive it.
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
        """How many peers the proxy keeps waiting; 0 if it takes one after the other."""
        return self._listener.backlog

    @property
    def options(self) -> tuple[StackOption, ...]:
        """The stack options in force on the port."""
        return self._listener.options

    @override
    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it runs on."""
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
        """Accept nobody any more. Idempotent."""
        self._running.cancel()

    @override
    async def wait_closed(self) -> None:
        """Wait until nobody is accepted any more, and the port is given up."""
        await asyncio.wait([self._running])
        await self._listener.aclose()  # again, if it was closed before it began to run

    @override
    async def serve_forever(self) -> None:
        """Wait until it is closed. Raises what ended the port: OperationFailed, ProxyUnreachable.

        Closes when cancelled.
        """
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
                    "serves no more bound=%s port=%d reason=%r", *self.bound, str(error)
                )

    async def _hand_over(self, stream: ProxiedStream) -> None:
        try:
            await self._serve(stream)
        except (Socks6Error, OSError) as error:  # of this peer alone: it is gone, or speaks no TLS
            stream.abort()
            logging.getLogger("socks6").debug(
                "a peer was lost peer=%s port=%d reason=%r", *stream.peer, str(error)
            )
        except BaseException:
            stream.abort()
            raise
        finally:
            self._room.release()
