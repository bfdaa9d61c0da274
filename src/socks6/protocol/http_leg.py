"""What both legs of the HTTP proxy share: h11 behind the shape of every machine."""

from typing import Final

import h11

from socks6.compat import override
from socks6.errors import LocalProtocolError
from socks6.protocol.machine import Conversation, EventT, Trace

MAX_HEAD_SIZE: Final = 32_768  # of a head, a chunk's header or the trailers

# Where h11 returns events for what the peer sends.
READING: Final = frozenset({h11.IDLE, h11.SEND_RESPONSE, h11.SEND_BODY})


class HttpLeg(Conversation[EventT]):
    """One HTTP/1.1 connection, seen from `role`."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], trace: Trace | None = None) -> None:
        super().__init__(trace)
        self._role = role
        self._h11 = h11.Connection(role, max_incomplete_event_size=MAX_HEAD_SIZE)  # behind `_received`
        self._held: int | None = 0  # how much of what was handed over h11 holds, if known
        self._ended = False
        self._surrendered = False  # the stream has got what h11 holds

    def receive_data(self, data: bytes, now: float) -> None:  # noqa: ARG002 - the shape of every machine
        self._received += data

    def receive_eof(self, now: float) -> None:  # noqa: ARG002
        self._ended = True

    def bytes_wanted(self) -> int:
        """Return 1 while the peer has to send something, else 0: HTTP announces no sizes of heads."""
        return 1 if self._h11.their_state in READING and not self._ended else 0

    @override
    def unread(self) -> bytes:
        """Return, and forget, the bytes received that are no HTTP: those behind a switch of protocols."""
        data = self._unparsed() + bytes(self._received)
        self._surrendered = True
        self._received.clear()
        return data

    def _unparsed(self) -> bytes:
        """Return what h11 holds and has not parsed."""
        return b"" if self._surrendered else self._h11.trailing_data[0]

    def _unparsed_size(self) -> int:
        """Return how much h11 holds, without a copy for every byte that a slow peer sends."""
        if self._held is None:
            self._held = len(self._h11.trailing_data[0])
        return self._held

    def _renew(self) -> None:
        """Start again with what is unparsed: every message is judged for itself."""
        self._received[:0] = self._unparsed()
        self._held = 0
        self._h11 = h11.Connection(self._role, max_incomplete_event_size=MAX_HEAD_SIZE)

    def _pull(self) -> h11.Event | None:
        """Return the peer's next event; None when more bytes are needed. Raises h11.RemoteProtocolError."""
        while self._h11.their_state in READING:
            event = self._h11.next_event()
            if isinstance(event, h11.Event):
                self._held = None
                return event
            if not self._feed():
                return None
        return None

    def _push(self, event: h11.Event) -> None:
        """Queue an event of ours."""
        try:
            self._outgoing += self._h11.send(event) or b""
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(str(error)) from error

    def _feed(self) -> bool:
        """Hand h11 the next piece; False if there is none. No more than h11's limit, so that it holds exactly."""
        if self._received:
            held = self._unparsed_size()
            piece = bytes(self._received[: MAX_HEAD_SIZE + 1 - held])
            del self._received[: len(piece)]
            self._held = held + len(piece)
            self._h11.receive_data(piece)
            return True
        if self._ended and not self._h11.trailing_data[1]:
            self._h11.receive_data(b"")
            return True
        return False
