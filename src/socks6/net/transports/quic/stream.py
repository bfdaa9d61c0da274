"""One QUIC stream as a ByteStream."""

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from typing import Final, Protocol

from socks6.errors import LocalProtocolError
from socks6.net.stream import (
    RECEIVES_ALREADY,
    SENDS_ALREADY,
    Endpoint,
    MultiplexedConnection,
    Protection,
    check_idle,
)
from socks6.net.turns import EVENT, Turns

PIECE: Final = 65_536  # given to the connection at a time
UNSENT: Final = 131_072  # bytes of a stream that have not left yet: then its sender waits
LAST_WORDS: Final = 1 << 18  # bytes that can be read of a stream that was reset
GIVEN_UP: Final = 1  # the code of streams that were aborted
NOT_WANTED: Final = 0  # the code of what is stopped because the stream was closed in order


class StreamHost(MultiplexedConnection, Protocol):
    """What a stream needs of its connection."""

    def send_on(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        """Send on a stream. Raises ConnectionError when it, or the connection, is over."""

    def is_full(self, stream_id: int) -> bool:
        """Whether the stream's sender had better wait; then `QuicStream.writable` is called when it need not."""

    def unacknowledged(self, stream_id: int) -> int:
        """Return how many bytes of a stream the peer has not acknowledged; at least 1 while there may be some."""

    def was_read(self, stream_id: int, size: int) -> None:
        """Take note that bytes were read."""

    def stop(self, stream_id: int, code: int) -> None:
        """Have the peer send nothing more on a stream."""

    def left(self, stream_id: int, *, reset: bool, stop: int | None) -> None:
        """Forget a stream that nobody here wants any more; `stop` is the code to stop the peer with, if at all."""


class QuicStream:
    """A stream. FIN is the end of a direction, RESET_STREAM and STOP_SENDING are a reset."""

    __slots__ = (
        "_at_end", "_carrier", "_closed", "_ended", "_failure", "_pieces", "_receiver", "_sender", "_sending_failure",
        "_sends", "_settled", "_unwanted", "early", "heard", "id", "turns", "unread",
    )  # fmt: skip

    def __init__(self, carrier: StreamHost, stream_id: int, *, early: bool = False) -> None:
        """`early` tells of a peer's stream that began before the peer had proven to be there."""
        self.id: Final = stream_id
        self.early: Final = early
        self.heard = False  # the peer has said something about it
        self.unread = 0
        self.turns: Final = Turns()
        self._carrier = carrier
        self._pieces: deque[bytes] = deque()
        self._at_end = False  # the peer sends nothing more
        self._ended = False  # we send nothing more
        self._closed = False
        self._settled = False  # the peer has credit for what is unread, too
        self._failure: OSError | None = None  # of receiving
        self._sending_failure: OSError | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._sends = False  # a call of `send` is under way
        self._unwanted = False  # nobody wants what comes

    @property
    def connection(self) -> MultiplexedConnection:
        """The connection that it is one stream of."""
        return self._carrier

    @property
    def local(self) -> Endpoint:
        return self._carrier.local

    @property
    def remote(self) -> Endpoint:
        return self._carrier.remote

    @property
    def protection(self) -> Protection:
        return Protection.ENCRYPTED

    @property
    def raw_socket(self) -> socket.socket | None:
        return None

    @property
    def unacknowledged(self) -> int:
        """How many bytes the peer has not acknowledged: at least 1 while there may be some, 0 if it wants none."""
        if self._closed or self._sending_failure is not None:
            return 0
        return self._carrier.unacknowledged(self.id)

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        self._check_open()
        if not self._pieces:
            if self._failure is not None:
                raise _again(self._failure)
            return b"" if self._at_end else None
        taken: list[bytes] = []
        left = max_bytes
        while self._pieces and left > 0:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self.unread -= len(data)
        if not self._settled:
            self._carrier.was_read(self.id, len(data))
        return data

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        if self.turns.left <= 0:
            await self.turns.take()
        while (data := self.receive_nowait(max_bytes)) is None:
            check_idle(self._receiver, RECEIVES_ALREADY)
            self._receiver = asyncio.get_running_loop().create_future()
            await self._receiver
            self.turns.waited()
        self.turns.left -= EVENT + len(data)
        return data

    async def send(self, data: bytes | memoryview) -> None:
        self._check_nobody_sends()
        self._check_sendable()
        self._sends = True
        try:
            for start in range(0, len(data), PIECE):
                while self._carrier.is_full(self.id):
                    self._sender = asyncio.get_running_loop().create_future()
                    await self._sender
                    self._check_sendable()
                self._give(data[start : start + PIECE], ended=False)
        finally:
            self._sends = False

    async def send_eof(self) -> None:
        self._check_nobody_sends()
        self._check_open()
        if not self._ended:
            self._check_sendable()
            self._ended = True
            self._give(b"", ended=True)

    async def aclose(self) -> None:
        """See `ByteStream.aclose`."""
        if self._closed:
            return
        if not self._ended and self._sending_failure is None:
            self._ended = True
            with contextlib.suppress(OSError):  # gone already
                self._give(b"", ended=True)
        self._leave(reset=False)

    def stop_receiving(self) -> None:
        """Want nothing more of what comes: `receive` gives b"" from now on, and the peer is told."""
        if self._closed or self._at_end or self._failure is not None:
            return
        self._unwanted = self._at_end = True
        self._drop()
        self._carrier.stop(self.id, NOT_WANTED)
        _wake(self._receiver)

    def abort(self) -> None:
        if not self._closed:
            self._leave(reset=True)

    def was_reset(self) -> bool:
        """Return whether the peer has given the stream up, or the connection is over."""
        return self._closed or self._failure is not None

    # What the connection tells of.

    def arrived(self, data: bytes, *, ended: bool) -> None:
        """Take bytes from the peer."""
        self.heard = True
        if data:
            self._pieces.append(data)
            self.unread += len(data)
        if self._unwanted:
            self._drop()
        self._at_end = self._at_end or ended
        _wake(self._receiver)

    def reset_by_peer(self) -> None:
        """Take note that no more bytes come than those that are here, which can still be read, as with TCP.

        They take no credit from other streams; of very many the last are forgotten.
        """
        self.heard = True
        if not self._at_end:
            self._failure = ConnectionResetError(errno.ECONNRESET, "the peer gave the stream up")
            self._settle()
            while self.unread > LAST_WORDS:
                self.unread -= len(self._pieces.pop())
        _wake(self._receiver)

    def stopped_by_peer(self, code: int) -> None:
        """Take note that the peer wants no more bytes."""
        self.heard = True
        number = errno.EPIPE if code == NOT_WANTED else errno.ECONNRESET
        self._sending_failure = OSError(number, os.strerror(number))
        _wake(self._sender)

    def failed(self, failure: OSError) -> None:
        """Take note that the connection is over; what has come can still be read."""
        if not self._at_end:
            self._failure = self._failure or failure
        self._sending_failure = self._sending_failure or failure
        _wake(self._receiver)
        _wake(self._sender)

    def writable(self) -> None:
        """Have the sender go on."""
        _wake(self._sender)

    # Inside.

    def _give(self, data: bytes | memoryview, *, ended: bool) -> None:
        try:
            self._carrier.send_on(self.id, data, ended=ended)
        except ConnectionError:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def _leave(self, *, reset: bool) -> None:
        self._closed = True
        self._drop()
        stop = None if self._at_end or self._failure else (GIVEN_UP if reset else NOT_WANTED)
        self._carrier.left(self.id, reset=reset, stop=stop)
        _wake(self._receiver)
        _wake(self._sender)

    def _drop(self) -> None:
        """Forget what nobody will read."""
        self._settle()
        self._pieces.clear()
        self.unread = 0

    def _settle(self) -> None:
        """Give the peer credit for all that is here, read or not; none of it is for this stream."""
        if self.unread and not self._settled:
            self._carrier.was_read(self.id, self.unread)
        self._settled = True

    def _check_nobody_sends(self) -> None:
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._sending_failure is not None:
            raise _again(self._sending_failure)
        if self._ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _again(failure: OSError) -> OSError:
    """Return an error anew: one object raised over and over would collect all tracebacks."""
    return type(failure)(*failure.args)


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
