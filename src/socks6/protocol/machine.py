"""The shape of every machine: bytes and time go in, events and bytes come out; no clock, no socket, no dice.

A driver repeats: take events until there are none, write `data_to_send`, then wait for bytes, the end of
the stream or `next_timeout`, and hand that in. The same bytes in any chunking give the same events.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias, TypeVar

EventT = TypeVar("EventT")
MessageT = TypeVar("MessageT")
EventT_co = TypeVar("EventT_co", covariant=True)

# Called with the direction, "<" for what the peer sent and ">" for our own, and each message; None if nothing looks at them
Trace: TypeAlias = Callable[[str, object], None]


class Conversation(Generic[EventT]):
    """What machines have in common that collect bytes and events. `trace` sees every message."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._events: deque[EventT] = deque()
        self._received = bytearray()
        self._outgoing = bytearray()

    def next_timeout(self) -> float | None:
        """Return None: how long to wait is up to the driver."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Do nothing: nothing is ever due."""

    def next_event(self) -> EventT | None:
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def unread(self) -> bytes:
        data = bytes(self._received)
        self._received.clear()
        return data

    def _traced(self, direction: str, message: MessageT) -> MessageT:
        """Show a message to what looks at them, and return it."""
        if self._trace is not None:
            self._trace(direction, message)
        return message


class Machine(Protocol[EventT_co]):
    """A conversation that knows what may happen when. All times are seconds on the caller's clock."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived. Never raises on bad bytes: they become an event."""

    def receive_eof(self, now: float) -> None:
        """Take the end of the peer's stream: nothing more will come."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`; nothing if nothing is."""

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` must be called at the latest; None for never."""

    def next_event(self) -> EventT_co | None:
        """Return what happened next; None when nothing else has."""

    def data_to_send(self) -> bytes:
        """Return the bytes to write, and forget them; empty if there are none."""

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the next step needs; 0 when the machine wants no more.

        A driver that never reads more than this leaves what follows the conversation in the stream.
        """

    def unread(self) -> bytes:
        """Return, and forget, the bytes received that belong to the stream, not to this conversation."""


class Delimited:
    """Base of machines whose messages do not say how long they are: a driver may look ahead, and read just as much."""

    def size_within(self, ahead: bytes) -> int:
        """Return how many of the bytes that come next belong to the conversation: all, unless its last message ends."""
        raise NotImplementedError
