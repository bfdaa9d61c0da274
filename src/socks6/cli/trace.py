"""socks6 trace: the routers between a proxy and a host, told as traceroute(8) tells them."""

import asyncio
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from socks6.cli import FAILED, complain, describe
from socks6.cli.loops import run_loop
from socks6.cli.proxied import NO_PROXY, client_named, host_named
from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.client.stream import ProxiedStream
from socks6.errors import (
    ConnectionRefused,
    ConnectionTimedOut,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    OperationFailed,
    ProxyTimedOut,
    Socks6Error,
    TTLExpired,
)
from socks6.message.codes import Leg
from socks6.message.options import TTL, find_all

NOBODY: Final = "?"  # somebody who was not named


class Outcome(Enum):
    """What became of a probe."""

    PASSED_BY = "a router let it die"
    ARRIVED = "the host answered"
    STUCK = "there is no way on"
    SILENT = "nobody answered"


# What tells the end of the way, and the mark that traceroute puts behind it.
ENDS: Final = {
    ConnectionRefused: (Outcome.ARRIVED, ""),
    HostUnreachable: (Outcome.STUCK, " !H"),
    NetworkUnreachable: (Outcome.STUCK, " !N"),
    NotAllowed: (Outcome.STUCK, " !X"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A connection that was tried with a small TTL."""

    outcome: Outcome
    address: str = NOBODY  # whose answer it was
    seconds: float = 0.0
    mark: str = ""
    reason: str = ""
    ttl: int | None = None  # of a connection that came about, as the proxy tells it


def run(arguments: Namespace) -> int:
    """Trace until the host is reached; 1 if it is not."""
    client = client_named(arguments, NO_PROXY, session=False)
    host = host_named("HOST", arguments.host)
    trace = Trace(client, host, arguments.port, probes=arguments.queries)
    print(f"traceroute to {host} from {client.url}, {arguments.max_hops} hops max", flush=True)
    return run_loop(trace.run(arguments.max_hops))


class Trace:
    """Connects to a host again and again, with a TTL that each time takes it one router further."""

    def __init__(self, client: Client, host: str, port: int, *, probes: int) -> None:
        self._client = client
        self._host = host
        self._port = port
        self._probes = probes

    async def run(self, hops: int) -> int:
        """Print a line for each hop; return the exit code. Raises Socks6Error for what no router is guilty of."""
        await self._client.noop()  # a proxy that is not there is no row of silent routers
        for ttl in range(1, hops + 1):
            found = await self._hop(ttl)
            print(line(ttl, found), flush=True)
            outcomes = {probe.outcome for probe in found}
            if Outcome.ARRIVED in outcomes:
                return _verdict(ttl, found)
            if Outcome.STUCK in outcomes and Outcome.PASSED_BY not in outcomes:
                complain(next(probe.reason for probe in found if probe.outcome is Outcome.STUCK))
                return FAILED
        complain(f"{self._host} is further away")
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
            return await self._probe(ttl)
        except Socks6Error as error:
            return error

    async def _probe(self, ttl: int) -> Probe:
        """Connect with a TTL. Raises Socks6Error where that says nothing about the way."""
        options = StackOptions(ttl=ttl, leg=Leg.PROXY_REMOTE)
        started = time.monotonic()
        try:
            stream = await self._client.connect(self._host, self._port, options=options)
        except TTLExpired as expired:
            elapsed = time.monotonic() - started
            return Probe(outcome=Outcome.PASSED_BY, address=expired.reporter or NOBODY, seconds=elapsed)
        except (ConnectionTimedOut, ProxyTimedOut):
            return Probe(outcome=Outcome.SILENT)
        except OperationFailed as failure:
            return self._end(failure, time.monotonic() - started)
        elapsed = time.monotonic() - started
        await stream.aclose()
        return Probe(outcome=Outcome.ARRIVED, address=self._host, seconds=elapsed, ttl=_ttl_of(stream))

    def _end(self, failure: OperationFailed, seconds: float) -> Probe:
        if type(failure) not in ENDS:
            raise failure
        outcome, mark = ENDS[type(failure)]
        address = self._host if outcome is Outcome.ARRIVED else NOBODY
        return Probe(outcome=outcome, address=address, seconds=seconds, mark=mark, reason=describe(failure))


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


def _ttl_of(stream: ProxiedStream) -> int | None:
    told = (option.ttl for option in find_all(stream.options, TTL) if option.leg & Leg.PROXY_REMOTE)
    return next(told, None)
