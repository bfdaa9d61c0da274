"""A line at the bottom of a terminal that shows how a converter is."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from socks6.cli.standard_streams import TerminalWriter
from socks6.net.stream import Outbound
from socks6.net.upstream import UpstreamState
from socks6.proxy.live import LiveTable, byte_words, duration_words

INTERVAL_SECONDS: Final = 1.0
FRESH_SECONDS: Final = (
    60.0  # for which what is known of the proxy to go through is shown without another check
)


async def show_status(
    terminal: TerminalWriter, connections: LiveTable, outbound: Outbound, stopping: Callable[[], bool]
) -> None:
    """Show how a proxy is that goes through another one, until cancelled."""
    carried = 0
    try:
        while True:
            before, carried = carried, _carried(connections)
            terminal.show(status_words(connections, outbound, carried - before, stopping=stopping()))
            if not stopping():
                outbound.refresh(FRESH_SECONDS)
            await asyncio.sleep(INTERVAL_SECONDS)
    finally:
        terminal.show("")


def status_words(connections: LiveTable, outbound: Outbound, rate: float, *, stopping: bool) -> str:
    """Return the line; `rate` is bytes a second."""
    totals, upstream, upstreams = connections.totals(), outbound.upstream, outbound.upstreams
    open_now = f"{totals.open} connection{'' if totals.open == 1 else 's'}"
    if stopping:
        return f"stopping: {open_now} left; ctrl-C ends all at once"
    words = []
    if upstream is not None:
        if upstream.since:
            words.append(f"{upstream.state.value} {duration_words(time.time() - upstream.since)}")
        is_down = upstream.state is UpstreamState.DOWN
        words.append(upstream.reason if is_down else upstream.words)
    if len(upstreams) > 1:
        up = sum(status.state is UpstreamState.UP for status in upstreams)
        words.append(f"{up} of {len(upstreams)} proxies up")
    words += [
        open_now,
        f"{byte_words(rate)}/s" if rate else "",
        f"{byte_words(totals.bytes_up)} up, {byte_words(totals.bytes_down)} down",
    ]
    return " | ".join(filter(None, words))


def _carried(connections: LiveTable) -> int:
    totals = connections.totals()
    return totals.bytes_up + totals.bytes_down
