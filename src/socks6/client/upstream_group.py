"""The outbound through one of several upstream proxies: `Alternatives` says which, and when a request goes to the next."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, TypeVar

from socks6.client.alternatives import Alternatives
from socks6.client.monitor import UPSTREAM_ERRORS
from socks6.client.outbound import UpstreamOutbound
from socks6.client.upstream_choice import UpstreamOrder
from socks6.compat import override
from socks6.errors import UpstreamFailed
from socks6.message.options import StackOption
from socks6.net.stream import Binding, ConnectResult, DatagramChannel, DatagramJudge, Judge, Outbound
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.telemetry import Observer

if sys.platform == "linux":
    from socks6.net.poller import Poller

ResultT = TypeVar("ResultT")


class UpstreamGroup(Outbound):
    """Connects, binds and associates at one of several upstream proxies. Each has its own credentials and session.

    A request goes to the next one where its proxy fails or is silent. For that none carries first data, which nobody may get twice: it
    follows once a proxy has granted the request. Bindings and associations stay with their proxy.
    """

    def __init__(
        self, outbounds: Sequence[UpstreamOutbound], order: UpstreamOrder = UpstreamOrder.FAILOVER
    ) -> None:
        self._outbounds: Final = tuple(outbounds)
        self.monitors: Final = tuple(outbound.monitor for outbound in outbounds)
        self._alternatives: Final = Alternatives(self.monitors, order)

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
        """See `Outbound.connect`. The caller sends the first data. Raises the upstream's reply code; 01 if no upstream works."""
        return await self._request(
            lambda outbound: outbound.connect(host, port, judge=judge, options=options, holder=holder),
            lambda result: result.stream.aclose(),
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
            ),
            Binding.aclose,
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
            lambda outbound: outbound.associate(host, port, judge=judge, options=options),
            DatagramChannel.aclose,
        )

    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def upstream(self) -> UpstreamStatus:
        """The proxy that the next request goes through, as far as is known."""
        ranked = [self.monitors[index].status for index in self._alternatives.ranked()]
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
        self,
        make: Callable[[UpstreamOutbound], Awaitable[ResultT]],
        discard: Callable[[ResultT], Awaitable[object]],
    ) -> ResultT:
        """Return what the first upstream that works gives. Raises OperationFailed."""
        try:
            return await self._alternatives.request(lambda index: make(self._outbounds[index]), discard)
        except UPSTREAM_ERRORS as error:
            raise UpstreamFailed(f"upstream: {error}") from error
