"""What a terminal shows while something takes long."""

import asyncio
import io
import sys

import pytest

from socks6.cli import waiting as module
from socks6.cli.standard_streams import TerminalWriter
from socks6.cli.waiting import status_terminal, waiting
from tests.kit.loops import Run


@pytest.mark.parametrize(
    ("environment", "shows"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_who_wants_a_plain_terminal_gets_one(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], shows: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert status_terminal(environment) is None
    monkeypatch.setattr(sys, "stderr", TerminalWriter(io.StringIO()))
    assert (status_terminal(environment) is sys.stderr) is shows


@pytest.mark.parametrize(("seconds", "shows"), [(0.0, False), (0.05, True)])
def test_a_long_wait_is_counted_and_leaves_nothing_behind(
    run: Run, monkeypatch: pytest.MonkeyPatch, seconds: float, shows: bool
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", TerminalWriter(screen))
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    async def scene() -> None:
        with waiting("seq=1"):
            await asyncio.sleep(seconds)

    run(scene())
    assert ("seq=1 0 s" in screen.getvalue()) is shows
    assert not screen.getvalue() or screen.getvalue().endswith("\r\x1b[K")
