"""Whether the proxy to go through works: what a monitor makes of requests, checks and time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from socks6.client.client import Client, ProxyCheck, Timeout
from socks6.client.monitor import UpstreamMonitor
from socks6.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConnectionRefused,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    VersionMismatch,
)
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.telemetry import Event, Observer, UpstreamDown, UpstreamUp
from tests.kit.loops import Run

URL = "socks6+tls://alice@far:8389"
OUT_OF_REACH = ProxyUnreachable("cannot reach the proxy: Connection refused")


class CheckedClient(Client):
    """A client whose checks come out as the test says; `checks` counts them."""

    def __init__(self, outcome: Socks6Error | None = None) -> None:
        super().__init__("socks6+tls://alice:wonder@far?pin-sha256=" + "A" * 43 + "=")
        self.outcome = outcome
        self.checks = 0
        self.checked = asyncio.Event()

    @override
    async def check(self, *, timeout: Timeout = "client") -> ProxyCheck:
        self.checks += 1
        self.checked.set()
        if self.outcome is not None:
            raise self.outcome
        return ProxyCheck(seconds=0.0234, encryption="TLS 1.3")

    async def next_check(self) -> None:
        """Wait until one more check was made."""
        self.checked.clear()
        await self.checked.wait()


class Seen(Observer):
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.came = asyncio.Event()

    @override
    def observe(self, event: Event) -> None:
        self.events.append(event)
        self.came.set()

    async def count(self, number: int) -> None:
        """Wait until there were so many."""
        while len(self.events) < number:
            self.came.clear()
            await self.came.wait()

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]


def watched(client: Client, *, report_every: float = 60.0) -> tuple[UpstreamMonitor, Seen]:
    seen = Seen()
    monitor = UpstreamMonitor(client, first_pause=0.001, report_every=report_every)
    monitor.report_to(seen)
    return monitor, seen


@contextlib.asynccontextmanager
async def running(monitor: UpstreamMonitor) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(monitor.run())
        yield
        task.cancel()


def make(monitor: UpstreamMonitor, failure: Socks6Error | None = None) -> None:
    """Make a request that is granted, or fails."""
    with contextlib.suppress(Socks6Error), monitor.watching():
        if failure is not None:
            raise failure


def test_a_check_tells_all_that_a_line_shows_and_no_secret(run: Run) -> None:
    async def scene() -> None:
        monitor, seen = watched(CheckedClient())
        assert monitor.status == UpstreamStatus(url=URL)
        await monitor.check()
        assert monitor.status.words == f"through {URL}, TLS 1.3, 23 ms".removeprefix("through ")
        assert seen.events == [UpstreamUp(url=URL, encryption="TLS 1.3")]

    run(scene())


@pytest.mark.parametrize(
    "failure", [OUT_OF_REACH, AuthenticationFailed("no"), CertificateRefused("no"), VersionMismatch("no")]
)
def test_a_request_that_fails_for_the_proxys_sake_shows_that_it_is_down(
    run: Run, failure: Socks6Error
) -> None:
    async def scene() -> None:
        monitor, seen = watched(CheckedClient())
        make(monitor, failure)
        make(monitor, failure)
        assert monitor.status.state is UpstreamState.DOWN
        assert seen.events == [UpstreamDown(url=URL, reason=str(failure))]

    run(scene())


def test_a_reply_about_the_host_shows_that_the_proxy_works(run: Run) -> None:
    async def scene() -> None:
        monitor, seen = watched(CheckedClient())
        make(monitor, ConnectionRefused("the host"))
        assert monitor.status.state is UpstreamState.UP
        assert seen.kinds == [UpstreamUp]

    run(scene())


def test_after_a_time_out_a_check_decides_whose_it_was(run: Run) -> None:
    async def scene() -> None:
        client = CheckedClient()
        monitor, _ = watched(client)
        async with running(monitor):
            make(monitor, ProxyTimedOut("no answer"))
            assert not monitor.status.reason
            await client.next_check()
        assert monitor.status.state is UpstreamState.UP

    run(scene())


def test_a_proxy_that_is_down_is_checked_until_it_works_and_then_no_more(run: Run) -> None:
    async def scene() -> None:
        client = CheckedClient(OUT_OF_REACH)
        monitor, _ = watched(client)
        async with running(monitor):
            make(monitor, OUT_OF_REACH)
            await client.next_check()
            await client.next_check()
            client.outcome = None
            await client.next_check()
            checks = client.checks
            assert monitor.status.state is UpstreamState.UP
            assert monitor.status.last_error == str(OUT_OF_REACH)
            await asyncio.sleep(0.02)
        assert client.checks == checks

    run(scene())


def test_pauses_grow(run: Run) -> None:
    async def scene() -> None:
        monitor, _ = watched(CheckedClient(OUT_OF_REACH))
        for _ in range(30):
            await monitor.check()
        assert monitor._pause == 60.0

    run(scene())


def test_refused_credentials_are_not_tried_again_and_again(run: Run) -> None:
    async def scene() -> None:
        client = CheckedClient(AuthenticationFailed("no"))
        monitor, _ = watched(client)
        async with running(monitor):
            make(monitor, AuthenticationFailed("no"))
            monitor.refresh(0.0)
            await asyncio.sleep(0.02)
        assert client.checks == 0

    run(scene())


def test_who_wants_news_gets_a_check_unless_the_last_one_is_young(run: Run) -> None:
    async def scene() -> None:
        client = CheckedClient()
        monitor, _ = watched(client)
        await monitor.check()
        async with running(monitor):
            monitor.refresh(60.0)
            await asyncio.sleep(0.01)
            assert client.checks == 1
            monitor.refresh(0.0)
            await client.next_check()

    run(scene())


def test_changes_in_between_are_not_reported(run: Run) -> None:
    async def scene() -> None:
        monitor, seen = watched(CheckedClient(), report_every=0.2)
        for _ in range(10):
            make(monitor)
            make(monitor, OUT_OF_REACH)
        make(monitor)
        assert seen.kinds == [UpstreamUp, UpstreamDown]
        await seen.count(3)
        assert seen.kinds == [UpstreamUp, UpstreamDown, UpstreamUp]
        last = seen.events[-1]
        assert isinstance(last, UpstreamUp)
        assert last.down_for > 0.0

    run(scene())


def test_another_cause_is_reported_in_its_turn(run: Run) -> None:
    async def scene() -> None:
        monitor, seen = watched(CheckedClient(), report_every=0.01)
        make(monitor, OUT_OF_REACH)
        make(monitor, AuthenticationFailed("wrong password"))
        await seen.count(2)
        assert seen.events[1:] == [UpstreamDown(url=URL, reason="wrong password")]

    run(scene())


def test_where_latency_matters_a_proxy_that_works_is_checked_again(run: Run) -> None:
    async def scene() -> None:
        client = CheckedClient()
        monitor = UpstreamMonitor(client, check_every=0.001, draw=lambda: 1.0)
        assert monitor._jittered(60.0) == 45.0
        seen: list[str] = []
        monitor.on_check(lambda: seen.append("began"), lambda: seen.append(monitor.status.state.value))
        make(monitor)
        async with running(monitor):
            await client.next_check()
            await client.next_check()
        assert seen[:2] == ["began", "up"]

    run(scene())


def test_a_proxy_that_could_not_be_connected_to_in_time_is_down(run: Run) -> None:
    async def scene() -> None:
        monitor, _ = watched(CheckedClient())
        make(monitor, ProxyTimedOut("nothing answers there", unsent=True))
        assert monitor.status.state is UpstreamState.DOWN

    run(scene())
