"""The line at the bottom of a terminal: what it says, and how it steps aside."""

import contextlib
import os
import pty
import time
from collections.abc import Iterator
from typing import Final, TextIO

import pytest
from typing_extensions import override

from socks6.cli.standard_streams import ERASE, TerminalWriter
from socks6.cli.status_line import status_words
from socks6.net.direct import DirectOutbound
from socks6.net.stream import Outbound
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.proxy.live import LiveTable

UP: Final = UpstreamStatus(
    url="socks6://far:1080", state=UpstreamState.UP, since=1.0, encryption="TLS 1.3", seconds=0.0234
)


class Through(DirectOutbound):
    """An outbound of whose proxy this is known."""

    def __init__(self, status: UpstreamStatus) -> None:
        super().__init__()
        self._status = status

    @property
    @override
    def upstream(self) -> UpstreamStatus | None:
        return self._status


class Screen:
    """The far side of a terminal."""

    def __init__(self, descriptor: int, terminal: TextIO) -> None:
        self._descriptor = descriptor
        self.writer = TerminalWriter(terminal)

    def shown(self) -> str:
        """Return what was written since the last call; waits until the writer has nothing left."""
        deadline = time.monotonic() + 10.0
        while self.writer._size:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        data = b""
        os.set_blocking(self._descriptor, False)
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._descriptor, 4096):
                data += piece
        return data.decode().replace("\r\n", "\n")


@pytest.fixture
def screen() -> Iterator[Screen]:
    leader, follower = pty.openpty()
    with open(follower, "w") as terminal:
        screen = Screen(leader, terminal)
        yield screen
        screen.writer.finish(1.0)
    os.close(leader)


def test_what_is_written_stands_above_the_line(screen: Screen) -> None:
    screen.writer.write("one\n")
    assert screen.shown() == "one\n"
    screen.writer.show("up")
    assert screen.shown() == "up"
    screen.writer.write("two\n")
    assert screen.shown() == f"{ERASE}two\nup"
    screen.writer.show("down")
    assert screen.shown() == f"{ERASE}down"
    screen.writer.show("down")
    assert screen.shown() == ""


def test_a_line_that_is_written_in_pieces_stays_whole(screen: Screen) -> None:
    screen.writer.show("up")
    screen.shown()
    screen.writer.write("one")
    assert screen.shown() == f"{ERASE}one"
    screen.writer.show("down")
    assert screen.shown() == ""
    screen.writer.write(" more\n")
    assert screen.shown() == " more\ndown"


def test_it_goes_when_it_is_cleared_and_with_the_command(screen: Screen) -> None:
    screen.writer.show("up")
    screen.shown()
    screen.writer.clear()
    assert screen.shown() == ERASE
    screen.writer.show("up")
    screen.shown()
    screen.writer.finish(1.0)
    assert screen.shown() == ERASE


def test_what_it_quotes_moves_no_cursor(screen: Screen) -> None:
    screen.writer.show("no\x1b[2J\n\x00 SOCKS")
    assert screen.shown() == "no?[2J?? SOCKS"


def test_it_is_cut_to_the_terminals_width(screen: Screen) -> None:
    screen.writer.show("x" * 500)
    assert screen.shown() == "x" * 77


@pytest.mark.parametrize(
    ("outbound", "words"),
    [
        (Through(UP), " | socks6://far:1080, TLS 1.3, 23 ms | 0 connections | 1.5 kB/s | 0 B up, 0 B down"),
        (
            Through(
                UpstreamStatus(
                    url="socks6://far:1080", state=UpstreamState.DOWN, since=1.0, reason="no route"
                )
            ),
            " | no route | 0 connections | 1.5 kB/s | 0 B up, 0 B down",
        ),
        (Through(UpstreamStatus(url="socks6://far:1080")), "socks6://far:1080 | 0 connections"),
        (DirectOutbound(), "0 connections | 1.5 kB/s"),
    ],
)
def test_it_says_how_the_proxy_is(outbound: Outbound, words: str) -> None:
    line = status_words(LiveTable(None), outbound, 1500, stopping=False)
    assert words in line
    assert (
        outbound.upstream is None
        or not outbound.upstream.since
        or line.startswith(outbound.upstream.state.value)
    )


def test_it_says_what_a_stop_waits_for() -> None:
    assert status_words(LiveTable(None), Through(UP), 0, stopping=True).startswith(
        "stopping: 0 connections left"
    )


def test_of_several_proxies_it_says_how_many_are_up() -> None:
    class Several(Through):
        """An outbound with a second proxy, of which nothing is known."""

        @property
        @override
        def upstreams(self) -> tuple[UpstreamStatus, ...]:
            return UP, UpstreamStatus(url="socks6://other:1080")

    assert " | 1 of 2 proxies up | 0 conn" in status_words(LiveTable(None), Several(UP), 0, stopping=False)
