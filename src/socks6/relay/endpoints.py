"""The two sides of a relay that `relay.pump` copies between: what reads and writes without waiting."""

import socket as sockets
from typing import Final, Protocol

from socks6.net.scratch import Scratch
from socks6.net.stream import ByteStream, EventStream
from socks6.net.transports.tls import MAX_RECORD_BYTES, TlsStream

PIECE_BYTES: Final = 65_536  # taken of a stream at a time


class RelayEndpoint(Protocol):
    """One side. Belongs to the relay; the stream that it stands for belongs to the relay's caller."""

    announces_end: bool  # the stream says that it ends, so that an end is none where its socket broke

    @property
    def margin(self) -> int:
        """By how many bytes `receive` may give more than it takes from the socket."""

    @property
    def socket(self) -> sockets.socket | None:
        """For its events and its errors; None where a stream reports them."""

    @property
    def drained(self) -> bool:
        """Whether nothing is left but what the socket reports: the last `receive` took all that it had, as far as one can know."""

    def receive(self, scratch: Scratch) -> int | None:
        """Put what is there into `scratch.plain`; return how much, 0 at the end, None for nothing yet. Raises OSError."""

    def put(self, data: bytes | memoryview) -> bool:
        """Take all of `data`; return whether the socket did, too. If not, `flush` goes first. Raises OSError."""

    def flush(self) -> bool:
        """Send what the socket did not take; return whether nothing is left. Raises OSError."""

    def end(self, *, last: bool) -> bool:
        """End the stream to this side; return as `flush` does. Raises OSError.

        If it is the `last` of both, the socket is closed as soon as it has taken everything.
        """


class SocketEndpoint:
    """A socket whose bytes are the stream's own."""

    __slots__ = ("_knows", "_rest", "announces_end", "drained", "socket")
    margin: Final = 0

    def __init__(self, sock: sockets.socket) -> None:
        self.socket = sock
        self.drained = True  # of bytes that were read ahead
        self._knows = sock.proto == sockets.IPPROTO_TCP  # others may give a short piece and have more
        self._rest = memoryview(b"")
        self.announces_end = False

    def receive(self, scratch: Scratch) -> int | None:
        try:
            size = self.socket.recv_into(scratch.plain)
        except BlockingIOError:
            self.drained = True
            return None
        self.drained = self._knows and size < len(scratch.plain)
        return size

    def put(self, data: bytes | memoryview) -> bool:
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self._rest = memoryview(bytes(data[sent:]))
        return False

    def flush(self) -> bool:
        try:
            self._rest = self._rest[self.socket.send(self._rest) :]
        except BlockingIOError:
            return False
        return not self._rest

    def end(self, *, last: bool) -> bool:
        if not last:  # else closing does it
            self.socket.shutdown(sockets.SHUT_WR)
        return True


class TlsEndpoint:
    """A stream over TLS."""

    __slots__ = ("_stream", "announces_end", "flush", "put", "receive", "socket")
    margin: Final = MAX_RECORD_BYTES

    def __init__(self, stream: TlsStream, carrier: sockets.socket) -> None:
        self.socket = carrier
        self.announces_end = True
        self._stream = stream
        self.receive = stream.receive_into  # as they are: each piece costs a call less
        self.put = stream.put_nowait
        self.flush = stream.flush_nowait

    @property
    def drained(self) -> bool:
        return self._stream.drained

    def end(self, *, last: bool) -> bool:
        self._stream.end_nowait()
        return self._stream.flush_before_close() if last else self._stream.flush_nowait()


class StreamEndpoint:
    """A stream that reports its own events, as one of a QUIC connection does."""

    __slots__ = ("_rest", "_send", "announces_end", "socket", "stream")
    margin: Final = 0

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.socket = None
        self.announces_end = True
        self._send = stream.send_nowait
        self._rest = memoryview(b"")

    @property
    def drained(self) -> bool:
        return not self.stream.readable

    def receive(self, scratch: Scratch) -> int | None:
        data = self.stream.receive_nowait(min(PIECE_BYTES, len(scratch.plain)))
        if data is None:
            return None
        size = len(data)
        scratch.plain[:size] = data
        return size

    def put(self, data: bytes | memoryview) -> bool:
        sent = self._send(data)
        if sent == len(data):
            return True
        self._rest = memoryview(data)[sent:]
        if sent and self.flush():
            return True
        self._rest = memoryview(bytes(self._rest))
        return False

    def flush(self) -> bool:
        while self._rest:
            sent = self._send(self._rest)
            if not sent:
                return False
            self._rest = self._rest[sent:]
        return True

    def end(self, *, last: bool) -> bool:  # noqa: ARG002 - closing is cheap
        self.stream.end_nowait()
        return True


def endpoint_of(stream: ByteStream) -> RelayEndpoint | None:
    """Return the end that a stream makes, None for streams that the relay's epoll cannot watch."""
    raw = stream.raw_socket
    if raw is not None:
        return SocketEndpoint(raw)
    if isinstance(stream, EventStream):
        return StreamEndpoint(stream)
    if (tls := stream.attribute(TlsStream)) is not None:
        carrier = tls.beneath.raw_socket
        return None if carrier is None else TlsEndpoint(tls, carrier)
    events = stream.attribute(EventStream)  # type: ignore[type-abstract]  # it is looked for, not made
    return None if events is None else StreamEndpoint(events)
