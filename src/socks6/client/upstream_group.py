"""The outbound through one of several upstream proxies: `UpstreamChoice` says which, and a request goes on to the next where that is safe."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Final, TypeVar

from socks6.client.outbound import Socks6Outbound
from socks6.client.upstream_choice import UpstreamChoice, UpstreamOrder
from socks6.compat import override
from socks6.errors import (
    AuthenticationFailed,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    UpstreamFailed,
    VersionMismatch,
)
from socks6.message.options import StackOption
from socks6.net.stream import Binding, ConnectResult, DatagramChannel, DatagramJudge, Judge, Outbound
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.telemetry import Observer

if sys.platform == "linux":
    from socks6.net.poller import Poller

CONNECT_SECONDS: Final = 4.0  # to connect to a proxy, TLS included, while there are others
CHECK_SECONDS: Final = 4.0  # for a check to be answered, likewise
LATENCY_SECONDS: Final = 60.0  # between checks of a proxy that works, where its latency matters
PATIENCE_SECONDS: Final = (
    2.0  # until a request without an answer causes a check: is it the proxy, or the destination?
)

ResultT = TypeVar("ResultT")


class UpstreamGroup(Outbound):
    """Connects, binds and associates at one of several upstream proxies. Each has its own credentials and session.

    A request whose proxy fails goes to the next one if that proxy cannot have carried it out, or if a second copy does
    no harm: it has no initial data and spends no token. Bindings and associations stay with their proxy.
    """

    def __init__(
        self, outbounds: Sequence[Socks6Outbound], order: UpstreamOrder = UpstreamOrder.FAILOVER
    ) -> None:
        self._outbounds: Final = tuple(outbounds)
        self._choice: Final = UpstreamChoice(len(outbounds), order)
        self._waiting: Final[tuple[set[asyncio.Timeout], ...]] = tuple(set() for _ in outbounds)
        self._checks: Final = [0] * len(outbounds)  # what `UpstreamChoice.attempt` returned for the last one
        self.monitors: Final = tuple(outbound.monitor for outbound in outbounds)
        for index, monitor in enumerate(self.monitors):
            monitor.on_check(partial(self._check_began, index), partial(self._check_ended, index))

    @property
    @override
    def resolves(self) -> bool:
        return False

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        """See `Outbound.connect`. Raises the upstream's reply code; 01 if no upstream works."""
        return await self._request(
            lambda outbound: outbound.connect(
                host, port, judge=judge, options=options, first_data=first_data, holder=holder
            ),
            repeatable=not first_data,
        )

    @override
    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        """See `Outbound.bind`. The upstream judges the bound address; `judge_peer` judges peers here too."""
        return await self._request(
            lambda outbound: outbound.bind(
                host, port, judge=judge, judge_peer=judge_peer, options=options, backlog=backlog
            )
        )

    @override
    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        """See `Outbound.associate`. The port is the upstream's, which resolves the names of datagrams."""
        return await self._request(
            lambda outbound: outbound.associate(host, port, judge=judge, options=options)
        )

    @property
    @override
    def upstream(self) -> UpstreamStatus:
        """The proxy that the next request goes through, as far as is known."""
        ranked = [self.monitors[index].status for index in self._choice.ranked(_now())]
        return next((status for status in ranked if status.state is UpstreamState.UP), ranked[0])

    @property
    @override
    def upstreams(self) -> tuple[UpstreamStatus, ...]:
        return tuple(monitor.status for monitor in self.monitors)

    @override
    def refresh(self, max_age: float) -> None:
        for outbound in self._outbounds:
            outbound.refresh(max_age)

    @override
    def poll_with(self, poller: "Poller") -> None:
        for outbound in self._outbounds:
            outbound.poll_with(poller)

    @override
    def report_to(self, observer: Observer) -> None:
        for outbound in self._outbounds:
            outbound.report_to(observer)

    @override
    async def aclose(self) -> None:
        """Tear down the sessions with the upstreams, all at the same time."""
        async with asyncio.TaskGroup() as group:
            for outbound in self._outbounds:
                group.create_task(outbound.aclose(), name="socks6 closing upstream")

    async def _request(
        self, make: Callable[[Socks6Outbound], Awaitable[ResultT]], *, repeatable: bool = True
    ) -> ResultT:
        """Return what the first upstream that works gives. Raises OperationFailed."""
        ranked = self._choice.ranked(_now())
        self._choice.next_turn()
        failures: list[UpstreamFailed] = []
        for index in ranked:
            attempt = self._choice.attempt(index, _now())
            try:
                result = await self._attempt(index, make, repeatable)
            except UpstreamFailed as error:
                cause = error.__cause__
                unsent = isinstance(cause, ProxyUnreachable) and cause.unsent
                if isinstance(cause, ProxyTimedOut) and not (unsent or self._is_down(index)):
                    raise  # the call's whole time has passed, which may be the destination's fault
                self._choice.failed(index, _now(), attempt)
                if not (repeatable or unsent or isinstance(cause, AuthenticationFailed | VersionMismatch)):
                    raise
                failures.append(error)
            except OperationFailed as error:
                if error.__cause__ is None:  # the proxy's own answer
                    self._choice.worked(index)
                raise
            else:
                self._choice.worked(index)
                return result
        causes = [failure.__cause__ or failure for failure in failures]
        words = f"none of {len(ranked)} proxies works: {'; '.join(map(str, causes))}"
        combined = type(causes[0])(words)  # clients get it as the cause
        combined.__cause__ = causes[0].__cause__
        raise UpstreamFailed(f"upstream: {words}") from combined

    async def _attempt(
        self, index: int, make: Callable[[Socks6Outbound], Awaitable[ResultT]], repeatable: bool
    ) -> ResultT:
        """Make a request by one upstream; give up one that is `repeatable` as soon as a check finds it down."""
        outbound, waiting = self._outbounds[index], self._waiting[index]
        if not repeatable:
            return await make(outbound)
        asking = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, outbound.refresh, PATIENCE_SECONDS)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                waiting.add(limit)
                return await make(outbound)
        except TimeoutError as error:
            if not limit.expired() or isinstance(error, OperationFailed):
                raise
            reason = outbound.monitor.status.reason
            raise UpstreamFailed(f"upstream: {reason}") from ProxyTimedOut(reason)
        finally:
            waiting.discard(limit)
            asking.cancel()

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


def _now() -> float:
    return asyncio.get_running_loop().time()
