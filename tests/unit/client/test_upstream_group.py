"""Several upstream proxies as one outbound: which requests go on to the next one."""

import asyncio
from collections.abc import Hashable
from typing import Final

import pytest
from typing_extensions import override

from socks6.client import alternatives
from socks6.client.client import Client, ProxyCheck, Timeout
from socks6.client.monitor import UPSTREAM_ERRORS
from socks6.client.outbound import UpstreamOutbound
from socks6.client.upstream_choice import UpstreamOrder
from socks6.client.upstream_group import UpstreamGroup
from socks6.errors import (
    AuthenticationFailed,
    CommandNotSupported,
    ConnectionRefused,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    UpstreamFailed,
    VersionMismatch,
)
from socks6.message.options import StackOption
from socks6.net.stream import ConnectResult, Judge
from socks6.net.upstream import UpstreamState
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import BOUND

LOST: Final = ProxyUnreachable("the connection to the proxy broke")
UNSENT: Final = ProxyUnreachable("cannot reach the proxy", unsent=True)


class CheckedClient(Client):
    """A client whose checks fail, or succeed, as the test says."""

    outcome: Exception | ProxyCheck = ProxyTimedOut("no answer to the check")

    @override
    async def check(self, *, timeout: Timeout = "client") -> ProxyCheck:
        if isinstance(self.outcome, ProxyCheck):
            return self.outcome
        raise self.outcome


class ScriptedOutbound(UpstreamOutbound):
    """An outbound that connects, fails as the test says, or never answers; `asked` counts."""

    def __init__(self, name: str, failure: Socks6Error | None = None) -> None:
        self.checked = CheckedClient(f"socks6://{name}")
        super().__init__(self.checked)
        self.failure = failure
        self.silent = False
        self.first_data = b""
        self.asked = 0
        self.was_asked = asyncio.Event()

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
        self.asked += 1
        self.first_data = first_data
        self.was_asked.set()
        with self._reported():
            if self.silent:
                await asyncio.Event().wait()
            if self.failure is not None:
                raise self.failure
        return ConnectResult(stream=memory_stream_pair()[0], bound=BOUND)


async def connect(group: UpstreamGroup, first_data: bytes = b"") -> ConnectResult:
    return await group.connect("example.com", 80, judge=lambda *_: True, first_data=first_data)


def test_what_failed_is_left_alone_until_its_pause_is_over(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one", LOST), ScriptedOutbound("two")]
        group = UpstreamGroup(outbounds)
        for _ in range(5):
            (await connect(group)).stream.abort()
        assert [outbound.asked for outbound in outbounds] == [1, 5]
        assert [status.state for status in group.upstreams] == [UpstreamState.DOWN, UpstreamState.UP]
        assert group.upstream.url == outbounds[1].client.url.brief

    run(scene())


@pytest.mark.parametrize(
    ("failure", "first_data", "goes_on"),
    [
        (LOST, b"", True),
        (LOST, b"hi", True),  # none of it was sent
        (UNSENT, b"hi", True),
        (AuthenticationFailed("no"), b"hi", True),
        (VersionMismatch("SOCKS 5"), b"hi", True),
        (ProxyTimedOut("no answer within 60 s"), b"", False),
        (ProxyTimedOut("nothing answers there", unsent=True), b"hi", True),
        (ConnectionRefused("the host"), b"", False),  # the proxy's own answer
    ],
)
def test_a_request_goes_on_where_it_cannot_be_carried_out_twice(
    run: Run, failure: Socks6Error, first_data: bytes, goes_on: bool
) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one", failure), ScriptedOutbound("two")]
        group = UpstreamGroup(outbounds)
        if goes_on:
            (await connect(group, first_data)).stream.abort()
        else:
            with pytest.raises(UpstreamFailed if isinstance(failure, UPSTREAM_ERRORS) else type(failure)):
                await connect(group, first_data)
        assert [outbound.asked for outbound in outbounds] == [1, int(goes_on)]

    run(scene())


def test_first_data_waits_for_the_grant(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one", LOST), ScriptedOutbound("two")]
        result = await connect(UpstreamGroup(outbounds), b"hi")
        assert result.first_data_sent == 0
        assert [outbound.first_data for outbound in outbounds] == [b"", b""]
        result.stream.abort()

    run(scene())


def test_where_none_works_the_error_has_each_ones_cause(run: Run) -> None:
    async def scene() -> None:
        group = UpstreamGroup(
            [ScriptedOutbound("one", LOST), ScriptedOutbound("two", AuthenticationFailed("wrong password"))]
        )
        for _ in range(2):  # also when both are to be skipped
            with pytest.raises(UpstreamFailed) as caught:
                await connect(group)
            cause = caught.value.__cause__
            assert isinstance(cause, ProxyUnreachable)
            assert str(cause) == f"none of 2 proxies works: {LOST}; wrong password"

    run(scene())


def test_a_request_that_waits_goes_on_once_a_check_finds_its_proxy_down(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one"), ScriptedOutbound("two")]
        outbounds[0].silent = True
        group = UpstreamGroup(outbounds)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(connect(group))
            await outbounds[0].was_asked.wait()
            await group.monitors[0].check()
        waiting.result().stream.abort()
        assert outbounds[1].asked == 1

    run(scene())


def test_a_request_that_waits_for_long_causes_the_check(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternatives, "PATIENCE_SECONDS", 0.001)

    async def scene() -> None:
        outbounds = [ScriptedOutbound("one"), ScriptedOutbound("two")]
        outbounds[0].silent = True
        group = UpstreamGroup(outbounds)
        async with asyncio.TaskGroup() as tasks:
            checking = tasks.create_task(group.monitors[0].run())
            (await connect(group)).stream.abort()
            checking.cancel()
        assert outbounds[1].asked == 1

    run(scene())


def test_a_proxy_that_answers_for_the_host_works_again(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one", LOST), ScriptedOutbound("two", LOST)]
        group = UpstreamGroup(outbounds)
        with pytest.raises(UpstreamFailed):
            await connect(group)
        outbounds[1].failure = ConnectionRefused("the host")
        for _ in range(2):
            with pytest.raises(ConnectionRefused):
                await connect(group)
        assert [outbound.asked for outbound in outbounds] == [2, 3]  # the second time at once

    run(scene())


def test_with_round_robin_each_has_its_turn(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one"), ScriptedOutbound("two"), ScriptedOutbound("three")]
        group = UpstreamGroup(outbounds, UpstreamOrder.ROUND_ROBIN)
        for _ in range(6):
            (await connect(group)).stream.abort()
        assert [outbound.asked for outbound in outbounds] == [2, 2, 2]

    run(scene())


def test_an_upstream_whose_answer_to_checks_was_a_refusal_is_not_taken_for_the_fastest(run: Run) -> None:
    async def scene() -> None:
        outbounds = [ScriptedOutbound("one"), ScriptedOutbound("two")]
        outbounds[0].checked.outcome = CommandNotSupported("no NOOP")
        outbounds[1].checked.outcome = ProxyCheck(seconds=0.5, encryption="")
        group = UpstreamGroup(outbounds, UpstreamOrder.LEAST_LATENCY)
        for monitor in group.monitors:
            await monitor.check()
        (await connect(group)).stream.abort()
        assert [outbound.asked for outbound in outbounds] == [0, 1]

    run(scene())
