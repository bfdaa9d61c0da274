"""socks6 trace: the routers between a proxy and a host, shown as traceroute(8) shows them.

Connections, or with --udp datagrams, are sent with a TTL that each time reaches one router further; the proxy reports
the router at which they died.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Sequence
from enum import Enum
from typing import Final

from socks6.cli import FAILED, complain, describe
from socks6.cli.common import NO_PROXY, named_client, named_host, run_client
from socks6.cli.waiting import waiting
from socks6.client.association import Association
from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import (
    CommandNotSupported,
    ConnectionRefused,
    ConnectionTimedOut,
    DatagramFailed,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    ProxyTimedOut,
    Socks6Error,
    TtlExpired,
)
from socks6.message.address import is_literal
from socks6.message.codes import Availability, DatagramErrorCode, Leg
from socks6.message.options import Ttl, UdpError, find, find_all

UNNAMED: Final = "?"  # a router whose address is not known
CONNECTION_PORT: Final = 80

DATAGRAM_PORT: Final = 53  # of name servers, which answer
# A question for the root's name servers (RFC 1035): a name server answers it, other hosts ignore it.
QUESTION: Final = bytes.fromhex("0006 0000 0001 0000 0000 0000  00 0002 0001")

MARKS: Final = {
    DatagramErrorCode.NETWORK_UNREACHABLE: " !N",
    DatagramErrorCode.HOST_UNREACHABLE: " !H",
    DatagramErrorCode.TOO_BIG: " !F",
}


class ProbeOutcome(Enum):
    """What became of a probe."""

    PASSED_BY = "a router let it die"
    ARRIVED = "the host answered"
    STUCK = "there is no way on"
    SILENT = "no answer came"


# What a failure shows of the way, and the mark that traceroute puts behind it.
FAILURES: Final = {
    TtlExpired: (ProbeOutcome.PASSED_BY, ""),
    ConnectionTimedOut: (ProbeOutcome.SILENT, ""),
    ProxyTimedOut: (ProbeOutcome.SILENT, ""),
    ConnectionRefused: (ProbeOutcome.ARRIVED, ""),
    HostUnreachable: (ProbeOutcome.STUCK, " !H"),
    NetworkUnreachable: (ProbeOutcome.STUCK, " !N"),
    NotAllowed: (ProbeOutcome.STUCK, " !X"),
}


def run(arguments: Namespace) -> int:
    """Trace until the host is reached; 1 if it is not."""
    client = named_client(arguments, NO_PROXY, session=False)
    host = named_host("HOST", arguments.host)
    trace: Trace
    if arguments.udp:
        trace = DatagramTrace(
            client,
            host,
            arguments.port or DATAGRAM_PORT,
            probes=arguments.queries,
            patience=arguments.timeout,
        )
    else:
        trace = ConnectionTrace(client, host, arguments.port or CONNECTION_PORT, probes=arguments.queries)
    print(f"traceroute to {host} from {client.url}, {arguments.max_hops} hops max", flush=True)
    return run_client(client, trace.run(arguments.max_hops))


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A connection that was tried with a small TTL."""

    outcome: ProbeOutcome
    address: str = UNNAMED  # whose answer it was
    seconds: float = 0.0
    mark: str = ""
    reason: str = ""
    ttl: int | None = None  # of a successful connection, as the proxy reports it


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
            with waiting(f"{ttl:>2} "):
                found = await self._hop(ttl)
            print(line(ttl, found), flush=True)
            outcomes = {probe.outcome for probe in found}
            if ProbeOutcome.ARRIVED in outcomes:
                return _verdict(ttl, found)
            if ProbeOutcome.STUCK in outcomes and ProbeOutcome.PASSED_BY not in outcomes:
                complain(next(probe.reason for probe in found if probe.outcome is ProbeOutcome.STUCK))
                return FAILED
        complain(f"{self.host} is further away")
        return FAILED

    async def _hop(self, ttl: int) -> Sequence[Probe]:
        """Send all probes at a time, so that a silent router costs one time-out."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.probe(ttl)) for _ in range(self._probes)]
        except* Socks6Error as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    @abstractmethod
    async def probe(self, ttl: int) -> Probe:
        """Send a probe with a TTL. Raises Socks6Error for a failure that is not the path's."""


class ConnectionTrace(Trace):
    """Probes by connecting."""

    @override
    async def probe(self, ttl: int) -> Probe:
        """Connect with a TTL. Raises Socks6Error for a failure that is not the path's."""
        options = StackOptions(ttl=ttl, leg=Leg.PROXY_REMOTE)
        started = time.monotonic()
        try:
            stream = await self.client.connect(self.host, self.port, options=options)
        except Socks6Error as failure:
            if type(failure) not in FAILURES:
                raise
            outcome, mark = FAILURES[type(failure)]
            reporter = failure.reporter if isinstance(failure, TtlExpired) else None
            return Probe(
                outcome=outcome,
                address=self.host if outcome is ProbeOutcome.ARRIVED else reporter or UNNAMED,
                seconds=time.monotonic() - started,
                mark=mark,
                reason=describe(failure),
            )
        elapsed = time.monotonic() - started
        await stream.aclose()
        reported = [option.ttl for option in find_all(stream.options, Ttl) if option.leg & Leg.PROXY_REMOTE]
        return Probe(
            outcome=ProbeOutcome.ARRIVED, address=self.host, seconds=elapsed, ttl=next(iter(reported), None)
        )


class DatagramTrace(Trace):
    """Probes by datagrams, each from an association of its own, and waits for answers for `patience` seconds."""

    def __init__(self, client: Client, host: str, port: int, *, probes: int, patience: float) -> None:
        super().__init__(client, host, port, probes=probes)
        self._patience = patience
        self._place = "::" if is_literal(host) and ":" in host else "0.0.0.0"  # noqa: S104 - at the proxy

    @override
    async def probe(self, ttl: int) -> Probe:
        """Send a datagram with a TTL. Raises Socks6Error for a failure that is not the path's."""
        options = StackOptions(ttl=ttl, leg=Leg.PROXY_REMOTE)
        try:
            async with self.client.associate(self._place, options=options, errors=True) as udp:
                return await self._answer(udp)
        except ProxyTimedOut:
            return Probe(outcome=ProbeOutcome.SILENT)

    async def _answer(self, udp: Association) -> Probe:
        """Send the datagram, and return what comes of it."""
        reports = find(udp.options, UdpError)
        if reports is None or reports.availability != Availability.YES:
            raise CommandNotSupported(
                "the proxy reports no ICMP errors, so that no routers can be seen over UDP"
            )
        started = time.monotonic()
        await udp.send(QUESTION, (self.host, self.port))
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    _, source = await udp.receive()
                    if source.port == self.port:
                        break
        except TimeoutError:
            return Probe(outcome=ProbeOutcome.SILENT)
        except DatagramFailed as failure:
            return _failed(failure, time.monotonic() - started)
        reported = find(udp.options, Ttl)
        return Probe(
            outcome=ProbeOutcome.ARRIVED,
            address=source.host,
            seconds=time.monotonic() - started,
            ttl=None if reported is None else reported.ttl,
        )


def line(ttl: int, found: Sequence[Probe]) -> str:
    """Return the line of one hop; an address stands before the first of its answers."""
    words = [f"{ttl:>2} "]
    last = ""
    for probe in found:
        if probe.outcome is ProbeOutcome.SILENT:
            words.append("*")
            continue
        if probe.address != last:
            words.append(f"{probe.address} ")
            last = probe.address
        words.append(f"{probe.seconds * 1000:.3f} ms{probe.mark} ")
    return " ".join(words).rstrip()


def _verdict(ttl: int, found: Sequence[Probe]) -> int:
    """Return the exit code at the end of the way; a proxy that minds no TTL shows no way."""
    connected = [probe for probe in found if probe.outcome is ProbeOutcome.ARRIVED and not probe.reason]
    if all(probe.ttl == ttl for probe in connected):
        return 0
    actual = connected[0].ttl
    what = "reported none" if actual is None else f"had one of {actual}"
    complain(f"asked for a TTL of {ttl}, the proxy {what}: routers may be missing here")
    return FAILED


def _failed(failure: DatagramFailed, seconds: float) -> Probe:
    if failure.code == DatagramErrorCode.TTL_EXPIRED:
        return Probe(outcome=ProbeOutcome.PASSED_BY, address=failure.reporter, seconds=seconds)
    mark = MARKS.get(DatagramErrorCode(failure.code), "") if failure.code in set(DatagramErrorCode) else " !"
    return Probe(
        outcome=ProbeOutcome.STUCK,
        address=failure.reporter,
        seconds=seconds,
        mark=mark,
        reason=describe(failure),
    )
