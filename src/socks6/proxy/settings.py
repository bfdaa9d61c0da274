"""What an operator may set about the engine; every default is safe on the open Internet."""

from dataclasses import dataclass, field

from socks6.message.dialect import DRAFT_12, Dialect
from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters
from socks6.proxy.sessions import SessionSettings
from socks6.relay.plane import RelaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How clients are served. Times are seconds."""

    handshake_timeout: float = 10.0  # from accept to a whole, authenticated request
    drain_timeout: float = 30.0  # what running connections get when the server stops
    connections: int = 10_000  # at the same time, in all
    connections_per_source: int = 1_000  # of one IPv4 address or IPv6 /64
    dialects: tuple[Dialect, ...] = (DRAFT_12,)
    quiet: bool = False  # answer nothing before authentication has succeeded (the seed's small cross section)
    ignore_fragmented: bool = False  # close on requests that are not whole in the first read (the seed's)
    copy_tos: bool = False  # carry a client's own TOS over to the far leg, where it does not ask for another
    optimistic: bool = (
        False  # tell SOCKS 4, 5 and HTTP CONNECT clients success at once; reset them if it was none
    )
    fast_open: int = 0  # clients at a time that may send data in their SYN (TCP Fast Open); 0 for none
    tls: TlsParameters = NOTHING_SAID  # of listeners whose URLs say nothing else
    sessions: SessionSettings = field(default_factory=SessionSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
