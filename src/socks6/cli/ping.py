"""socks6 ping: whether a proxy answers, and how fast."""

import asyncio
import math
import signal
from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from socks6.cli import FAILED, describe
from socks6.cli.common import named_client, named_host, run_client
from socks6.cli.options import show_options
from socks6.cli.waiting import waiting
from socks6.client.client import Client
from socks6.errors import ConfigurationError, Socks6Error

NO_PROXY: Final = "no proxy to ping: name it by its URL, --via-file or SOCKS6_PROXY"


def run(arguments: Namespace) -> int:
    """Ping until stopped, or ask for its options; 1 if no answer came back."""
    client = named_client(arguments, NO_PROXY, session=False, argument="URL")
    if arguments.options:
        target = arguments.target and (named_host("--target", arguments.target[0]), arguments.target[1])
        return run_client(client, show_options(client, target))
    if arguments.target is not None:
        raise ConfigurationError("--target goes with --options")
    pinging = Pinging(client, arguments.interval, arguments.count)
    run_client(client, pinging.run())
    return 0 if pinging.times else FAILED


class Pinging:
    """One run of pings, each printed when its answer is there."""

    def __init__(self, client: Client, interval: float, count: int | None) -> None:
        self._client = client
        self._interval = interval
        self._count = count
        self._sent = 0
        self.times: list[float] = []

    async def run(self) -> None:
        """Ping, then print the statistics; SIGINT goes on to these at once."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        started = loop.time()
        print(f"NOOP {self._client.url}", flush=True)
        try:
            await self._rounds()
        except asyncio.CancelledError:
            task.uncancel()
            print()
        print(f"--- {self._client.url} ---")
        print(*summary(self.times, sent=self._sent, elapsed=loop.time() - started), sep="\n", flush=True)

    async def _rounds(self) -> None:
        """Begin a round at every interval, however long the last one took; never two at a time."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._count is None or self._sent < self._count:
            await asyncio.sleep(due - loop.time())
            due = max(due + self._interval, loop.time())
            self._sent += 1
            await self._round()

    async def _round(self) -> None:
        try:
            with waiting(f"seq={self._sent}"):
                seconds = await self._client.noop()
        except Socks6Error as error:
            print(f"seq={self._sent} failed: {describe(error)}", flush=True)
            return
        self.times.append(seconds)
        print(f"seq={self._sent} time={milliseconds(seconds)} ms", flush=True)


def summary(times: Sequence[float], *, sent: int, elapsed: float) -> list[str]:
    """Return the last lines of a ping; all times are seconds."""
    loss = 100 * (sent - len(times)) / sent if sent else 0
    lines = [f"{sent} requests, {len(times)} replies, {loss:.4g}% loss, time {elapsed * 1000:.0f} ms"]
    if times:
        mean = math.fsum(times) / len(times)
        deviation = math.sqrt(max(0.0, math.fsum(time * time for time in times) / len(times) - mean * mean))
        figures = "/".join(milliseconds(figure) for figure in (min(times), mean, max(times), deviation))
        lines.append(f"round trip min/avg/max/mdev = {figures} ms")
    return lines


def milliseconds(seconds: float) -> str:
    """Return a time with three digits that count, as ping writes it."""
    value = seconds * 1000
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"
