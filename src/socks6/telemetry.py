"""The one interface for "this happened": what an operator may want to see or count."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from typing_extensions import override


class Ending(Enum):
    """How a client's connection ended."""

    DONE = "done"  # both directions reached their end
    NO_REQUEST = "no-request"  # gone, or silent past the deadline, before a whole request
    MALFORMED = "malformed"  # not the protocol
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"  # the policy said no
    FAILED = "failed"  # the operation failed
    IDLE = "idle"  # an idle or fin time-out
    RESET = "reset"  # a side reset, or its path broke
    STOPPED = "stopped"  # the server stopped, or its client tore down the session that it belonged to
    ERROR = "error"  # a fault of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSummary:
    """One client connection, told once, when it has ended.

    Times are seconds; byte counts are those of the relayed stream, without SOCKS messages.
    """

    id: int
    inbound: str  # "socks6", "socks5", "http", ...
    source: str  # the client's address, "unix" without one
    user: str  # "" when anonymous
    command: str  # "CONNECT", "" when none was understood
    host: str  # of BIND the place that was bound, or was to be
    port: int
    peer: str = ""  # who connected there, as host:port
    ending: Ending
    reply: int  # reply code in SOCKS 6 terms, 0 on success, -1 when none was sent
    reason: str  # "" on success
    seconds: float
    bytes_up: int  # client to remote
    bytes_down: int
    session: str = ""  # "new", "yes" (within one), "ended" (by this request), "invalid"; "" without
    token: str = ""  # "accepted", "rejected"; "" when none was to be spent


class Observer(Protocol):
    """Told of what happens; must return quickly and never raise."""

    def listening(self, url: str) -> None:
        """A listener accepts connections at `url`."""

    def connection_opened(self, connection_id: int, source: str) -> None:
        """A client connected."""

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """A client's connection is over."""

    def connection_turned_away(self, source: str, reason: str) -> None:
        """A client was dropped at accept: a limit was reached."""

    def accept_paused(self, url: str, reason: str) -> None:
        """A listener cannot accept for now (descriptors or memory are short)."""

    def certificate_read(self, path: str, fault: str) -> None:
        """A certificate was read anew, or could not be: `fault` says why, and the last good one stays."""

    def without_dtls(self, url: str, reason: str) -> None:
        """A listener with TLS takes no datagrams over UDP, but on streams: why."""

    def unexpected_error(self, where: str, error: BaseException) -> None:
        """A fault of ours was caught at a connection's edge."""

    def stopping(self, connections: int) -> None:
        """The service stops; so many connections get their drain time."""


class NullObserver(Observer):
    """Tells nobody."""

    @override
    def listening(self, url: str) -> None:
        pass

    @override
    def connection_opened(self, connection_id: int, source: str) -> None:
        pass

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        pass

    @override
    def connection_turned_away(self, source: str, reason: str) -> None:
        pass

    @override
    def accept_paused(self, url: str, reason: str) -> None:
        pass

    @override
    def certificate_read(self, path: str, fault: str) -> None:
        pass

    @override
    def without_dtls(self, url: str, reason: str) -> None:
        pass

    @override
    def unexpected_error(self, where: str, error: BaseException) -> None:
        pass

    @override
    def stopping(self, connections: int) -> None:
        pass
