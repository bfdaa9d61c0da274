"""What the admin interface asks of a proxy. Its loop is another thread's: each question is put there, and has a time-out.

Whatever takes long, as thousands of connections, is read in slices, between which the proxy serves its clients.
"""

import asyncio
import contextlib
import functools
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from socks6.dataclass import dataclass
from socks6.distribution import VERSION
from socks6.proxy.authentication.chain import AuthenticatorChain
from socks6.proxy.authentication.penalty import Penalty
from socks6.proxy.live import ConnectionInfo, LiveTable, SessionInfo, TrafficTotals
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending, Event, Observer

if TYPE_CHECKING:
    from socks6.proxy.authentication.users_database import UsersDatabase

ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT")

ANSWER_SECONDS: Final = 5.0
RELOAD_SECONDS: Final = 60.0
SLICE: Final = 100  # connections that are read, or ended, in one turn of the proxy's loop
RATE_SECONDS: Final = 1.0  # rates are of this time at least

Reload = Callable[[], Awaitable[str]]
"""Reloads users and policy; returns what was wrong with them, "" if they are in force."""


class ProxyUnavailable(Exception):
    """The proxy did not answer in time, or has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a proxy is."""

    version: str
    pid: int
    uptime: float  # seconds
    listeners: tuple[str, ...]  # URLs
    connections: int  # with a request
    handshakes: int  # without one yet
    associations: int
    bindings: int
    sessions: int
    served: int  # connections that have ended
    bytes_up: int  # client to remote
    bytes_down: int
    bytes_up_per_second: float
    bytes_down_per_second: float
    users: int  # that the proxy knows


class ProxyBridge:
    """The proxy as the admin interface's thread sees it. Each call raises ProxyUnavailable."""

    def __init__(self, server: Server, worker: ServerWorker, reload: Reload) -> None:
        """`begin` is to be called in the proxy's loop before anything is asked."""
        self._server: Final = server
        self._worker: Final = worker
        self._reload: Final = reload
        self._started: Final = time.monotonic()
        self._before = (self._started, 0, 0)  # when, and what had been carried
        self._rates = (0.0, 0.0)
        self._asked: Final[set[asyncio.Task[Any]]] = set()  # that the proxy works at

    def begin(self) -> None:
        """Ask in the running loop from now on."""
        self._loop = asyncio.get_running_loop()

    async def status(self) -> Status:
        """Return how the proxy is."""

        def read() -> tuple[TrafficTotals, int, int, int, int]:
            table = self._worker.connections
            held = len(table.associations), len(table.bindings)
            return table.totals(), len(table), *held, len(table.sessions)

        totals, count, associations, bindings, sessions = await self._call(read)
        up, down = self._rates_of(totals)
        return Status(
            version=VERSION,
            pid=os.getpid(),
            uptime=time.monotonic() - self._started,
            listeners=self._server.urls,
            connections=totals.open,
            handshakes=max(0, count - totals.open),
            associations=associations,
            bindings=bindings,
            sessions=sessions,
            served=totals.served,
            bytes_up=totals.bytes_up,
            bytes_down=totals.bytes_down,
            bytes_up_per_second=up,
            bytes_down_per_second=down,
            users=self._worker.authenticator.user_count,
        )

    async def connections(self, wanted: Callable[[ConnectionInfo], bool]) -> list[ConnectionInfo]:
        """Return the connections that are wanted, the oldest first."""
        return await self._ask(lambda: _read(self._worker.connections, wanted))

    async def sessions(self) -> list[SessionInfo]:
        """Return the sessions."""
        return await self._call(lambda: self._worker.connections.sessions)

    async def kick(self, connection_id: int, reason: str) -> bool:
        """End a connection; return False if there is none of this number."""
        return await self._call(
            lambda: self._worker.connections.end(connection_id, ending=Ending.KICKED, reason=reason)
        )

    async def kick_all(self, wanted: Callable[[ConnectionInfo], bool], reason: str) -> list[int]:
        """End the connections that are wanted; return their numbers."""

        async def end() -> list[int]:
            table = self._worker.connections
            found = [info.id for info in await _read(table, wanted)]
            for position, number in enumerate(found, 1):
                table.end(number, ending=Ending.KICKED, reason=reason)
                if position % SLICE == 0:
                    await asyncio.sleep(0)
            return found

        return await self._ask(end)

    async def penalties(self) -> list[Penalty]:
        """Return the sources that are refused now."""
        return await self._call(lambda: self._worker.penalties.active(self._loop.time()))

    async def lift(self, source: str) -> int:
        """Lift the penalties of an address or a network; return how many. Raises ValueError for what is neither."""
        ipaddress.ip_network(source, strict=False)
        return await self._call(lambda: self._worker.penalties.lift(source, self._loop.time()))

    async def reload(self) -> str:
        """Reload users and policy; return what was wrong with them, "" if they are in force."""

        async def run() -> str:
            return await self._reload()

        return await self._ask(run, RELOAD_SECONDS)

    @property
    def users_database(self) -> "UsersDatabase | None":
        """The database of users that the proxy runs with now; any thread may use it, and waits for it."""
        from socks6.proxy.authentication.database_users import DatabaseUsers  # noqa: PLC0415 - SQLite takes 10 ms

        authenticator = self._worker.authenticator
        members = authenticator.members if isinstance(authenticator, AuthenticatorChain) else (authenticator,)
        return next((member.database for member in members if isinstance(member, DatabaseUsers)), None)

    def observe(self, observer: Observer, wants: frozenset[type[Event]]) -> None:
        """Give an observer these events from now on, and no others; waits for nothing."""

        def attach() -> None:
            self._worker.events.detach(observer)
            observer.wants = wants
            if wants:
                self._worker.events.attach(observer)

        with contextlib.suppress(RuntimeError):  # the proxy has ended
            self._loop.call_soon_threadsafe(attach)

    def _rates_of(self, totals: TrafficTotals) -> tuple[float, float]:
        """Return bytes a second up and down since the last time that they were asked for, or the rates of then."""
        now, (then, up, down) = time.monotonic(), self._before
        if (seconds := now - then) >= RATE_SECONDS:
            self._rates = (totals.bytes_up - up) / seconds, (totals.bytes_down - down) / seconds
            self._before = now, totals.bytes_up, totals.bytes_down
        return self._rates

    async def _call(self, function: Callable[[], ResultT]) -> ResultT:
        async def run() -> ResultT:
            return function()

        return await self._ask(run)

    async def _ask(
        self, question: Callable[[], Coroutine[Any, Any, ResultT]], seconds: float = ANSWER_SECONDS
    ) -> ResultT:
        """Run a coroutine in the proxy's loop; it goes on after the time-out."""
        answer: Future[ResultT] = Future()

        def begin() -> None:
            if answer.set_running_or_notify_cancel():
                task = self._loop.create_task(question(), name="admin")
                self._asked.add(task)
                task.add_done_callback(functools.partial(self._answered, answer))

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError:
            raise ProxyUnavailable("the proxy has ended") from None
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise ProxyUnavailable(f"the proxy did not answer within {seconds:g} s") from None

    def _answered(self, answer: "Future[ResultT]", task: "asyncio.Task[ResultT]") -> None:
        self._asked.discard(task)
        if task.cancelled():
            answer.set_exception(ProxyUnavailable("the proxy has ended"))
        elif (error := task.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(task.result())


async def _read(table: LiveTable, wanted: Callable[[ConnectionInfo], bool]) -> list[ConnectionInfo]:
    found: list[ConnectionInfo] = []
    connections = iter(table)
    while batch := list(islice(connections, SLICE)):
        found += filter(wanted, batch)
        await asyncio.sleep(0)
    return found
