"""The proxy's side of one UDP association: which path may use it, and how long it waits for the first datagram.

It knows no sockets: a path is any value that distinguishes one way in from another, such as a 5-tuple, a DTLS
connection, or the stream itself.
"""

from collections.abc import Hashable
from enum import Enum
from typing import Final

from socks6.compat import override
from socks6.message.address import is_unspecified
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    DatagramError,
)
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.framing import Framing, Socks6Framing
from socks6.protocol.machine import Trace

INITIAL_SECONDS: Final = 120.0  # what a client gets to send its first datagram


class AssociationState(Enum):
    """Where an association stands."""

    AWAITING_FIRST = "awaiting the first datagram"
    CONFIRMED = "confirmed"
    CLOSED = "closed"


class ClientAssociation:
    """Which path a client's datagrams come by: that of the first one, and from then on no other.

    SOCKS 5 has no messages about it, and whatever has no header has none either.
    """

    def __init__(self, framing: Framing) -> None:
        self.framing = framing  # the client's, once it has shown it
        self.state = AssociationState.AWAITING_FIRST
        self.path: Hashable = None

    def admit(self, path: Hashable, framing: Framing) -> bool:
        """Return whether a well-formed datagram that came by `path`, framed so, is the client's; else it is dropped."""
        if self.state is AssociationState.CONFIRMED:
            return path == self.path
        if self.state is AssociationState.CLOSED:
            return False
        self.state = AssociationState.CONFIRMED
        self.path, self.framing = path, framing
        return True

    def error(self, host: str, port: int, code: int, reporter: str) -> bytes | None:  # noqa: ARG002 - for those that have such messages
        """Return an Error message; None if the client must not get any."""
        return None

    def close(self) -> None:
        """Admit nothing more: the stream has ended. Idempotent."""
        self.state = AssociationState.CLOSED


class ServerAssociation(ClientAssociation):
    """An association of SOCKS 6. Begins with the Initialization queued for the stream.

    `reports` is whether the client opted in to ICMP errors (§ UDP Error options). `deadline` is when the first
    datagram must have come.
    """

    def __init__(
        self,
        association_id: int,
        dialect: Dialect,
        *,
        deadline: float,
        reports: bool = False,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(Socks6Framing(association_id, dialect, dialect.datagram_layout))
        self.id: Final = association_id
        self.dialect: Final = dialect
        self._deadline = deadline
        self._reports = reports
        self._trace = trace
        self._outgoing = b""
        self._send(AssociationInitialization(association_id=association_id))

    @property
    def layout(self) -> DatagramLayout:
        """The layout of addresses: the dialect's until the client has shown its own."""
        assert isinstance(self.framing, Socks6Framing)  # noqa: S101 - see `admit`
        return self.framing.layout

    @override
    def admit(self, path: Hashable, framing: Framing) -> bool:
        """See `ClientAssociation.admit`. The first datagram queues the Confirmation."""
        if not isinstance(framing, Socks6Framing) or framing.association_id != self.id:
            return False
        fresh = self.state is AssociationState.AWAITING_FIRST
        admitted = super().admit(path, framing)
        if fresh and admitted:
            self._send(AssociationConfirmation(association_id=self.id))
        return admitted

    @override
    def error(self, host: str, port: int, code: int, reporter: str) -> bytes | None:
        """Return an Error message; None if the client must not get any: no opt-in, or nothing confirmed yet."""
        if self.state is not AssociationState.CONFIRMED or not self._reports:
            return None
        message = DatagramError(association_id=self.id, host=host, port=port, code=code, reporter=reporter)
        return message.encode(self.dialect, self.layout)

    def data_to_send(self) -> bytes:
        """Return what to write to the stream, and forget it; empty if there is nothing."""
        data, self._outgoing = self._outgoing, b""
        return data

    def next_timeout(self) -> float | None:
        """Return when the first datagram must have come; None once it has."""
        return self._deadline if self.state is AssociationState.AWAITING_FIRST else None

    def handle_timeout(self, now: float) -> None:
        """Close the association if the first datagram is overdue (§ Handling UDP ASSOCIATE)."""
        deadline = self.next_timeout()
        if deadline is not None and now >= deadline:
            self.close()

    def _send(self, message: AssociationInitialization | AssociationConfirmation) -> None:
        self._outgoing += message.encode(self.dialect)
        if self._trace is not None:
            self._trace(">", message)


def opens_only(host: str, port: int, size: int) -> bool:
    """Return whether a datagram with `size` bytes of data only opens an association (§ Proxying UDP servers)."""
    return size == 0 and port == 0 and is_unspecified(host)
