"""What the traces over TCP and over UDP have in common: hop after hop, told as traceroute(8) tells them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from socks6.cli import FAILED, complain
from socks6.client.client import Client
from socks6.errors import Socks6Error

NOBODY: Final = "?"  # somebody who was not named


class Outcome(Enum):
    """What became of a probe."""

    PASSED_BY = "a router let it die"
    ARRIVED = "the host answered"
    STUCK = "there is no way on"
    SILENT = "nobody answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A connection that was tried with a small TTL."""

    outcome: Outcome
    address: str = NOBODY  # whose answer it was
    seconds: float = 0.0
    mark: str = ""
    reason: str = ""
    ttl: int | None = None  # of a connection that came about, as the proxy tells it


class Trace(ABC):
    """Probes the way to a host again and again, with a TTL that each time reaches one router further."""

    def __init__(self, client: Client, host: str, port: int, *, probes: int) -> None:
        self.client: Final = client
        self.host: Final = host
        self.port: Final = port
        self._probes = probes

    async def run(self, hops: int) -> int:
        """Print a line for each hop; return the exit code. Raises Socks6Error for what no router is guilty of."""
        await self.client.noop()  # a proxy that is not there is no row of silent routers
        for ttl in range(1, hops + 1):
            found = await self._hop(ttl)
            print(line(ttl, found), flush=True)
            outcomes = {probe.outcome for probe in found}
            if Outcome.ARRIVED in outcomes:
                return _verdict(ttl, found)
            if Outcome.STUCK in outcomes and Outcome.PASSED_BY not in outcomes:
                complain(next(probe.reason for probe in found if probe.outcome is Outcome.STUCK))
                return FAILED
        complain(f"{self.host} is further away")
        return FAILED

    async def _hop(self, ttl: int) -> Sequence[Probe]:
        """Send all probes at a time, so that a silent router costs one time-out."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._attempt(ttl)) for _ in range(self._probes)]
        found = [task.result() for task in tasks]
        for probe in found:
            if isinstance(probe, Socks6Error):
                raise probe
        return [probe for probe in found if isinstance(probe, Probe)]

    async def _attempt(self, ttl: int) -> Probe | Socks6Error:
        try:
            return await self.probe(ttl)
        except Socks6Error as error:
            return error

    @abstractmethod
    async def probe(self, ttl: int) -> Probe:
        """Send a probe with a TTL. Raises Socks6Error where that says nothing about the way."""


def line(ttl: int, found: Sequence[Probe]) -> str:
    """Return the line of one hop; an address stands before the first of its answers."""
    words = [f"{ttl:>2} "]
    last = ""
    for probe in found:
        if probe.outcome is Outcome.SILENT:
            words.append("*")
            continue
        if probe.address != last:
            words.append(f"{probe.address} ")
            last = probe.address
        words.append(f"{probe.seconds * 1000:.3f} ms{probe.mark} ")
    return " ".join(words).rstrip()


def _verdict(ttl: int, found: Sequence[Probe]) -> int:
    """Return the exit code at the end of the way; a proxy that minds no TTL shows no way."""
    connected = [probe for probe in found if probe.outcome is Outcome.ARRIVED and not probe.reason]
    if all(probe.ttl == ttl for probe in connected):
        return 0
    actual = connected[0].ttl
    what = "told of none" if actual is None else f"had one of {actual}"
    complain(f"asked for a TTL of {ttl}, the proxy {what}: routers may be missing here")
    return FAILED
