"""socks6 trace --udp: probes that are datagrams, and routers that are told of by Datagram Error messages."""

import asyncio
import time
from typing import Final

from typing_extensions import override

from socks6.cli import describe
from socks6.cli.hops import Outcome, Probe, Trace
from socks6.client.association import Association
from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.errors import CommandNotSupported, DatagramFailed, ProxyTimedOut
from socks6.message.address import is_literal
from socks6.message.codes import Availability, DatagramErrorCode, Leg
from socks6.message.options import Ttl, UdpError, find

DATAGRAM_PORT: Final = 53  # of name servers, which answer
# A question for the root's name servers (RFC 1035): a name server answers it, nobody else minds it.
QUESTION: Final = bytes.fromhex("0006 0000 0001 0000 0000 0000  00 0002 0001")

MARKS: Final = {
    DatagramErrorCode.NETWORK_UNREACHABLE: " !N",
    DatagramErrorCode.HOST_UNREACHABLE: " !H",
    DatagramErrorCode.TOO_BIG: " !F",
}


class DatagramTrace(Trace):
    """Probes by datagrams, each from an association of its own, and waits for answers for `patience` seconds."""

    def __init__(self, client: Client, host: str, port: int, *, probes: int, patience: float) -> None:
        super().__init__(client, host, port, probes=probes)
        self._patience = patience
        self._place = "::" if is_literal(host) and ":" in host else "0.0.0.0"  # noqa: S104 - at the proxy

    @override
    async def probe(self, ttl: int) -> Probe:
        """Send a datagram with a TTL. Raises Socks6Error where that says nothing about the way."""
        options = StackOptions(ttl=ttl, leg=Leg.PROXY_REMOTE)
        try:
            async with self.client.associate(self._place, options=options, errors=True) as udp:
                return await self._answer(udp)
        except ProxyTimedOut:
            return Probe(outcome=Outcome.SILENT)

    async def _answer(self, udp: Association) -> Probe:
        """Send the datagram, and return what comes of it."""
        reports = find(udp.options, UdpError)
        if reports is None or reports.availability != Availability.YES:
            raise CommandNotSupported("the proxy tells of no ICMP errors: it shows no routers over UDP")
        started = time.monotonic()
        await udp.send(QUESTION, (self.host, self.port))
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    _, source = await udp.receive()
                    if source.port == self.port:
                        break
        except TimeoutError:
            return Probe(outcome=Outcome.SILENT)
        except DatagramFailed as failure:
            return _failed(failure, time.monotonic() - started)
        told = find(udp.options, Ttl)
        return Probe(
            outcome=Outcome.ARRIVED,
            address=source.host,
            seconds=time.monotonic() - started,
            ttl=None if told is None else told.ttl,
        )


def _failed(failure: DatagramFailed, seconds: float) -> Probe:
    if failure.code == DatagramErrorCode.TTL_EXPIRED:
        return Probe(outcome=Outcome.PASSED_BY, address=failure.reporter, seconds=seconds)
    mark = MARKS.get(DatagramErrorCode(failure.code), "") if failure.code in set(DatagramErrorCode) else " !"
    return Probe(
        outcome=Outcome.STUCK,
        address=failure.reporter,
        seconds=seconds,
        mark=mark,
        reason=describe(failure),
    )
