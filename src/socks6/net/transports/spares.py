"""Connections to a proxy that are made ahead of the requests: a request over TLS then takes one round trip instead of three.

How many there are follows from the requests of the last ACTIVE_SECONDS; without any there are none. A proxy gives a
connection only so long for its request (its handshake time-out, usually 10 s): so spare ones are replaced after SPARE_SECONDS,
or sooner where the proxy was found to have closed one. A request with data that is sent just then is lost, and not repeated.
"""

import asyncio
import contextlib
import math
import socket
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, Final
from weakref import WeakKeyDictionary

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ProxyUnreachable
from socks6.message.codes import Command
from socks6.net.local_addresses import source_address
from socks6.net.silent_peers import round_trip
from socks6.net.stream import ByteStream
from socks6.net.transports.base import AnswerT, Connector, NotAnswered, StreamRequest, send_first

SPARE_SECONDS: Final = 7.0  # for which a connection is kept, at the most
LEARN_SECONDS: Final = (
    2.0  # what the proxy closes sooner tells nothing of its time-out: it may have been stopped
)
CLOSED_SHARE: Final = 0.6  # of the time after which a connection was found closed, the next ones are kept
ACTIVE_SECONDS: Final = 30.0  # after the last request there are no more spare connections
CONNECT_SECONDS: Final = 10.0
SLOW_SECONDS: Final = 0.5  # for a connection to be made, at least, before another one is begun instead
SLOW_TIMES: Final = 4  # as long as the last one took, at least, too
PAUSE_SECONDS: Final = 5.0  # after a failure, until a connection is made ahead again
MAX_REQUESTS: Final = 256  # whose times are kept
BUSY_SECONDS: Final = (
    4.0  # so many requests within them: then none is made ahead, which takes a quarter more CPU
)
FRESH_SECONDS: Final = 0.1  # so young a connection has the address that this machine has now
SILENT_SECONDS: Final = 0.25  # without an acknowledgement, at least: then a request goes by a new connection
SILENT_ROUND_TRIPS: Final = 3  # at least, too
UNANSWERED: Final = "the proxy does not answer any more"


@dataclass(slots=True)
class _Spare:
    """A connection without a request."""

    stream: ByteStream
    since: float  # on the loop's clock


class SpareConnector(Connector):
    """Opens each stream by a connection that is there already, once `keep_spares` was called; else by a new one."""

    def __init__(self, beneath: Connector, limit: int) -> None:
        """`beneath` makes the connections, of which `limit` at most are spare."""
        self._beneath = beneath
        self._limit = limit
        self._is_kept = False
        self._seconds = SPARE_SECONDS  # for which each is kept
        self._spares: list[_Spare] = []  # the oldest first
        self._connecting: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._requested: deque[float] = deque(maxlen=MAX_REQUESTS)  # when, on the loop's clock
        self._used: WeakKeyDictionary[ByteStream, float] = WeakKeyDictionary()  # since when they were spare
        self._seconds_to_open = 0.0  # that the last connection took; 0 before
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # in which all of these are

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        if not self._is_kept:
            return await self._open_anew(request)
        self._enter_loop()
        self._requested.append(_now())
        # options about this leg are for a socket that is not connected yet
        stream = None if request.client_leg_options or request.repeated else self._take()
        if stream is None:
            return await self._open_anew(request)
        await send_first(stream, request.early_data)
        return stream

    async def _open_anew(self, request: StreamRequest) -> ByteStream:
        """Open a connection; begin once more where that takes far longer than the last time: the network may be another by now."""
        if self._seconds_to_open:
            limit = asyncio.timeout(max(SLOW_SECONDS, SLOW_TIMES * self._seconds_to_open))
            try:
                async with limit:
                    return await self._open(request)
            except TimeoutError:
                if not limit.expired():
                    raise
        return await self._open(request)

    async def _open(self, request: StreamRequest) -> ByteStream:
        began = _now()
        stream = await self._beneath.open(request)
        self._seconds_to_open = _now() - began
        return stream

    @override
    async def first_answer(self, stream: ByteStream, answer: Awaitable[AnswerT]) -> AnswerT:
        """See `Connector.first_answer`: the proxy may have closed a spare connection a moment before it was used, or be out of reach."""
        loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)

        def look() -> None:
            if stream.unacknowledged and not limit.expired():
                limit.reschedule(loop.time())

        timer = loop.call_later(_patience(stream), look)
        try:
            async with limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise
            self._abort_spares()  # they are as old
            raise NotAnswered(UNANSWERED) from error
        except ProxyUnreachable as error:
            if stream not in self._used:
                raise
            self._learn(self._used[stream])
            raise NotAnswered(str(error)) from error
        finally:
            timer.cancel()

    @override
    def answered(self, stream: ByteStream) -> None:
        """Connect ahead. Not before: a proxy that refuses us would count each connection, and few places are the requests'."""
        self._beneath.answered(stream)
        self._connect_ahead()

    @override
    def keep_spares(self) -> None:
        """Connect ahead of requests from the next one on, until `abandon` or `aclose`. Idempotent."""
        self._is_kept = True

    @override
    def close(self) -> None:
        """Close the spare connections; the next request has others made."""
        self._requested.clear()
        self._seconds = SPARE_SECONDS
        self._seconds_to_open = 0.0
        for task in self._connecting | self._closing:
            task.cancel()
        self._abort_spares()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._beneath.close()

    @override
    def abandon(self) -> None:
        self._is_kept = False
        self.close()
        self._beneath.abandon()

    @override
    async def aclose(self) -> None:
        tasks = self._connecting | self._closing
        self.abandon()
        if tasks:
            await asyncio.wait(tasks)
        await self._beneath.aclose()

    def _abort_spares(self) -> None:
        spares, self._spares = self._spares, []
        for spare in spares:
            spare.stream.abort()

    def _enter_loop(self) -> None:
        """Leave alone what is of another event loop: a caller may use a client in one after another."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        self._timer = None
        self._connecting, self._closing = set(), set()
        spares, self._spares = self._spares, []
        for spare in spares:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                spare.stream.abort()

    def _take(self) -> ByteStream | None:
        """Return the newest spare connection that is sound; None if there is none."""
        while self._spares:
            spare = self._spares.pop()
            if _now() < spare.since + self._seconds and self._is_sound(spare):
                self._used[spare.stream] = spare.since
                return spare.stream
            spare.stream.abort()
        return None

    def _is_sound(self, spare: _Spare) -> bool:
        """Return whether the proxy has not closed a connection, and this machine still has its address."""
        stream = spare.stream
        try:
            if stream.receive_nowait(1) is None:
                if _now() < spare.since + FRESH_SECONDS:
                    return True
                return source_address(stream.remote.host) == stream.local.host
        except OSError:
            pass
        self._learn(spare.since)
        return False

    def _learn(self, since: float) -> None:
        """Keep connections for less time than one that the proxy has closed meanwhile."""
        age = _now() - since
        if age >= LEARN_SECONDS:
            self._seconds = min(self._seconds, CLOSED_SHARE * age)

    def _is_busy(self, now: float) -> bool:
        """Return whether so many requests come that spare connections, of which few get one, cost more than they save."""
        requested = self._requested
        return len(requested) == MAX_REQUESTS and now - requested[0] < BUSY_SECONDS

    def _wanted(self) -> int:
        """Return how many spare connections there should be: as many as are used within the time that one is kept."""
        now = _now()
        while self._requested and now - self._requested[0] > ACTIVE_SECONDS:
            self._requested.popleft()
        return min(self._limit, math.ceil(len(self._requested) * self._seconds / ACTIVE_SECONDS))

    def _connect_ahead(self) -> None:
        """Begin to make connections that are missing."""
        now = _now()
        if not self._is_kept or now < self._paused_until or self._is_busy(now):
            return
        for _ in range(self._wanted() - len(self._spares) - len(self._connecting)):
            _begin(self._connect(), self._connecting)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                # b"": the handshake is to be over now, not with a request
                stream = await self._open(StreamRequest(Command.NOOP, early_data=b""))
        except OSError:  # a request will tell
            self._paused_until = _now() + PAUSE_SECONDS
            self._seconds = SPARE_SECONDS  # a proxy that is started anew may have another time-out
            return
        self._spares.append(_Spare(stream, _now()))
        self._expire_later()

    def _expire_later(self) -> None:
        if self._timer is None and self._spares:
            self._timer = asyncio.get_running_loop().call_at(
                self._spares[0].since + self._seconds, self._expire
            )

    def _expire(self) -> None:
        """Close what has been spare for too long, and replace it."""
        self._timer = None
        while self._spares and _now() >= self._spares[0].since + self._seconds:
            spare = self._spares.pop(0)
            self._is_sound(spare)
            _begin(spare.stream.aclose(), self._closing)
        self._expire_later()
        self._connect_ahead()


def _patience(stream: ByteStream) -> float:
    """Return how many seconds after a request was sent the proxy's machine should have acknowledged it."""
    sock = stream.attribute(socket.socket)
    return SILENT_SECONDS if sock is None else max(SILENT_SECONDS, SILENT_ROUND_TRIPS * round_trip(sock))


def _begin(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work, name="socks6 spare connection")
    among.add(task)
    task.add_done_callback(among.discard)


def _now() -> float:
    return asyncio.get_running_loop().time()
