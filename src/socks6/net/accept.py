"""Accepting streams: within limits, and without ever stopping for good."""

import asyncio
import errno
import functools
import itertools
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeAlias

from socks6.dataclass import dataclass
from socks6.net.eager import EagerTaskGroup
from socks6.net.eviction import MAPPED, ClientsByNetwork
from socks6.net.scopes import time_limit
from socks6.net.sockets import SocketListener, SocketStream, WrappingListener, close_in_order, reset_on_close
from socks6.net.stream import ByteStream, Listener
from socks6.telemetry import AcceptPaused, LimitReached, Observer, UnexpectedError

if sys.platform == "linux":
    from socks6.net.poller import Poller

ACCEPTS_PER_TURN: Final = 64  # accepted in one go, before those accepted get their turn
MAX_EARLY: Final = 4096  # clients that wait when accepting begins: what Linux lets a queue hold
SHORTAGE_PAUSE_SECONDS: Final = 1.0
SHORTAGE_ERRORS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
CLOSED_ERRORS: Final = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))
# accept(2) fails with these for the one connection that it would have returned; the listener is sound
CLIENT_GONE_ERRORS: Final = frozenset((
    errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ETIMEDOUT,
))  # fmt: skip

RESERVED_SHARE: Final = 4  # one slot in so many is kept for known clients
CROWDED_SHARE: Final = 8  # strangers are kept by network once there is one for so many that there may be
PRESSURE_SECONDS: Final = 2.5  # what strangers get to become known while they hold half of what they may

CROWD_SECONDS: Final = 0.001  # clients that arrive closer together come in crowds: more is accepted at a time

Handler: TypeAlias = Callable[[ByteStream], Coroutine[Any, Any, None]]


class ConnectionLimits:
    """Counts connections, in all and by source; 0 sets no limit.

    An IPv6 source is its /64, what one subscriber has. The table holds only sources that are connected, so
    it is no longer than there are connections. This machine's own clients (loopback, Unix sockets) count in
    all alone: whatever else listens here, another proxy perhaps, speaks for many.

    With `evict_unknown`, a client that was admitted (`admit`) and is not known yet (`mark_known`) may be evicted:
    strangers have at most three quarters of all slots, and where these, or all, are taken, the oldest stranger of the
    network with most of them is evicted. Where they become many, none stays for longer than `pressure_seconds`.
    """

    def __init__(
        self,
        *,
        total: int = 0,
        per_source: int = 0,
        evict_unknown: bool = False,
        pressure_seconds: float = PRESSURE_SECONDS,
    ) -> None:
        self._total = total
        self._pressure_seconds = pressure_seconds
        self._max_unknown = total - total // RESERVED_SHARE if evict_unknown else 0
        self._hosts: dict[object, str] = {}  # of admitted clients, by key
        self._unknown: dict[object, _UnknownClient] = {}  # the oldest first
        self._by_network: ClientsByNetwork[object] | None = None  # of them, while they are many
        self._per_source = per_source
        self.count = 0  # of connections
        self._sources: dict[str, int] = {}
        self._freed = asyncio.Event()
        self._awaited = 0  # tasks that wait for it

    def enter(self, host: str) -> str:
        """Count a connection from `host` and return ""; or return why it is refused."""
        if self._total and self.count >= self._total:
            return f"{self.count} connections already"
        if self._per_source and (source := source_of(host)):
            count = self._sources.get(source, 0)
            if count >= self._per_source:
                return f"{count} connections from {source} already"
            self._sources[source] = count + 1
        self.count += 1
        return ""

    def leave(self, host: str) -> None:
        """Count out a connection that was counted in."""
        self.count -= 1
        if self._awaited:
            self._freed.set()
        if self._per_source and (source := source_of(host)):
            left = self._sources[source] - 1
            if left:
                self._sources[source] = left
            else:
                del self._sources[source]

    def admit(self, key: object, host: str, on_evicted: Callable[[], None]) -> str:
        """Count the client that `key` stands for and return ""; or return why it is refused.

        `on_evicted` is called if the client is evicted; its slot is free by then.
        """
        if self._max_unknown:
            self._make_room()
        if refusal := self.enter(host):
            return refusal
        self._hosts[key] = host
        self._add_unknown(key, host, on_evicted)
        return ""

    def mark_known(self, key: object) -> None:
        """Mark an admitted client as known: it is never evicted. Idempotent."""
        self._drop_unknown(key)

    def mark_unknown(self, key: object, on_evicted: Callable[[], None]) -> None:
        """Mark an admitted client as unknown: it may be evicted again."""
        if key in self._hosts:
            self._drop_unknown(key)  # it may never have been settled
            self._add_unknown(key, self._hosts[key], on_evicted)

    def release(self, key: object) -> None:
        """Stop counting an admitted client, unless it was evicted. Idempotent."""
        if key in self._unknown:
            self._drop_unknown(key)
        host = self._hosts.pop(key, None)
        if host is not None:
            self.leave(host)

    def _add_unknown(self, key: object, host: str, on_evicted: Callable[[], None]) -> None:
        if self._max_unknown:
            self._unknown[key] = _UnknownClient(host, time.monotonic(), on_evicted)
            if self._by_network is not None:
                self._by_network.add(key, host)

    def _drop_unknown(self, key: object) -> None:
        if self._unknown.pop(key, None) is not None and self._by_network is not None:
            self._by_network.discard(key)
            if len(self._by_network) * CROWDED_SHARE * 2 < self._max_unknown:  # no need to keep it up
                self._by_network = None

    def _make_room(self) -> None:
        """Evict strangers where slots are short, or about to be."""
        unknown = self._unknown
        if len(unknown) * 2 >= self._max_unknown:
            too_old = time.monotonic() - self._pressure_seconds
            late = itertools.takewhile(lambda entry: entry[1].since < too_old, unknown.items())
            for key, _ in list(itertools.islice(late, ACCEPTS_PER_TURN)):
                self._evict(key)
        if len(unknown) * CROWDED_SHARE >= self._max_unknown:
            self._unknown_by_network()
        if unknown and (len(unknown) >= self._max_unknown or self.count >= self._total):
            self._evict(self._unknown_by_network().next_to_evict())

    def _unknown_by_network(self) -> ClientsByNetwork[object]:
        """Return the strangers by their networks; this index is kept as long as they are many."""
        if self._by_network is None:
            self._by_network = ClientsByNetwork()
            for key, stranger in self._unknown.items():
                self._by_network.add(key, stranger.host)
        return self._by_network

    def _evict(self, key: object) -> None:
        stranger = self._unknown.get(key)
        if stranger is not None:  # else it went with another
            self.release(key)
            stranger.on_evicted()

    async def wait_for_leave(self) -> None:
        """Wait until a connection is counted out."""
        self._freed.clear()
        self._awaited += 1
        try:
            await self._freed.wait()
        finally:
            self._awaited -= 1


@functools.lru_cache(maxsize=1024)
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
    group: EagerTaskGroup,
    poller: "Poller | None" = None,
    by_callbacks: Callable[[ByteStream], bool] | None = None,
    pause: float = SHORTAGE_PAUSE_SECONDS,
) -> None:
    """Run `handler` for each stream that arrives, in an eager task of `group`, until the listener is closed.

    `by_callbacks` is offered each stream of a listening socket first, with TLS or without, whose socket is reset by closing it:
    it returns whether it serves the stream to its end, and calls `limits.release` then.

    When it is known who a stream's client is, `limits.mark_known` is to be called with the stream as its key.

    The streams wait for bytes by `poller`, if there is one. What either raises goes to the observer and ends its
    stream, nothing else. Out of descriptors or memory, or after a fault of ours, accepting pauses until a connection
    ends, or for `pause` seconds.
    """
    async with EagerTaskGroup() as accepting:
        acceptor = _Acceptor(listener, handler, limits, observer, group, poller, by_callbacks)
        accepting.start(acceptor.run(pause))


class _UnknownClient(NamedTuple):
    """An admitted client that is not known."""

    host: str
    since: float
    on_evicted: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Acceptor:
    """What one accept loop works with."""

    _listener: Listener
    _handler: Handler
    _limits: ConnectionLimits
    _observer: Observer
    _group: EagerTaskGroup
    _poller: "Poller | None"
    _by_callbacks: Callable[[ByteStream], bool] | None
    _at_a_time: int = 1  # what is accepted before the others get their turn
    _arrived_at: float = 0.0
    _failure: Exception | None = None  # of accepting within a callback

    async def run(self, pause: float) -> None:
        """Accept until the listener is closed."""
        if (sockets := _sockets_of(self._listener)) is not None:
            sockets.on_arrival = self._accept_within_callback
        else:
            self._by_callbacks = None
        early = self._by_callbacks is not None
        while True:
            try:
                if early and sockets is not None:
                    self._accept_early(sockets)
                    early = False
                await self._listener.wait_readable()
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                self.accept_batch()
            except Exception as error:  # noqa: BLE001 - one fault must not leave a listener that is never accepted from
                if isinstance(error, OSError) and error.errno in CLOSED_ERRORS:
                    return
                await self.pause(error, pause)

    def _accept_early(self, sockets: SocketListener) -> None:
        """Set that accepted sockets are reset by closing them, also those that came too early to inherit it."""
        sockets.reset_accepted()
        for _ in range(MAX_EARLY):
            stream = self._listener.accept_nowait()
            if stream is None:
                return
            if (raw := stream.attribute(socket.socket)) is not None:
                reset_on_close(raw)
            self._admit(stream)

    def _accept_within_callback(self) -> bool:
        """Accept what has arrived without waking the task; False where that failed, and the task is to know."""
        try:
            self.accept_batch()
        except Exception as error:  # noqa: BLE001 - the task raises it
            self._failure = error
            return False
        return True

    def accept_batch(self) -> None:
        """Accept what has arrived, up to a limit. Raises OSError when no more can be accepted."""
        now = time.monotonic()
        crowded, self._arrived_at = now - self._arrived_at < CROWD_SECONDS, now
        # a try that finds nothing is a system call in vain: the loop reports those that are left
        self._at_a_time = min(2 * self._at_a_time, ACCEPTS_PER_TURN) if crowded else 1
        for _ in range(self._at_a_time):
            try:
                stream = self._listener.accept_nowait()
            except OSError as error:
                if error.errno not in CLIENT_GONE_ERRORS:
                    raise
                continue
            if stream is None:
                return
            self._admit(stream)

    async def pause(self, error: Exception, seconds: float) -> None:
        """Wait until a connection ends; trying on at once would only burn the processor."""
        if isinstance(error, OSError) and error.errno in SHORTAGE_ERRORS:
            self._observer.observe(AcceptPaused(url=self._listener.url, reason=error.strerror or str(error)))
        else:
            self._observer.observe(UnexpectedError(where=f"accepting at {self._listener.url}", error=error))
        async with time_limit(seconds):
            await self._limits.wait_for_leave()

    def _admit(self, stream: ByteStream) -> None:
        source = stream.remote.host
        if refusal := self._limits.admit(stream, source, stream.abort):
            self._observer.observe(LimitReached(source=source, reason=refusal))
            stream.abort()
            return
        if self._by_callbacks is not None:
            try:
                if self._by_callbacks(stream):
                    return
            except Exception as error:  # noqa: BLE001 - as in `_serve`
                self._report(source, error)
                self._leave(stream)
                return
            if (sock := stream.attribute(socket.socket)) is not None:
                close_in_order(sock)
        if self._poller is not None and (raw := stream.attribute(SocketStream)) is not None:
            raw.poll_with(self._poller)
        self._group.start(self._serve(stream, source))

    async def _serve(self, stream: ByteStream, source: str) -> None:
        try:
            await self._handler(stream)
        except Exception as error:  # noqa: BLE001 - the edge of a connection: its fault stays its own
            self._report(source, error)
        finally:
            self._leave(stream)

    def _report(self, source: str, error: Exception) -> None:
        self._observer.observe(UnexpectedError(where=f"serving {source or 'a local client'}", error=error))

    def _leave(self, stream: ByteStream) -> None:
        stream.abort()
        self._limits.release(stream)


def _sockets_of(listener: Listener) -> SocketListener | None:
    """Return what accepts a listener's sockets; None for listeners of other streams."""
    beneath = listener.beneath if isinstance(listener, WrappingListener) else listener
    return beneath if isinstance(beneath, SocketListener) else None
