"""Several proxies: when a request goes to another one, and what a client with alternatives makes of them."""

import asyncio

import pytest

from socks6.client import alternatives
from socks6.client.alternatives import AlternativeClients, Alternatives
from socks6.client.client import Client
from socks6.client.monitor import UpstreamMonitor
from socks6.errors import (
    ConfigurationError,
    ConnectionRefused,
    ProxyTimedOut,
    ProxyUnreachable,
)
from socks6.net.upstream import UpstreamState
from tests.kit.loops import Run
from tests.kit.streams import until


class Proxies(Alternatives):
    """Two proxies whose requests end as the test says; `discarded` has what came second."""

    def __init__(self, scheme: str = "socks6") -> None:
        super().__init__([UpstreamMonitor(Client(f"{scheme}://{name}")) for name in ("one", "two")])
        self.asked: list[int] = []
        self.outcomes: list[asyncio.Future[str]] = []
        self.discarded: list[str] = []
        self.clients = [monitor.client for monitor in self.monitors]

    async def ask(self, index: int) -> str:
        self.asked.append(index)
        self.outcomes.append(asyncio.get_running_loop().create_future())
        return await asyncio.shield(self.outcomes[-1])

    def make(self, *, repeatable: bool = True) -> asyncio.Task[str]:
        return asyncio.create_task(self.request(self.ask, self.discarded.append, repeatable=repeatable))

    def lets_in(self, index: int) -> None:
        """Let a proxy answer some request."""
        self.clients[index]._connector.heard_at = asyncio.get_running_loop().time() + 1e-3


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternatives, "SILENT_SECONDS", 0.01)


def test_while_a_proxy_is_silent_the_next_is_asked_too_and_then_the_first_is_skipped(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        proxies.outcomes[1].set_result("second")
        assert await request == "second"
        assert proxies.ranked() == [1, 0]
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1, 1])
        proxies.outcomes[2].set_result("second")
        assert await request == "second"

    run(scene())


def test_an_http_proxy_is_checked_before_it_is_called_silent_and_one_of_socks_4_never_is(run: Run) -> None:
    async def scene() -> None:
        for scheme, is_heard, asked in (("http", False, [0, 1]), ("http", True, [0]), ("socks4", False, [0])):
            proxies = Proxies(scheme)
            checks: list[float] = []

            def check(
                max_age: float,
                proxies: Proxies = proxies,
                checks: list[float] = checks,
                is_heard: bool = is_heard,
            ) -> None:
                checks.append(max_age)
                if is_heard:
                    proxies.lets_in(0)

            proxies.monitors[0].refresh = check  # type: ignore[method-assign]
            request = proxies.make()
            await asyncio.sleep(0.1)
            assert proxies.asked == asked
            assert checks == ([] if scheme == "socks4" else [alternatives.SILENT_SECONDS])
            for outcome in proxies.outcomes:
                outcome.set_result("it")
            assert await request == "it"

    run(scene())


def test_a_proxy_that_was_only_slow_may_win_and_stays_the_first(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        proxies.outcomes[0].set_result("first")
        assert await request == "first"
        assert proxies.ranked() == [0, 1]

    run(scene())


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_slow_destination_and_what_may_not_come_twice_ask_nobody_else(run: Run, repeatable: bool) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make(repeatable=repeatable)
        await until(lambda: proxies.asked == [0])
        if repeatable:
            proxies.lets_in(0)
        await asyncio.sleep(0.05)
        assert proxies.asked == [0]
        proxies.outcomes[0].set_result("first")
        assert await request == "first"

    run(scene())


def test_what_a_second_proxy_gives_at_the_same_time_is_discarded(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        for outcome, words in zip(proxies.outcomes, ("first", "second"), strict=True):
            outcome.set_result(words)
        assert await request == "first"
        assert proxies.discarded == ["second"]

    run(scene())


def test_a_silent_proxy_is_waited_for_where_the_next_one_fails(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        proxies.outcomes[1].set_exception(ProxyUnreachable("gone"))
        await asyncio.sleep(0.03)
        proxies.outcomes[0].set_result("first")
        assert await request == "first"

    run(scene())


def test_a_hosts_refusal_ends_the_request(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        proxies.outcomes[0].set_exception(ConnectionRefused("the host"))
        with pytest.raises(ConnectionRefused):
            await request
        assert proxies.ranked() == [0, 1]

    run(scene())


def test_what_may_not_come_twice_ends_when_a_check_finds_its_proxy_down(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make(repeatable=False)
        await until(lambda: proxies.asked == [0])
        proxies.monitors[0]._is_down(ProxyTimedOut("no answer to the check"))
        proxies._check_ended(0)
        with pytest.raises(ProxyTimedOut, match="to the check"):
            await request
        assert proxies.asked == [0]

    run(scene())


def test_a_cancelled_request_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        proxies = Proxies()
        request = proxies.make()
        await until(lambda: proxies.asked == [0, 1])
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "socks6 attempt"] == []

    run(scene())


def test_an_order_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no order 'failovr', did you mean failover"):
        AlternativeClients([], "failovr")


def test_proxies_that_fail_are_checked_until_they_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    async def check(client: Client, **_: object) -> None:
        checked.append(client.url.host)
        raise ProxyUnreachable("gone")

    monkeypatch.setattr(Client, "check", check)

    async def failing(client: Client) -> None:
        raise ProxyUnreachable(f"{client.url.host} is gone")

    async def scene() -> None:
        clients = AlternativeClients([Client("socks6://one"), Client("socks6://two")], "failover")
        for monitor in clients._alternatives.monitors:
            monitor._pause = 0.01
        clients.watch()
        with pytest.raises(ProxyUnreachable, match="none of 2 proxies works: one is gone; two is gone"):
            await clients.request(failing, None, repeatable=True)
        assert {status.state for status in clients.upstreams} == {UpstreamState.DOWN}
        await until(lambda: {*checked} == {"one", "two"})
        await clients.aclose()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "socks6 upstream checks"]

    run(scene())
