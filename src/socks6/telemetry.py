"""What happens in a proxy, as events: one frozen value each, given to any number of observers.

An observer names the events it wants; an event that none wants is not even made. What happens in one connection is a
`ConnectionEvent`, whose `id` lets an observer group them. No event carries credentials, tokens or session ids. Times
are seconds.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass


class Ending(Enum):
    """How a client's connection ended."""

    DONE = "done"  # both directions reached their end
    NO_REQUEST = "no-request"  # gone, or silent past the deadline, before a whole request
    MALFORMED = "malformed"  # not the protocol
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"  # by the policy
    FAILED = "failed"  # the operation failed
    UPSTREAM = "upstream"  # the proxy to go through failed; the reason names no destination
    IDLE = "idle"  # an idle or fin time-out
    RESET = "reset"  # a side reset, or its path broke
    STOPPED = "stopped"  # the server stopped, or the client tore down the session that it belonged to
    KICKED = "kicked"  # an operator ended it
    QUOTA = "quota"  # its user may carry no more
    ERROR = "error"  # a fault of ours


CUT_OFF: Final = frozenset({Ending.STOPPED, Ending.KICKED, Ending.QUOTA})
"""Endings by the server's own will: nothing that was on its way is waited for, but what counted against a quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvent(Event):
    """The root of what happens in one connection, which `id` numbers."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened(ConnectionEvent):
    """A client connected, or opened a stream of its QUIC connection."""

    source: str  # the client's address, "unix" without one
    inbound: str  # "socks6", "socks5", "http", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSecured(ConnectionEvent):
    """A client has shaken hands over TLS."""

    version: str  # "TLSv1.3"
    cipher: str
    user: str  # of its certificate, "" without one


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAuthenticated(ConnectionEvent):
    """A client was authenticated, or needed no authentication."""

    user: str  # "" when anonymous


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRefused(ConnectionEvent):
    """A client's password or certificate was refused, or was not looked at any more after too many that were."""

    source: str
    inbound: str
    user: str  # the name that it claims, "" when it has none
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMade(ConnectionEvent):
    """A client asks for something, and the policy has not been asked yet."""

    user: str
    command: str  # "CONNECT"
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConnected(ConnectionEvent):
    """A CONNECT succeeded: the proxy's end of the connection."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingOpened(ConnectionEvent):
    """A BIND succeeded: where peers may connect."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAccepted(ConnectionEvent):
    """A peer connected to a client's binding."""

    peer: str  # as host:port


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPushed(ConnectionEvent):
    """A stream was opened to a client for a peer of its binding (QUIC)."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationOpened(ConnectionEvent):
    """A UDP ASSOCIATE succeeded: where remote hosts reach the association."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(ConnectionEvent):
    """A client opened a session."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTornDown(ConnectionEvent):
    """A client tore down a session of its own."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSpent(ConnectionEvent):
    """A request spent an idempotence token, or tried to."""

    user: str
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnded(ConnectionEvent):
    """A client's connection is over. Byte counts are those of the relayed stream, without SOCKS messages."""

    inbound: str
    source: str
    user: str
    command: str  # "" when none was understood
    host: str  # of BIND what was bound, or was to be
    port: int
    peer: str = ""  # that connected there, as host:port
    session: str = ""  # "new", "yes" (within one), "ended" (by this request), "invalid"; "" without
    token: str = ""  # "accepted", "rejected"; "" when none was to be spent
    ending: Ending
    reply: int  # reply code in SOCKS 6 terms, 0 on success, -1 when none was sent
    reason: str  # "" on success
    seconds: float
    bytes_up: int  # client to remote
    bytes_down: int
    outbound: str = ""  # "direct", or host:port of the proxy that it went through; "" where it came to none
    # Times within `seconds`, of the last request; 0 for what there was none of
    handshake_seconds: float = 0.0  # from accept to the whole, authenticated request
    lookup_seconds: float = 0.0  # from the request to the addresses of its host's name
    connect_seconds: float = 0.0  # from the request to its success, the lookup included


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening(Event):
    """A listener accepts connections."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptPaused(Event):
    """A listener cannot accept for now: descriptors or memory are short."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(Event):
    """A client was dropped at accept, or a request of a connection refused, since a limit was reached."""

    source: str
    reason: str
    id: int = 0  # of the connection, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaReached(Event):
    """A user has used up its quota: its connections end, and its requests are refused until the next period."""

    user: str
    quota: int  # bytes, of both directions
    period: str  # "day", "month", "ever"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePenalized(Event):
    """A source failed to authenticate too often, and is refused for a while, for one user's name or for all."""

    source: str
    user: str  # "" for all
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamDown(Event):
    """The proxy to go through does not work: it cannot be reached, or refuses us; or that has another cause than before."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamUp(Event):
    """The proxy to go through works, for the first time or again."""

    url: str
    encryption: str = ""  # "TLS 1.3", "QUIC"; "" in the clear, or not known yet
    down_for: float = 0.0  # seconds that it did not; 0 at the first time


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorDown(Event):
    """An authenticator outside of this process, or a users database, does not work, or for another reason than before: its users are not let in."""

    authenticator: str  # "command", "url", "pam", "database"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorUp(Event):
    """An authenticator works again, after so many seconds."""

    authenticator: str
    down_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRead(Event):
    """A certificate was read again, or could not be: `reason` is why, and the last good one stays."""

    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DtlsUnavailable(Event):
    """A listener with TLS takes no datagrams over UDP, only on streams."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """Users and policy were replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """The server stops; the connections that there are get their drain time."""

    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnexpectedError(Event):
    """A fault of ours was caught at a connection's edge."""

    where: str
    error: BaseException


class Observer(ABC):
    """Gets events. To be subclassed; an observer returns quickly, and what it raises is logged and goes no further.

    ::

        class Printer(Observer):
            wants = (ConnectionEnded,)

            def observe(self, event: Event) -> None:
                print(event)
    """

    # None: every event. Read once, when the observer is put to use
    wants: Collection[type[Event]] | None = None

    @abstractmethod
    def observe(self, event: Event) -> None:
        """Handle an event."""


EVENTS: Final[tuple[type[Event], ...]] = tuple(
    value
    for value in tuple(globals().values())
    if isinstance(value, type) and issubclass(value, Event) and value not in {Event, ConnectionEvent}
)


class EventHub(Observer):
    """Gives each event to the observers that want it."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._settle()

    def attach(self, observer: Observer) -> None:
        """Give an observer what it wants now, from now on. For the thread whose events they are."""
        self._observers = (*self._observers, observer)
        self._settle()

    def detach(self, observer: Observer) -> None:
        """Give an observer nothing more. Idempotent."""
        self._observers = tuple(other for other in self._observers if other is not observer)
        self._settle()

    def _settle(self) -> None:
        self._takers = {
            event: tuple(
                observer for observer in self._observers if observer.wants is None or event in observer.wants
            )
            for event in EVENTS
        }
        # to be asked before an event is made that happens often
        self.wanted = frozenset(event for event, takers in self._takers.items() if takers)

    @override
    def observe(self, event: Event) -> None:
        for observer in self._takers.get(type(event), ()):
            try:
                observer.observe(event)
            except Exception as error:  # noqa: BLE001 - others' code, and what it observes goes on
                log_contained(f"an observer ({type(observer).__name__})", error)


def log_contained(what: str, error: Exception) -> None:
    """Log an exception of others' code that goes no further: by the loop's exception handler, if there is a loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        logging.getLogger("socks6").error("%s raised", what, exc_info=error)
    else:
        loop.call_exception_handler({"message": f"{what} raised", "exception": error})
