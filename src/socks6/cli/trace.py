"""socks6 trace: the routers between a proxy and a host."""

import time
from argparse import Namespace
from typing import Final

from typing_extensions import override

from socks6.cli import describe
from socks6.cli.hops import NOBODY, Outcome, Probe, Trace
from socks6.cli.loops import run_loop
from socks6.cli.proxied import NO_PROXY, client_named, host_named
from socks6.cli.trace_udp import DATAGRAM_PORT, DatagramTrace
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
    TtlExpired,
)
from socks6.message.codes import Leg
from socks6.message.options import Ttl, find_all

CONNECTION_PORT: Final = 80

# What tells the end of the way, and the mark that traceroute puts behind it.
ENDS: Final = {
    ConnectionRefused: (Outcome.ARRIVED, ""),
    HostUnreachable: (Outcome.STUCK, " !H"),
    NetworkUnreachable: (Outcome.STUCK, " !N"),
    NotAllowed: (Outcome.STUCK, " !X"),
}


def run(arguments: Namespace) -> int:
    """Trace until the host is reached; 1 if it is not."""
    client = client_named(arguments, NO_PROXY, session=False)
    host = host_named("HOST", arguments.host)
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
    return run_loop(trace.run(arguments.max_hops))


class ConnectionTrace(Trace):
    """Probes by connecting."""

    @override
    async def probe(self, ttl: int) -> Probe:
        """Connect with a TTL. Raises Socks6Error where that says nothing about the way."""
        options = StackOptions(ttl=ttl, leg=Leg.PROXY_REMOTE)
        started = time.monotonic()
        try:
            stream = await self.client.connect(self.host, self.port, options=options)
        except TtlExpired as expired:
            elapsed = time.monotonic() - started
            return Probe(outcome=Outcome.PASSED_BY, address=expired.reporter or NOBODY, seconds=elapsed)
        except (ConnectionTimedOut, ProxyTimedOut):
            return Probe(outcome=Outcome.SILENT)
        except OperationFailed as failure:
            return self._end(failure, time.monotonic() - started)
        elapsed = time.monotonic() - started
        await stream.aclose()
        return Probe(outcome=Outcome.ARRIVED, address=self.host, seconds=elapsed, ttl=_ttl_of(stream))

    def _end(self, failure: OperationFailed, seconds: float) -> Probe:
        if type(failure) not in ENDS:
            raise failure
        outcome, mark = ENDS[type(failure)]
        address = self.host if outcome is Outcome.ARRIVED else NOBODY
        return Probe(outcome=outcome, address=address, seconds=seconds, mark=mark, reason=describe(failure))


def _ttl_of(stream: ProxiedStream) -> int | None:
    told = (option.ttl for option in find_all(stream.options, Ttl) if option.leg & Leg.PROXY_REMOTE)
    return next(told, None)
