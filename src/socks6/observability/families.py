"""All metrics that there are; docs/reference/metrics.md is made from them."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DURATIONS: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
BYTES: Final = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10)


class Family(NamedTuple):
    """A metric: its kind, what it says, its labels, and of a histogram the bounds."""

    kind: str  # "counter", "gauge", "histogram"
    help: str
    labels: tuple[str, ...] = ()
    bounds: Sequence[float] = ()


WHO: Final = ("inbound", "outbound", "command")
FAMILIES: Final[Mapping[str, Family]] = {
    "socks6_build_info": Family("gauge", "Always 1: the version, and the Python that runs it", ("version", "python")),
    "socks6_connections": Family("gauge", 'Connections of clients that are open; command is "none" before a request', WHO),
    "socks6_connections_limit": Family("gauge", "How many there may be; absent where there is no limit"),
    "socks6_connections_ended_total": Family("counter", "Connections that ended, by how: see ending in the log", ("inbound", "ending")),
    "socks6_requests_total": Family("counter", "Requests that were answered, by the name of the reply code; of a client that makes several on one connection (HTTP) the last", (*WHO, "reply")),
    "socks6_relayed_bytes_total": Family("counter", "Bytes that were relayed; up is client to remote", (*WHO, "direction")),
    "socks6_handshake_duration_seconds": Family("histogram", "From accept to a whole, authenticated request", ("inbound",), SECONDS),
    "socks6_lookup_duration_seconds": Family("histogram", "From a request to the addresses of its name, where this proxy resolves it", (), SECONDS),
    "socks6_connect_duration_seconds": Family("histogram", "From a request to its success, the lookup included", ("outbound", "command"), SECONDS),
    "socks6_request_duration_seconds": Family("histogram", "From accept to the end of a connection that had a request", ("inbound", "command"), DURATIONS),
    "socks6_request_bytes": Family("histogram", "Bytes that a connection with a request relayed in a direction", ("command", "direction"), BYTES),
    "socks6_associations": Family("gauge", "UDP associations that are open"),
    "socks6_associations_limit": Family("gauge", "How many there may be; absent where there is no limit"),
    "socks6_bindings": Family("gauge", "Ports that listen for clients (BIND)"),
    "socks6_bindings_limit": Family("gauge", "How many there may be; absent where there is no limit"),
    "socks6_sessions": Family("gauge", "Sessions that are kept"),
    "socks6_sessions_limit": Family("gauge", "How many there may be; absent where there is no limit"),
    "socks6_authentication_failures_total": Family("counter", "Passwords and certificates that were refused", ("inbound",)),
    "socks6_password_checks_waiting": Family("gauge", "Checks of passwords that wait for their turn"),
    "socks6_penalties_total": Family("counter", "Times that a source, or a name at a source, was shut out"),
    "socks6_penalized_sources": Family("gauge", "Sources, and names at sources, that are shut out now"),
    "socks6_limits_reached_total": Family("counter", "Clients dropped at accept, and requests refused, since a limit was reached"),
    "socks6_quotas_reached_total": Family("counter", "Times that a user has used up its quota"),
    "socks6_datagrams_over_bandwidth_total": Family("counter", "Datagrams that were dropped, as they were more than the bandwidth, or the quota, of their users"),
    "socks6_accept_pauses_total": Family("counter", "Times that a listener stopped accepting, as descriptors or memory were short"),
    "socks6_certificate_reads_total": Family("counter", "Certificates that were read again, or could not be", ("result",)),
    "socks6_unexpected_errors_total": Family("counter", "Faults of socks6 itself"),
    "socks6_upstream_up": Family("gauge", "Whether the proxy to go through works; absent until that is known", ("upstream",)),
    "socks6_upstream_check_seconds": Family("gauge", "What the last check of the proxy to go through took", ("upstream",)),
}  # fmt: skip
"""All metrics but those about the process (process_*) and its Python (python_info)."""
