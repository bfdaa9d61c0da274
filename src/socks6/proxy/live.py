"""The live table: the connections, associations, bindings and sessions that there are now.

It costs nothing until it is read: reading makes a value of each connection, with the relay's own byte counts.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from socks6.dataclass import dataclass
from socks6.message.codes import Command
from socks6.proxy.accounts import AccountHolder
from socks6.proxy.sessions import SessionStore
from socks6.relay.bandwidth import Meter
from socks6.telemetry import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What there is to know now of a client's connection, or of one stream of its QUIC connection."""

    id: int  # as in the events
    inbound: str
    source: str
    user: str  # "" when anonymous, or not authenticated yet
    command: str  # "" before a request
    host: str  # of a BIND or UDP ASSOCIATE that succeeded, what is bound
    port: int
    peer: str  # of a BIND, as host:port
    established: bool  # whether the request succeeded
    seconds: float
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What there is to know now of a session; never its id."""

    user: str
    connections: int
    window: int  # tokens that it has at a time


class Traffic(Protocol):
    """A relay that is at work, and counts what it moves."""

    @property
    def bytes_up(self) -> int:
        """Bytes from client to remote."""

    @property
    def bytes_down(self) -> int:
        """Bytes from remote to client."""

    def limit(self, up: Meter, down: Meter) -> None:
        """Move no more than these allow, from now on."""


class LiveConnection(AccountHolder, Protocol):
    """A `ClientConnection`, as far as the table goes."""

    @property
    def inbound(self) -> str:
        """The protocol that its client speaks."""

    @property
    def started(self) -> float:
        """When it was accepted, on the loop's clock."""

    user: str  # "" when anonymous, or not authenticated yet
    command: str  # "" before a request
    outbound: str  # as `ConnectResult.outbound`
    reply: int  # -1 before an answer
    ending: Ending
    times: list[float] | None  # of the last request, of its host's addresses, of its success; 0 for not yet
    bytes_up: int  # but for those that `traffic` counts
    bytes_down: int
    traffic: Traffic | None  # the relay at work

    def info(self) -> ConnectionInfo:
        """Return what there is to know now."""

    def end(self, ending: Ending, reason: str) -> None:
        """End it at once, whatever it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTotals:
    """What a proxy has carried since it started. Connections without a request do not count."""

    open: int
    served: int  # and ended
    bytes_up: int  # client to remote, those of open connections among them
    bytes_down: int


class LiveTable:
    """The connections of a proxy, from accept to their ends; each that is read is a new `ConnectionInfo`."""

    def __init__(self, sessions: SessionStore | None) -> None:
        self._connections: Final[dict[int, LiveConnection]] = {}
        self._sessions: Final = sessions
        # called with each connection that has ended: costs less than the event, for who counts all and keeps none
        self.on_ended: Callable[[LiveConnection], None] | None = None
        # of those that have ended
        self._served = 0
        self._bytes_up = 0
        self._bytes_down = 0

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._connections)

    def __iter__(self) -> Iterator[ConnectionInfo]:
        """Return an iterator over them, the oldest first; what comes or goes meanwhile does no harm."""
        return (connection.info() for connection in tuple(self._connections.values()))

    @property
    def associations(self) -> list[ConnectionInfo]:
        """The connections that hold a UDP association; bytes are those of its datagrams."""
        return self._established(Command.UDP_ASSOCIATE)

    @property
    def bindings(self) -> list[ConnectionInfo]:
        """The connections that hold a binding, or that its peer came to."""
        return self._established(Command.BIND)

    @property
    def sessions(self) -> list[SessionInfo]:
        """The sessions that are kept in this process."""
        return [
            SessionInfo(
                user=session.identity.name,
                connections=session.connections,
                window=session.window.size if session.window else 0,
            )
            for session in (self._sessions.sessions() if self._sessions is not None else ())
        ]

    def of_user(self, name: str) -> list[LiveConnection]:
        """Return the connections whose requests are a user's."""
        return [
            connection
            for connection in self._connections.values()
            if connection.user == name and connection.command
        ]

    def add(self, connection: LiveConnection) -> None:
        """Enter a connection."""
        self._connections[connection.id] = connection

    def discard(self, connection: LiveConnection) -> None:
        """Remove a connection. Idempotent."""
        if self._connections.pop(connection.id, None) is None:
            return
        if self.on_ended is not None:
            self.on_ended(connection)
        if connection.command:
            self._served += 1
            self._bytes_up += connection.bytes_up
            self._bytes_down += connection.bytes_down

    def end(self, connection_id: int, *, ending: Ending, reason: str) -> bool:
        """End a connection from outside, whatever it is about; return False if there is none of this number.

        Its client and its remote are reset (QUIC: with the code of `AbortCode`), nothing that is on its way is waited for, and
        `ending` and `reason` are in its record.
        """
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.end(ending, reason)
        return connection is not None

    def totals(self) -> TrafficTotals:
        """Return what was carried until now; makes no value of each connection."""
        count, up, down = 0, self._bytes_up, self._bytes_down
        for connection in self._connections.values():
            if connection.command:
                count += 1
                up += connection.bytes_up
                down += connection.bytes_down
                if (traffic := connection.traffic) is not None:
                    up += traffic.bytes_up
                    down += traffic.bytes_down
        return TrafficTotals(open=count, served=self._served, bytes_up=up, bytes_down=down)

    def summed(self, *, by_user: bool) -> dict[tuple[str, str, str, int, str], tuple[int, int, int]]:
        """Return how many connections there are, and their bytes up and down.

        They are summed by inbound, `LiveConnection.outbound`, command, reply, and user, which is "" unless `by_user`. Makes no
        value of each.
        """
        sums: dict[tuple[str, str, str, int, str], tuple[int, int, int]] = {}
        for connection in self._connections.values():
            up, down = connection.bytes_up, connection.bytes_down
            if (traffic := connection.traffic) is not None:
                up += traffic.bytes_up
                down += traffic.bytes_down
            key = (
                connection.inbound,
                connection.outbound,
                connection.command,
                connection.reply,
                connection.user if by_user else "",
            )
            count, all_up, all_down = sums.get(key, (0, 0, 0))
            sums[key] = count + 1, all_up + up, all_down + down
        return sums

    def _established(self, command: Command) -> list[ConnectionInfo]:
        name = command.name
        held = [one for one in self._connections.values() if one.command == name]  # a value only of these
        return [info for one in held if (info := one.info()).established]


def byte_words(count: float) -> str:
    """Return a number of bytes with three digits that count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration_words(seconds: float) -> str:
    """Return a time in its largest whole unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
