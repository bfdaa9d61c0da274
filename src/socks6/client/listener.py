"""What a BIND gives its caller: a place at the proxy, and the streams of those who connect to it."""

import asyncio
import errno
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Final, Protocol

from socks6.client.options import with_defaults
from socks6.client.requester import GrantedRequest
from socks6.client.stream import ProxiedStream
from socks6.errors import ConnectionTimedOut, Socks6Error
from socks6.message.options import ListenBacklog, StackOption, find_all
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.stream import Endpoint

BIND_RETRY_SECONDS: Final[tuple[float, float]] = (
    0.1,
    5.0,
)  # between BINDs that come to nothing: at first, and at most
SHORT_BIND_SECONDS: Final = 1.0  # a proxy that gives a BIND no longer for its peer is not asked again at once


def retry_pause(attempts: int) -> float:
    """Return how many seconds to wait after so many BINDs in a row that came to nothing."""
    shortest, longest = BIND_RETRY_SECONDS
    return min(shortest * 2.0 ** min(attempts - 1, 16), longest)


class RequestFunction(Protocol):
    """Makes a request of the proxy, on a connection of its own."""

    def __call__(
        self, request: Request, *, needs_session: bool = False, within: GrantedRequest | None = None
    ) -> Awaitable[GrantedRequest]:
        """Return it granted: in a session, or in the session of another request, if so told. Raises Socks6Error."""


class BindListener(ABC):
    """A port that listens at the proxy. An async context manager that closes; see `Client.bind`.

    `bound` is the public address; `backlog` how many peers the proxy keeps waiting, 0 if it serves one BIND
    after the other; `options` are the stack options in force on the port.
    """

    def __init__(self, granted: GrantedRequest) -> None:
        self.bound = Endpoint(granted.reply.host, granted.reply.port)
        self.options = tuple(find_all(granted.reply.options, StackOption))
        self.backlog = 0
        self._closed = False

    async def accept(self, *, timeout: float | None = None) -> ProxiedStream:
        """Return the stream of a host that has connected; its `peer` tells which one.

        Waits for `timeout` seconds, then raises ConnectionTimedOut; None waits for ever: the proxy's own time
        limit for a BIND only makes us ask again, after a pause where it gives hardly any time. Cancelling loses nobody. Raises OperationFailed,
        ProxyUnreachable when the proxy has ended the port, OSError when the listener was closed.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._accept()
        except Socks6Error:
            self._check_open()
            raise
        except TimeoutError as error:
            raise ConnectionTimedOut(f"nobody connected within {timeout} s") from error

    @abstractmethod
    async def aclose(self) -> None:
        """Give the port up; streams that were accepted live on. Idempotent."""

    async def __aenter__(self) -> "BindListener":
        """Return the listener."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    @abstractmethod
    async def _accept(self) -> ProxiedStream: ...

    def _connected(self, granted: GrantedRequest, reply: OperationReply) -> ProxiedStream:
        """Return the stream behind a second reply; what that does not say of options, the first one did."""
        told = tuple(find_all(reply.options, StackOption))
        kept = tuple(option for option in self.options if not isinstance(option, ListenBacklog))
        options = tuple(find_all(with_defaults(told, kept), StackOption))
        peer = Endpoint(reply.host, reply.port)
        return ProxiedStream(granted.stream, self.bound, options, peer=peer, lease=granted.lease)

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the listener was closed")
