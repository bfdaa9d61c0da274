"""What a terminal shows while something takes long."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from socks6.cli.standard_streams import TerminalWriter

INTERVAL_SECONDS: Final = 1.0


def status_terminal(environment: Mapping[str, str] | None = None) -> TerminalWriter | None:
    """Return standard error if it can show a status line; None where it is no terminal, or the user wants it plain."""
    environment = os.environ if environment is None else environment
    is_plain = environment.get("TERM", "dumb") == "dumb" or bool(environment.get("NO_COLOR"))
    writer = sys.stderr
    return writer if isinstance(writer, TerminalWriter) and not is_plain else None


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is waited for within the block, and for how long by now, if that is longer than a second."""
    terminal = status_terminal()
    if terminal is None:
        yield
        return
    loop = asyncio.get_running_loop()
    started = loop.time()

    timers: list[asyncio.TimerHandle] = []

    def show() -> None:
        terminal.show(f"{what} {loop.time() - started:.0f} s")
        timers[:] = [loop.call_later(INTERVAL_SECONDS, show)]

    timers.append(loop.call_later(INTERVAL_SECONDS, show))
    try:
        yield
    finally:
        timers[0].cancel()
        terminal.clear()  # before anything goes to standard output
