"""What an operator may set about the engine; every default is safe on the open Internet."""

from dataclasses import dataclass, field
from typing import Final

from socks6.message.dialect import DRAFT_12, Dialect
from socks6.net.bind import ANY_PORT
from socks6.net.datagrams.filtering import REMOTE_SECONDS, Filtering
from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters
from socks6.protocol.association import INITIAL_SECONDS
from socks6.proxy.sessions import SessionSettings
from socks6.relay.streams import RelaySettings

MOST_WAITING: Final = 65_535  # what a backlog option can say


@dataclass(frozen=True, slots=True, kw_only=True)
class BindSettings:
    """How places are bound for clients."""

    ports: range = ANY_PORT  # drawn for those who name none, and open to those who do; for TCP and UDP
    accept_timeout: float = (
        60.0  # seconds until somebody must have connected; with a backlog there is no hurry
    )
    listeners: int = 1_000  # at the same time, in all; 0 for any number
    listeners_per_user: int = 100  # of one user; of one source address where nobody says who he is
    backlog: int = 128  # peers that may wait at one listener
    advertise: tuple[str, ...] = ()  # what to call every address of this machine, by family; names for both
    backlog_without_session: bool = False  # the draft wants a session
    announce: bool = False  # each peer on the listener's own connection, too; dialect 212 has it anyway

    def __post_init__(self) -> None:
        if not 0 <= self.backlog <= MOST_WAITING:
            raise ValueError(f"a backlog of {self.backlog}: 0 to {MOST_WAITING}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpSettings:
    """How datagrams are relayed. Times are seconds; 0 of anything sets no limit."""

    enabled: bool = True  # SOCKS 6 clients may send over UDP, beside each TCP listener in the clear
    associations: int = 2_000  # at the same time, in all; each takes one or two descriptors
    associations_per_user: int = 200  # of one user; of one source address where nobody says who he is
    first_timeout: float = INITIAL_SECONDS  # until a client must have sent its first datagram
    idle_timeout: float = 7440.0  # of silence in both directions
    filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT
    remote_timeout: float = (
        REMOTE_SECONDS  # how long remotes may answer a silent client, where they are filtered
    )
    multicast_interface: str = ""  # where groups are joined and sent to; "": where the routes lead


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How clients are served. Times are seconds."""

    handshake_timeout: float = 10.0  # from accept to a whole, authenticated request
    drain_timeout: float = 30.0  # what running connections get when the server stops
    connections: int = 10_000  # at the same time, in all
    connections_per_source: int = 1_000  # of one IPv4 address or IPv6 /64
    connections_per_user: int = 1_000  # of one user that has a name; a stream of a QUIC connection is one
    dialects: tuple[Dialect, ...] = (DRAFT_12,)
    quiet: bool = False  # answer nothing before authentication has succeeded
    ignore_fragmented: bool = False  # close on requests that are not whole in the first read
    copy_tos: bool = False  # carry a client's own TOS over to the far leg, where it does not ask for another
    optimistic: bool = (
        False  # tell SOCKS 4, 5 and HTTP CONNECT clients success at once; reset them if it was none
    )
    fast_open: int = 0  # clients at a time that may send data in their SYN (TCP Fast Open); 0 for none
    tfo_without_token: bool = (
        True  # serve requests whose SYN brought data of the application and that spend no token
    )
    quic_backend: str = "qh3"  # the library that speaks QUIC, where a listener's URL says nothing else
    tls: TlsParameters = NOTHING_SAID  # of listeners whose URLs say nothing else
    sessions: SessionSettings = field(default_factory=SessionSettings)
    bind: BindSettings = field(default_factory=BindSettings)
    udp: UdpSettings = field(default_factory=UdpSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
