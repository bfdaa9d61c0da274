"""What an operator may set about the proxy; every default is safe on the open Internet."""

from dataclasses import field
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.address import is_unspecified, normalize_host
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.net.bind import ANY_PORT, unmapped
from socks6.net.datagrams.filtering import REMOTE_SECONDS, Filtering
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.transports.quic.libraries import LIBRARIES
from socks6.policy.matchers import PortMatcher
from socks6.protocol.association import INITIAL_SECONDS
from socks6.proxy.sessions import SessionSettings
from socks6.relay.streams import RelaySettings
from socks6.setting import setting

MAX_BACKLOG: Final = 65_535  # what a backlog option can hold; more than any kernel queues


def parse_advertised(text: str) -> str:
    """Return a host by which remotes reach this machine. Raises ConfigurationError."""
    try:
        host = unmapped(normalize_host(text))
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no host: {error}") from error
    if is_unspecified(host):
        raise ConfigurationError(f"{text!r} leads nowhere")
    return host


def parse_bind_ports(text: str) -> range:
    """Read "20000-20999". Raises ConfigurationError."""
    first, last = PortMatcher.parse((text,)).ranges[0]
    if not first:
        raise ConfigurationError("port 0 is none")
    return range(first, last + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindSettings:
    """How ports are bound for clients."""

    ports: range = setting(
        ANY_PORT,
        "the ports, of TCP and UDP, that clients get, and may name without a rule",
        unit="FIRST-LAST",
        parse=parse_bind_ports,
        numbers=True,
        default_text="any free one, and none may be named",
        example='"20000-20999"',
        common=True,
    )
    accept_timeout: float = setting(
        60.0, "seconds until a peer must have connected to a port without a backlog", positive=True
    )
    listeners: int = setting(1_000, "ports that listen for clients, at a time; 0 for any number")
    listeners_per_user: int = setting(
        100, "such ports of one user, or of one source where clients have no password; 0 for any number"
    )
    backlog: int = setting(128, "peers that may wait at one port; 0 for no backlogs", maximum=MAX_BACKLOG)
    advertise: tuple[str, ...] = setting(
        (),
        "what to tell clients that listen on every address of this machine: an address, one a family, or a name",
        flag="--advertise",
        unit="HOST",
        parse=parse_advertised,
        many=True,
        default_text="the address by which the client came in",
        example='["198.51.100.1"]',
    )
    backlog_without_session: bool = setting(
        False, "backlogs also for clients without a session, although the draft wants one"
    )
    announce: bool = setting(False, "each peer is announced on the connection that keeps the port, too")

    def __post_init__(self) -> None:
        if not 0 <= self.backlog <= MAX_BACKLOG:
            raise ValueError(f"a backlog of {self.backlog}: 0 to {MAX_BACKLOG}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpSettings:
    """How datagrams are relayed. Times are seconds; 0 of anything sets no limit."""

    enabled: bool = setting(
        True,
        "SOCKS 6 clients may send datagrams over UDP, beside each TCP listener in the clear; without, on their stream",
        flag="--udp",
    )
    associations: int = setting(
        2_000, "associations at a time, one or two descriptors each; 0 for any number"
    )
    associations_per_user: int = setting(
        200, "associations of one user, or of one source where clients have no password; 0 for any number"
    )
    first_timeout: float = setting(
        INITIAL_SECONDS, "seconds for a client to send its first datagram", positive=True
    )
    idle_timeout: float = setting(
        7440.0, "seconds without a datagram either way, then an association is closed; 0 for never"
    )
    filtering: Filtering = setting(
        Filtering.ENDPOINT_INDEPENDENT,
        "which remote hosts may send to a client (RFC 4787): any, or only hosts, or hosts and ports, that it has sent to",
        values={one.value: one for one in Filtering},
    )
    remote_timeout: float = setting(
        REMOTE_SECONDS,
        "seconds that remote hosts may answer a silent client, where they are filtered",
        positive=True,
    )
    multicast_interface: str = setting(
        "",
        'name of the interface where groups are joined and sent to; "" for where the routes lead',
        unit="NAME",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How clients are served. Times are seconds."""

    handshake_timeout: float = setting(
        10.0,
        "seconds for a client to make a whole, authenticated request",
        key="timeouts.handshake",
        flag="--handshake-timeout",
        positive=True,
    )
    drain_timeout: float = setting(
        30.0,
        "seconds for open connections to end when the server is stopped; 0 for none",
        key="timeouts.drain",
        flag="--drain",
    )
    connections: int = setting(
        10_000, "connections at a time; 0 for any number", key="limits.connections", flag="--max-connections"
    )
    connections_per_source: int = setting(
        1_000,
        "connections from one IPv4 address or IPv6 /64 of another machine; 0 for any number",
        key="limits.connections-per-source",
        flag="--max-connections-per-source",
    )
    connections_per_user: int = setting(
        1_000,
        "connections of one user that has a name; a stream of a QUIC connection counts as one; 0 for any number",
        key="limits.connections-per-user",
        flag="--max-connections-per-user",
    )
    dialects: tuple[Dialect, ...] = setting(
        (DRAFT_12,),
        "also serve clients of the Go implementation (version byte 212); for their BINDs with a backlog also bind.backlog-without-session, and sessions.anonymous where clients have no password",
        key="dialect-212",
        flag="--dialect212",
        values={False: (DRAFT_12,), True: (DRAFT_12, GO_212)},
    )
    quiet: bool = setting(
        False,
        "answer nothing before a client has authenticated: others are reset at the end of timeouts.handshake. QUIC and DTLS must answer to shake hands; listeners of SOCKS 4, 5 and HTTP answer what is no SOCKS 6",
        key="quiet-failures",
    )
    ignore_fragmented: bool = setting(False, "close connections whose request does not arrive in one piece")
    optimistic: bool = setting(
        False, "tell SOCKS 4, 5 and HTTP CONNECT clients success at once, and reset them if it was none"
    )
    fast_open: int = setting(
        0,
        "clients at a time that may send data within their SYN (TCP Fast Open), which may arrive twice; 0 for none",
        maximum=MAX_BACKLOG,
    )
    tcp_congestion: str = setting(
        "",
        "the congestion control of TCP and TLS with clients, such as bbr, which downloads over lossy links want; Linux must have it (net.ipv4.tcp_available_congestion_control)",
        default_text="the system's",
        example='"bbr"',
    )
    tfo_without_token: bool = setting(
        True,
        "whether to serve requests whose SYN brought first bytes of the application and that spend no token, so that the network may double them",
        values={"serve": True, "refuse": False},
    )
    copy_tos: bool = setting(
        False, "send on to the destination with the TOS that a client sends with, unless it asks for another"
    )
    quic_backend: str = setting(
        "qh3",
        "the library that speaks QUIC, where a listener's URL names none",
        key="quic.backend",
        values={name: name for name in LIBRARIES},
    )
    tls: TlsParameters = TLS_DEFAULTS
    sessions: SessionSettings = field(default_factory=SessionSettings)
    bind: BindSettings = field(default_factory=BindSettings)
    udp: UdpSettings = field(default_factory=UdpSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
