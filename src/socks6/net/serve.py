"""Accepting streams: within limits, and without ever stopping for good."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from socks6.net.stream import ByteStream, Listener
from socks6.telemetry import Observer

BATCH: Final = 64  # accepted in one go, before those accepted get their turn
PAUSE_SECONDS: Final = 1.0
SHORTAGES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
CLOSED: Final = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))
# accept(2) tells of what befell the one connection that it would have returned
GONE_ALREADY: Final = frozenset((
    errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ETIMEDOUT,
))  # fmt: skip

MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96

Handler: TypeAlias = Callable[[ByteStream], Coroutine[Any, Any, None]]


class ConnectionLimits:
    """Counts connections, in all and by source; 0 sets no limit.

    An IPv6 source is its /64, what one subscriber has. The table holds only sources that are connected, so
    it is no longer than there are connections. This machine's own clients (loopback, Unix sockets) count in
    all alone: whatever else listens here, another proxy perhaps, speaks for many.
    """

    def __init__(self, *, total: int = 0, per_source: int = 0) -> None:
        self._total = total
        self._per_source = per_source
        self._count = 0
        self._sources: dict[str, int] = {}
        self._freed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many connections there are."""
        return self._count

    def enter(self, host: str) -> str:
        """Count a connection from `host` in and return ""; or return why it must be turned away."""
        if self._total and self._count >= self._total:
            return f"{self._count} connections already"
        if self._per_source and (source := source_of(host)):
            count = self._sources.get(source, 0)
            if count >= self._per_source:
                return f"{count} connections from {source} already"
            self._sources[source] = count + 1
        self._count += 1
        return ""

    def leave(self, host: str) -> None:
        """Count out a connection that was counted in."""
        self._count -= 1
        self._freed.set()
        if self._per_source and (source := source_of(host)):
            left = self._sources[source] - 1
            if left:
                self._sources[source] = left
            else:
                del self._sources[source]

    async def wait_for_leave(self) -> None:
        """Wait until a connection is counted out."""
        self._freed.clear()
        await self._freed.wait()


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, also a mapped one, or an IPv6 /64; "" if none does."""
    if ":" not in host:
        return "" if host.startswith("127.") else host
    if host == "::1":
        return ""
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(MAPPED):
        return source_of(socket.inet_ntop(socket.AF_INET, packed[12:]))
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"


async def accept_streams(
    listener: Listener,
    handler: Handler,
    *,
    limits: ConnectionLimits,
    observer: Observer,
    group: asyncio.TaskGroup,
    pause: float = PAUSE_SECONDS,
) -> None:
    """Run `handler` for each stream that arrives, in a task of `group`, until the listener is closed.

    A handler's exception goes to the observer and ends its stream, nothing else. Out of descriptors or
    memory, accepting pauses until a connection ends, or for `pause` seconds.
    """
    entrance = _Entrance(listener, handler, limits, observer, group)
    while True:
        try:
            await listener.wait_readable()
            entrance.accept_batch()
        except OSError as error:
            if error.errno in CLOSED:
                return
            await entrance.pause(error, pause)


class _Entrance:
    """What one accept loop works with."""

    __slots__ = ("_group", "_handler", "_limits", "_listener", "_observer")

    def __init__(
        self,
        listener: Listener,
        handler: Handler,
        limits: ConnectionLimits,
        observer: Observer,
        group: asyncio.TaskGroup,
    ) -> None:
        self._listener = listener
        self._handler = handler
        self._limits = limits
        self._observer = observer
        self._group = group

    def accept_batch(self) -> None:
        """Accept what has arrived, up to a limit. Raises OSError when there is no way to accept more."""
        for _ in range(BATCH):
            try:
                stream = self._listener.accept_nowait()
            except OSError as error:
                if error.errno not in GONE_ALREADY:
                    raise
                continue
            if stream is None:
                return
            self._let_in(stream)

    async def pause(self, error: OSError, seconds: float) -> None:
        """Wait until a connection ends; trying on at once would only burn the processor."""
        if error.errno in SHORTAGES:
            self._observer.accept_paused(self._listener.url, error.strerror or str(error))
        else:
            self._observer.unexpected_error(f"accepting at {self._listener.url}", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._limits.wait_for_leave()

    def _let_in(self, stream: ByteStream) -> None:
        source = stream.remote.host
        if refusal := self._limits.enter(source):
            self._observer.connection_turned_away(source, refusal)
            stream.abort()
            return
        guest = _Guest(stream, source, self._limits)
        task = self._group.create_task(guest.serve(self._handler, self._observer))
        task.add_done_callback(guest.gone)


class _Guest:
    """One stream that was let in."""

    __slots__ = ("_limits", "_source", "_stream")

    def __init__(self, stream: ByteStream, source: str, limits: ConnectionLimits) -> None:
        self._stream = stream
        self._source = source
        self._limits = limits

    async def serve(self, handler: Handler, observer: Observer) -> None:
        try:
            await handler(self._stream)
        except Exception as error:  # noqa: BLE001 - the edge of a connection: its fault stays its own
            observer.unexpected_error(f"serving {self._source or 'a local client'}", error)

    def gone(self, _: asyncio.Task[None]) -> None:
        """Clean up, also after a task that was cancelled before it began."""
        self._stream.abort()
        self._limits.leave(self._source)
