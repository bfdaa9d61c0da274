"""The line about the proxy that a command goes through."""

import asyncio

import pytest
from typing_extensions import override

from socks6.cli.upstream import watch_upstream
from socks6.client.client import Client, ProxyCheck, Timeout
from socks6.client.monitor import UpstreamMonitor
from socks6.errors import ProxyUnreachable
from tests.kit.loops import Run
from tests.kit.streams import turns, until


class CheckedClient(Client):
    """A client whose checks come out as given, one after the other; after the last they wait."""

    def __init__(self, *outcomes: ProxyCheck | ProxyUnreachable) -> None:
        super().__init__("socks6://alice:wonder@far")
        self.outcomes = list(outcomes)
        self.done = asyncio.Event()

    @override
    async def check(self, *, timeout: Timeout = "client") -> ProxyCheck:
        if not self.outcomes:
            self.done.set()
            await asyncio.Event().wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, ProxyUnreachable):
            raise outcome
        return outcome


UP = ProxyCheck(seconds=0.0234, encryption="")
DOWN = ProxyUnreachable("cannot reach the proxy: Connection refused")


@pytest.mark.parametrize(
    ("outcomes", "line"),
    [((UP,), "through socks6://alice@far:1080, 23 ms\n"), ((DOWN, DOWN), ""), ((DOWN, UP), "")],
)
def test_the_first_check_alone_is_told_and_more_follow_while_it_fails(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    outcomes: tuple[ProxyCheck | ProxyUnreachable, ...],
    line: str,
) -> None:
    async def scene() -> None:
        client = CheckedClient(*outcomes)
        monitor = UpstreamMonitor(client, first_pause=0.001)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch_upstream(monitor))
            await until(lambda: not client.outcomes)
            await turns()
            monitor.refresh(0.0)  # who is up is asked again only when somebody wants to know
            await client.done.wait()
            watching.cancel()
        assert watching.cancelled()

    run(scene())
    assert capsys.readouterr().err == line
