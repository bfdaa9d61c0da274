"""Makes each request of one of several proxies: `UpstreamChoice` says which, and another one is asked where that is safe.

A request goes to the next proxy if the first one cannot have carried it out, or if a second copy does no harm. Such a one goes
there as soon as the first proxy is silent, too, without being given up: the first that grants it is used. Silent is a proxy that has
let nothing in since the request was made, be it this one or another; how long a destination takes to answer plays no part. An HTTP
proxy answers a CONNECT only once it has connected: it is asked for something else before it is called silent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from socks6.client.client import Client
from socks6.client.monitor import UPSTREAM_ERRORS, UpstreamMonitor
from socks6.client.upstream_choice import UpstreamChoice, UpstreamOrder
from socks6.dataclass import dataclass
from socks6.errors import (
    AuthenticationFailed,
    ConfigurationError,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    UpstreamFailed,
    VersionMismatch,
)
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.suggestion import suggestion_or_all

CONNECT_SECONDS: Final = 4.0  # to connect to a proxy, TLS included, while there are others
CHECK_SECONDS: Final = 4.0  # for a check to be answered, likewise
LATENCY_SECONDS: Final = 60.0  # between checks of a proxy that works, where its latency matters
PATIENCE_SECONDS: Final = (
    2.0  # until a request without an answer causes a check: is it the proxy, or the destination?
)
SILENT_SECONDS: Final = 0.4  # without a sign of a proxy, at least: then a request goes to the next one, too
SILENT_CHECKS: Final = 1.5  # times as long as the last check took, at least, too

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[ResultT]):
    """A request that was made of one of the proxies."""

    index: int
    number: int  # what to call `UpstreamChoice.failed` with
    since: float
    task: asyncio.Task[ResultT]


class Alternatives:
    """Several proxies, numbered from 0, each with its client, credentials, session and monitor."""

    def __init__(
        self, monitors: Sequence[UpstreamMonitor], order: UpstreamOrder = UpstreamOrder.FAILOVER
    ) -> None:
        self.monitors: Final = tuple(monitors)
        self._choice: Final = UpstreamChoice(len(monitors), order)
        self._waiting: Final[tuple[set[asyncio.Timeout], ...]] = tuple(set() for _ in monitors)
        self._checks: Final = [0] * len(monitors)  # what `UpstreamChoice.attempt` returned for the last one
        for index, monitor in enumerate(self.monitors):
            monitor.on_check(partial(self._check_began, index), partial(self._check_ended, index))

    def ranked(self) -> list[int]:
        """Return the numbers of all proxies, the one that the next request goes through first."""
        return self._choice.ranked(_now())

    async def request(
        self,
        make: Callable[[int], Awaitable[ResultT]],
        discard: Callable[[ResultT], Awaitable[object] | None],
        *,
        repeatable: bool = True,
    ) -> ResultT:
        """Return what the first proxy that works gives; `make` asks one, `discard` gets what comes second.

        Raises what `make` does; where no proxy works, an exception like the first one's, with the causes of all.
        """
        ranked = self.ranked()
        self._choice.next_turn()
        attempts: list[_Attempt[ResultT]] = []
        failures: list[BaseException] = []
        try:
            for index in ranked:
                attempts.append(newest := self._begin(index, make))
                while attempts and not await self._wait(
                    attempts, may_go_on=repeatable and index != ranked[-1]
                ):
                    over = next(attempt for attempt in attempts if attempt.task.done())
                    attempts.remove(over)
                    if (error := over.task.exception()) is None:
                        self._choice.worked(over.index)
                        self._record_silent([attempt for attempt in attempts if attempt is not newest])
                        return over.task.result()
                    failures.append(self._judge(over, error, repeatable))
        finally:
            await _end(attempts, discard)
        words = f"none of {len(ranked)} proxies works: {'; '.join(map(str, failures))}"
        raise type(failures[0])(words) from failures[0].__cause__

    def _begin(self, index: int, make: Callable[[int], Awaitable[ResultT]]) -> _Attempt[ResultT]:
        number = self._choice.attempt(index, _now())
        task = asyncio.create_task(self._ask(index, make), name="socks6 attempt")
        return _Attempt(index, number, _now(), task)

    async def _ask(self, index: int, make: Callable[[int], Awaitable[ResultT]]) -> ResultT:
        """Make a request of one proxy; raise ProxyTimedOut as soon as a check finds that down."""
        monitor, waiting = self.monitors[index], self._waiting[index]
        asking = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, monitor.refresh, PATIENCE_SECONDS)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                waiting.add(limit)
                return await make(index)
        except TimeoutError as error:
            if not limit.expired() or isinstance(error, OperationFailed):
                raise
            raise ProxyTimedOut(monitor.status.reason) from error
        finally:
            waiting.discard(limit)
            asking.cancel()

    async def _wait(self, attempts: Sequence[_Attempt[ResultT]], *, may_go_on: bool) -> bool:
        """Wait until an attempt is over, or until the newest one's proxy is silent; return whether it is that."""
        tasks = [attempt.task for attempt in attempts]
        newest = attempts[-1]
        patience, monitor = self._patience(newest.index), self.monitors[newest.index]
        periods = 0 if not may_go_on else 1 if monitor.client.answers_first else 2
        for period in range(1, periods + 1):
            left = newest.since + period * patience - _now()
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if done or not self._is_unheard(newest):
                break
            if period == periods:
                return True
            monitor.refresh(patience)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return False

    def _judge(self, attempt: _Attempt[ResultT], error: BaseException, repeatable: bool) -> BaseException:
        """Record why an attempt failed, and return that; raise it unless the request may go to the next proxy."""
        cause = error.__cause__ if isinstance(error, UpstreamFailed) else error
        if not isinstance(cause, UPSTREAM_ERRORS):
            if isinstance(error, OperationFailed) and error.__cause__ is None:  # the proxy's own answer
                self._choice.worked(attempt.index)
            raise error
        unsent = isinstance(cause, ProxyUnreachable) and cause.unsent
        if isinstance(cause, ProxyTimedOut) and not (unsent or self._is_down(attempt.index)):
            raise error  # the call's whole time has passed, which may be the destination's fault
        self._choice.failed(attempt.index, _now(), attempt.number)
        if not (repeatable or unsent or isinstance(cause, AuthenticationFailed | VersionMismatch)):
            raise error
        return cause

    def _record_silent(self, attempts: Sequence[_Attempt[ResultT]]) -> None:
        """Skip proxies that are silent while another one has answered, until a check is answered."""
        for attempt in attempts:
            if self._is_unheard(attempt):
                self._choice.failed(attempt.index, _now(), attempt.number)
                self.monitors[attempt.index].refresh(SILENT_SECONDS)

    def _is_unheard(self, attempt: _Attempt[ResultT]) -> bool:
        """Return whether a proxy has let no request in since an attempt."""
        return self.monitors[attempt.index].client.heard_at <= attempt.since

    def _patience(self, index: int) -> float:
        return max(SILENT_SECONDS, SILENT_CHECKS * self.monitors[index].status.seconds)

    def _is_down(self, index: int) -> bool:
        return self.monitors[index].status.state is UpstreamState.DOWN

    def _check_began(self, index: int) -> None:
        self._checks[index] = self._choice.attempt(index, _now(), is_check=True)

    def _check_ended(self, index: int) -> None:
        if self._is_down(index):
            self._choice.failed(index, _now(), self._checks[index])
            for limit in self._waiting[index]:
                limit.reschedule(_now())
        else:
            self._choice.worked(index)
            seconds = self.monitors[index].status.seconds
            if seconds:  # 0 while each answer was a refusal, which is not timed
                self._choice.measured(index, seconds)


class AlternativeClients:
    """The clients of several proxies, of which a `Client` with alternatives is made."""

    def __init__(self, clients: Iterable[Client], order: str) -> None:
        """Raises ConfigurationError for an unknown order."""
        if order not in (names := [one.value for one in UpstreamOrder]):
            raise ConfigurationError(f"there is no order {order!r}{suggestion_or_all(order, names)}")
        self.clients: Final = tuple(clients)
        self._order: Final = UpstreamOrder(order)
        every = LATENCY_SECONDS if self._order is UpstreamOrder.LEAST_LATENCY else None
        self._alternatives: Final = Alternatives(
            [
                UpstreamMonitor(client, check_seconds=CHECK_SECONDS, check_every=every)
                for client in self.clients
            ],
            self._order,
        )
        self._watching: list[asyncio.Task[None]] = []

    @property
    def upstreams(self) -> tuple[UpstreamStatus, ...]:
        """How each proxy is."""
        return tuple(monitor.status for monitor in self._alternatives.monitors)

    async def request(
        self,
        make: Callable[[Client], Awaitable[ResultT]],
        discard: Callable[[ResultT], Awaitable[object] | None] | None,
        *,
        repeatable: bool,
    ) -> ResultT:
        """See `Alternatives.request`."""

        async def watched(index: int) -> ResultT:
            monitor = self._alternatives.monitors[index]
            with monitor.watching():
                return await make(monitor.client)

        return await self._alternatives.request(watched, discard or (lambda _: None), repeatable=repeatable)

    def watch(self) -> None:
        """Check proxies that fail, and where latency matters all, until `abandon` or `aclose`. Idempotent."""
        if not self._watching:
            self._watching = [
                asyncio.create_task(self._check(monitor), name="socks6 upstream checks")
                for monitor in self._alternatives.monitors
            ]

    async def _check(self, monitor: UpstreamMonitor) -> None:
        if self._order is UpstreamOrder.LEAST_LATENCY:
            await monitor.check()
        await monitor.run()

    def abandon(self) -> None:
        """Close without waiting. Idempotent."""
        for task in self._watching:
            task.cancel()
        self._watching = []
        for client in self.clients:
            client.abandon()

    async def aclose(self) -> None:
        """Tear the sessions down, all at the same time. Idempotent."""
        tasks, self._watching = self._watching, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.aclose(), name="socks6 closing upstream")


async def _end(
    attempts: Sequence[_Attempt[ResultT]], discard: Callable[[ResultT], Awaitable[object] | None]
) -> None:
    """Cancel attempts that are left, and discard what they gave meanwhile."""
    tasks = [attempt.task for attempt in attempts]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            closing = discard(task.result())
            if closing is not None:
                await closing


def _now() -> float:
    return asyncio.get_running_loop().time()
