"""One QUIC connection on the event loop: its streams, each a ByteStream, its DATAGRAM frames, its packets, its timer."""

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from socks6.compat import override
from socks6.errors import LocalProtocolError
from socks6.net.eager import Signal
from socks6.net.scopes import time_limit
from socks6.net.sockets import endpoint
from socks6.net.stream import (
    ABORT_REASONS,
    RECEIVES_ALREADY,
    SENDS_ALREADY,
    AbortCode,
    AttributeT,
    CodedAbortStream,
    Endpoint,
    EventStream,
    FrameSink,
    Protection,
    SocketAddress,
    Substream,
    receive_in_turn,
    same_error,
    wake,
)
from socks6.net.transports.quic.accounts import (
    HALF_QUEUED_BYTES,
    Condition,
    FrameQueue,
    LossMeter,
    PeerStreamIds,
)
from socks6.net.transports.quic.engine import (
    MAX_UNREAD_BYTES,
    CidIssued,
    CidRetired,
    Event,
    FrameArrived,
    HandshakeDone,
    PingAnswered,
    QuicEngine,
    StreamBytes,
    StreamReset,
    StreamStopped,
    Terminated,
)
from socks6.net.turns import Turns

CHUNK_BYTES: Final = 65_536  # given to the connection at a time
MAX_STREAM_UNSENT_BYTES: Final = 131_072  # bytes of a stream that have not left yet: then its sender waits
MAX_BYTES_AFTER_RESET: Final = 1 << 18  # bytes that can be read of a stream that was reset
ABORTED_CODE: Final = int(AbortCode.GIVEN_UP)  # the code of streams, and connections, that were aborted
STREAM_CLOSED_CODE: Final = 0  # the code of what is stopped because the stream was closed in order
MAX_UNSENT_BYTES: Final = 1 << 22  # of all streams together, that have not left yet: then all senders wait
LINGER_SECONDS: Final = 2.0  # seconds that what was sent gets to arrive before the connection is closed
CROWDED_BYTES: Final = MAX_UNREAD_BYTES // 4  # unread bytes beyond which streams may have to wait for others
BLOCKED_SECONDS: Final = 0.1  # without credit for bytes that want to leave: then new requests go elsewhere
UNANSWERED_PROBES: Final = 3  # probes in a row, the last from a new socket: then new requests go elsewhere
SILENT_SECONDS: Final = 0.25  # of silence at least, though an answer is due: likewise
SILENT_ROUND_TRIPS: Final = 3  # at least, too
CONFIRM_SECONDS: Final = 0.01  # between two looks
GONE_SECONDS: Final = 10.0  # of silence, and so many probes unanswered: then the peer is not there any more
ANSWER_SECONDS: Final = 2.0  # that the peer gets to show that it is there
INTERNAL_CODE: Final = 2  # the code of a fault of ours
CLOSED_CODE: Final = 0  # the code of connections that are closed in order
KEEP_ALIVE_SECONDS: Final = 10.0  # of our silence while there are streams, well below the idle time-out
UNHEARD_SECONDS: Final = 5.0  # of the peer's silence while there are streams: then it is asked
LATER_SECONDS: Final = (
    0.004  # for which acknowledgements and credit wait for something that they can leave with
)
PROMPT_BYTES: Final = (
    4096  # of packets that have come, beyond which they do not: more than two full ones (RFC 9000 §13.2.2)
)
STALL_SECONDS: Final = 30.0  # for which an unread stream may hold up the others


class QuicStream(EventStream, CodedAbortStream):
    """A stream. FIN is the end of a direction, RESET_STREAM and STOP_SENDING are a reset."""

    protection: Final = Protection.ENCRYPTED
    raw_socket: Final = None
    __slots__ = (
        "_at_end",
        "_closed",
        "_ended",
        "_failure",
        "_on_event",
        "_pieces",
        "_readable",
        "_sender",
        "_sending_failure",
        "_sends",
        "_settled",
        "_unwanted",
        "connection",
        "has_arrived",
        "heard",
        "id",
        "turns",
        "unread",
    )  # fmt: skip

    def __init__(self, connection: "QuicConnection", stream_id: int) -> None:
        self.id: Final = stream_id
        self.heard = False  # something about it has come from the peer
        self.has_arrived = False  # and `report` is due
        self.unread = 0
        self.turns: Final = Turns()
        self.connection: Final = connection
        self._pieces: deque[bytes] = deque()
        self._at_end = False  # the peer sends nothing more
        self._ended = False  # we send nothing more
        self._closed = False
        self._settled = False  # the peer has credit for what is unread, too
        self._failure: OSError | None = None  # of receiving
        self._sending_failure: OSError | None = None
        self._readable: Signal | None = None  # what a task waits for that receives
        self._sender: asyncio.Future[None] | None = None
        self._sends = False  # a call of `send` is under way
        self._unwanted = False  # what comes is dropped
        self.abort_code = ABORTED_CODE
        self._on_event: Callable[[], None] | None = None

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        if isinstance(self, kind):
            return self
        substream = Substream(self.connection)
        return substream if isinstance(substream, kind) else None

    @property
    def local(self) -> Endpoint:
        return self.connection.local

    @property
    def remote(self) -> Endpoint:
        return self.connection.remote

    @property
    def unacknowledged(self) -> int:
        """How many bytes the peer has not acknowledged: at least 1 while there may be some, 0 if it wants none."""
        if self._closed or self._sending_failure is not None:
            return 0
        return self.connection.unacknowledged(self.id)

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        if self._closed:
            self._check_open()
        if not self._pieces:
            if self._failure is not None:
                raise same_error(self._failure)
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
            self.connection.was_read(self.id, len(data))
        return data

    receive = receive_in_turn

    async def send(self, data: bytes | memoryview) -> None:
        self._check_nobody_sends()
        self._check_sendable()
        self._sends = True
        try:
            for start in range(0, len(data), CHUNK_BYTES):
                while self.connection.is_full(self.id):
                    await self._room()
                    self._check_sendable()
                self._give(data[start : start + CHUNK_BYTES], ended=False)
        finally:
            self._sends = False

    @property
    @override
    def readable(self) -> bool:
        return bool(self._pieces) or self._at_end or self._failure is not None or self._closed

    @property
    @override
    def refusal(self) -> OSError | None:
        return None if self._ended else self._sending_failure

    def wait_readable(self) -> Awaitable[None]:
        signal = self._readable
        if signal is None:
            signal = self._readable = Signal(self.connection.loop)
        elif signal.waiter is not None:
            raise LocalProtocolError(RECEIVES_ALREADY)
        if self.readable:
            signal.set()
        else:
            self.turns.waited()
        return signal

    @override
    def report_to(self, on_event: Callable[[], None] | None) -> None:
        self._on_event = on_event

    @override
    def send_nowait(self, data: bytes | memoryview) -> int:
        self._check_sendable()
        if self.connection.is_full(self.id):
            return 0
        piece = data[:CHUNK_BYTES]
        self._give(piece, ended=False)
        return len(piece)

    async def wait_writable(self) -> None:
        if self._sending_failure is None and not self._closed and self.connection.is_full(self.id):
            await self._room()

    async def _room(self) -> None:
        """Wait until the connection calls `writable`."""
        self._sender = asyncio.get_running_loop().create_future()
        await self._sender

    async def send_eof(self) -> None:
        self._check_nobody_sends()
        self.end_nowait()

    @override
    def end_nowait(self) -> None:
        self._check_open()
        if not self._ended:
            self._check_sendable()
            self._ended = True
            self._give(b"", ended=True)

    async def aclose(self) -> None:
        self.close_nowait()

    @override
    def close_nowait(self) -> bool:
        if self._closed:
            return True
        if not self._ended and self._sending_failure is None:
            self._ended = True
            with contextlib.suppress(OSError):  # gone already
                self._give(b"", ended=True)
        self._leave(reset=False)
        return True

    def stop_receiving(self) -> None:
        """Stop receiving: `receive` returns b"" from now on, and the peer is asked to send no more."""
        if self._closed or self._at_end or self._failure is not None:
            return
        self._unwanted = self._at_end = True
        self._drop()
        self.connection.stop(self.id, STREAM_CLOSED_CODE)
        self._changed()

    def abort(self) -> None:
        if not self._closed:
            self._leave(reset=True)

    def was_reset(self) -> bool:
        """Return whether the peer has given the stream up, or the connection is over."""
        return self._closed or self._failure is not None

    # Called by the connection.

    def arrived(self, data: bytes, *, ended: bool) -> None:
        """Take bytes from the peer; `report` follows."""
        self.heard = True
        if data:
            self._pieces.append(data)
            self.unread += len(data)
        if self._unwanted:
            self._drop()
        self._at_end = self._at_end or ended

    def report(self) -> None:
        """Report what has arrived."""
        self.has_arrived = False
        self._changed()

    def reset_by_peer(self, code: int = ABORTED_CODE) -> None:
        """Accept no more bytes; those that are here can still be read, as with TCP.

        They take no credit from other streams; of very many the last are forgotten.
        """
        self.heard = True
        if not self._at_end:
            self._failure = ConnectionResetError(errno.ECONNRESET, _words_for(code))
            self._settle()
            while self.unread > MAX_BYTES_AFTER_RESET:
                self.unread -= len(self._pieces.pop())
        self._changed()

    def stopped_by_peer(self, code: int) -> None:
        """Fail the sender: the peer wants no more bytes."""
        self.heard = True
        if code == STREAM_CLOSED_CODE:
            self._sending_failure = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        else:
            self._sending_failure = ConnectionResetError(errno.ECONNRESET, _words_for(code))
        wake(self._sender)
        self._changed()

    def failed(self, failure: OSError) -> None:
        """Fail both directions: the connection is over. What has come can still be read."""
        if not self._at_end:
            self._failure = self._failure or failure
        self._sending_failure = self._sending_failure or failure
        wake(self._sender)
        self._changed()

    def writable(self) -> None:
        """Wake the sender."""
        wake(self._sender)
        if self._on_event is not None:
            self._on_event()

    # Inside.

    def _changed(self) -> None:
        """Report that receiving is worth a call."""
        if self._on_event is not None:
            self._on_event()
        elif self._readable is not None and self._readable.waiter is not None:
            self._readable.set()

    def _give(self, data: bytes | memoryview, *, ended: bool) -> None:
        try:
            self.connection.send_on(self.id, data, ended=ended)
        except ConnectionError:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def _leave(self, *, reset: bool) -> None:
        self._closed = True
        self._drop()
        code = self.abort_code if reset else STREAM_CLOSED_CODE
        stop = None if self._at_end or self._failure else code
        self.connection.left(self.id, reset=code if reset else None, stop=stop)
        wake(self._sender)
        self._changed()

    def _drop(self) -> None:
        """Forget what will not be read."""
        self._settle()
        self._pieces.clear()
        self.unread = 0

    def _settle(self) -> None:
        """Give the peer credit for all that is here, read or not; none of it is for this stream."""
        if self.unread and not self._settled:
            self.connection.was_read(self.id, self.unread)
        self._settled = True

    def _check_nobody_sends(self) -> None:
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the stream was closed")

    def _check_sendable(self) -> None:
        if self._closed:
            self._check_open()
        if self._sending_failure is not None:
            raise same_error(self._sending_failure)
        if self._ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class PacketTransport(Protocol):
    """How packets get to the peer."""

    @property
    def local(self) -> Endpoint:
        """Our end."""

    @property
    def sock(self) -> socket.socket:
        """The socket that they leave by."""

    def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:
        """Send packets to one address."""


class SilenceWatch:
    """Who wants to know when the peer falls silent, for as long as the context lasts."""

    __slots__ = ("_connection", "confirms", "doubt", "sent_at")

    def __init__(self, connection: "QuicConnection", doubt: Callable[[], None]) -> None:
        self._connection = connection
        self.doubt: Final = doubt
        self.sent_at = 0.0
        self.confirms = False  # it was silent at the last look

    def __enter__(self) -> None:
        """Begin."""
        self._connection.watch(self)

    def __exit__(self, *_: object) -> None:
        """End."""
        self._connection.end_watch(self)


class QuicConnection:
    """A connection; `MultiplexedConnection` says what it gives.

    Everything happens in callbacks of the loop: its owner hands packets in and calls `batch_ended`. Much that is written
    in one turn of the loop leaves together (`_flush_soon`).
    """

    protection: Final = Protection.ENCRYPTED

    def __init__(
        self, engine: QuicEngine, packet_transport: PacketTransport, remote: SocketAddress, *, is_client: bool
    ) -> None:
        self.engine: Final = engine
        self.loop = asyncio.get_running_loop()
        self._packet_transport = packet_transport
        self._remote = remote
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it fires
        self._flush_due = False
        self._flush_by: float | None = None  # what can wait
        self._came = 0  # bytes of packets, since packets left
        self._is_client = is_client
        self._peer_ids = PeerStreamIds(1 if is_client else 0)
        self._streams: dict[int, QuicStream] = {}
        self._arrived: deque[QuicStream] = deque()
        self._on_stream: Callable[[QuicStream], None] | None = None
        self._to_report: list[QuicStream] = []  # to which something has come
        self._full: dict[int, tuple[int, float]] = {}  # whose senders wait: unsent bytes, and since when
        self._starved_since: float | None = None
        self._frames = FrameQueue(engine)
        self._frame_room = Condition()
        self._refusing = False
        self._losses = LossMeter()
        self._unread = 0
        self._sink: FrameSink | None = None
        self._watchers = Condition()  # of streams that come, of the handshake
        self._quiet = Condition()  # waiters for everything to have arrived
        self._signs = Condition()  # waiters for a sign that the peer is there, or not
        self._pings = 0  # sent, whose answers are waited for
        self._pinged = 0  # of these, the last that was answered
        self._watches: dict[SilenceWatch, None] = {}
        self._watch_timer: asyncio.TimerHandle | None = None
        self._silent_since = float(
            "-inf"
        )  # when an answer was due that had not come; void once something comes
        self._unused_by: float | None = None
        self._openers = Condition()  # waiters for the peer to allow a stream
        self._stalled_since: float | None = None
        self._look_at: float | None = None
        self.handshake: HandshakeDone | None = None
        self.over: OSError | None = None
        self.terminated: Terminated | None = None
        self.ended_here = False  # this side ended it
        self.started = self.last_used = self.loop.time()
        self._sent_at = self.last_received_at = self._asked_at = self.started
        self.judge: Callable[[HandshakeDone], OSError | None] = lambda _done: None
        self.on_cid: Callable[[bytes, bool], None] = lambda _cid, _issued: None
        self.on_over: Callable[[], None] = lambda: None

    # What it is.

    @property
    def local(self) -> Endpoint:
        """Our end, wherever it has moved to."""
        return self._packet_transport.local

    @property
    def remote(self) -> Endpoint:
        """The peer's end, wherever it has moved to."""
        return endpoint(self._remote)

    @property
    def carrier_socket(self) -> socket.socket:
        return self._packet_transport.sock

    @property
    def streams(self) -> int:
        """How many streams are open here."""
        return len(self._streams)

    @property
    def unused(self) -> bool:
        """Whether no stream is in use here: one that the peer opened and was not accepted does not count."""
        return len(self._streams) <= len(self._arrived)

    @property
    def usable(self) -> bool:
        """Whether a new stream is likely to get through, and not to wait for others."""
        return self.answers and self._unread < CROWDED_BYTES and not self.blocked

    @property
    def is_leaving(self) -> bool:
        """Whether it closes once it is unused, or is over: it is for nothing new."""
        return self.over is not None or self._unused_by is not None

    @property
    def answers(self) -> bool:
        """Whether the peer seems to be there."""
        return (
            self.over is None
            and self.engine.unanswered_probes < UNANSWERED_PROBES
            and self._silent_since <= self.last_received_at
        )

    @property
    def patience(self) -> float:
        """How many seconds after something was sent some packet should have come, an acknowledgement at least."""
        return max(SILENT_SECONDS, SILENT_ROUND_TRIPS * self.engine.round_trip)

    def loses_packets(self) -> bool:
        """Return whether many of the peer's packets got lost since this was last asked; see `LossMeter`."""
        return self._losses.is_lossy(*self.engine.received)

    def watched(self, doubt: Callable[[], None]) -> "SilenceWatch":
        """Call `doubt`, perhaps repeatedly, while probes stay unanswered, or no packet comes though an acknowledgement is due."""
        return SilenceWatch(self, doubt)

    def watch(self, watch: "SilenceWatch") -> None:
        """Begin one."""
        watch.sent_at = self.loop.time()
        self._watches[watch] = None
        if self._watch_timer is None:
            self._watch_timer = self.loop.call_later(self.patience, self._look_for_silence)

    def end_watch(self, watch: "SilenceWatch") -> None:
        """End one."""
        del self._watches[watch]

    def _look_for_silence(self) -> None:
        """Look at each watch; one timer serves them all."""
        self._watch_timer = None
        if not self._watches or self.over is not None:
            return
        now, patience = self.loop.time(), self.patience
        again_in, is_silent = patience, False
        for watch in self._watches:
            left = max(watch.sent_at, self.last_received_at) + patience - now
            is_owed = self.last_received_at < watch.sent_at or not self.engine.quiet
            if left > CONFIRM_SECONDS or not is_owed:
                watch.confirms = False
                again_in = min(again_in, left) if left > CONFIRM_SECONDS else again_in
            elif not watch.confirms:  # what came while the event loop was busy gets to be read
                watch.confirms = True
                again_in = CONFIRM_SECONDS
            else:
                is_silent = True
        self._watch_timer = self.loop.call_later(again_in, self._look_for_silence)
        if is_silent:
            self._silent_since = now
            self._voice_doubts()

    async def is_alive(self) -> bool:
        """Ask the peer; return whether it answered before there was reason for doubt."""
        self._pings += 1
        number = self._pings
        self.ask(number)
        with self.watched(self._signs.wake):
            async with time_limit(ANSWER_SECONDS):
                while self.answers and self._pinged < number:
                    await self._signs.wait()
        return self.answers and self._pinged >= number

    @property
    def blocked(self) -> bool:
        """Whether bytes of some stream have waited for the peer's credit for a while.

        A peer may give credit by stream, or let one that it does not read hold up all others: this side cannot distinguish them.
        """
        now = self.loop.time()
        if self._starved_since is not None and now - self._starved_since >= BLOCKED_SECONDS:
            return True
        patience = max(BLOCKED_SECONDS, 2 * self.engine.round_trip)
        return any(now - since >= patience for _, since in self._full.values())

    @property
    def largest_frame(self) -> int:
        return self.engine.largest_frame

    # Streams.

    async def accept(self) -> QuicStream:
        while not self._arrived:
            self._check_open()
            await self._watchers.wait()
        return self._arrived.popleft()

    async def serve_streams(self, on_stream: Callable[[QuicStream], None]) -> None:
        self._on_stream = on_stream
        self._give_streams()
        while self.over is None:
            await self._watchers.wait()
        self._on_stream = None

    def _give_streams(self) -> None:
        while self._arrived and self._on_stream is not None:
            self._on_stream(self._arrived.popleft())

    def open_nowait(self) -> QuicStream | None:
        """Open a stream; None if the peer allows no more for now. Raises OSError."""
        self._check_open()
        stream_id = self.engine.open_stream()
        if stream_id is None:
            return None
        self.last_used = self.loop.time()
        stream = self._streams[stream_id] = QuicStream(self, stream_id)
        return stream

    async def open(self) -> QuicStream:
        while (stream := self.open_nowait()) is None:
            await self._openers.wait()
        return stream

    def refuse_streams(self) -> None:
        """Let the peer open no more streams; open ones stay."""
        self._refusing = True

    def allow_peer_streams(self, wanted: bool) -> None:
        self._refusing = not wanted
        while self._refusing and self._arrived:
            self._arrived.popleft().abort()

    @property
    def is_confirmed(self) -> bool:
        return self.handshake is not None

    async def wait_handshake_confirmed(self) -> None:
        while self.handshake is None:
            self._check_open()
            await self._watchers.wait()

    # DATAGRAM frames.

    def set_frame_sink(self, sink: FrameSink | None) -> None:
        self._sink = sink

    def send_frame(self, data: bytes) -> bool:
        if self.over is not None or not self._frames.put(data):
            return False
        self._flush_soon()
        return True

    async def wait_frame_room(self) -> None:
        while self._frames.size > HALF_QUEUED_BYTES or self.over is not None:
            self._check_open()
            await self._frame_room.wait()

    # Its end.

    def abandon(self) -> None:
        """Close now if nothing is on its way, else as `close_when_unused`, without waiting. Idempotent."""
        if self.over is None:
            # RFC 9000, section 10.2.3: the peer may be unable to read our last word before our part of the handshake
            self._flush()
        if not self.unused or (self.handshake is not None and not self.engine.quiet):
            self.close_when_unused()
        else:
            self.close()

    def close(self, code: int = CLOSED_CODE, reason: str = "") -> None:
        if self.over is None:
            self.ended_here = True
            self.engine.close(code, reason)
            self._end(Terminated(code, reason or "closed"))
            self._flush()

    def close_when_unused(self) -> None:
        """Close in order once no stream is open here and what was sent has arrived, or soon after. Idempotent."""
        if self._unused_by is None and self.over is None:
            self._unused_by = self.loop.time() + LINGER_SECONDS
            self._flush_soon()

    async def aclose(self) -> None:
        """Close in order: wait a moment until what was sent has arrived; then close. Idempotent."""
        async with time_limit(LINGER_SECONDS):
            while not (self.engine.quiet or self.over is not None):
                await self._quiet.wait()
        self.close()

    def abort(self) -> None:
        """Close at once. Idempotent."""
        self.close(ABORTED_CODE, "given up")

    def fail_unreachable(self, number: int) -> None:
        """End: an ICMP error says that the peer is unreachable."""
        self._end(Terminated(ABORTED_CODE, os.strerror(number)), OSError(number, os.strerror(number)))

    def fail(self, reason: str) -> None:
        """End for a fault of ours."""
        self.close(INTERNAL_CODE, reason)

    def trust(self) -> None:
        self.engine.trust()
        self._flush_soon()

    # For its streams.

    def send_on(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        """Send on a stream. Raises ConnectionError when it, or the connection, is over."""
        self.engine.send(stream_id, data, ended=ended)
        self._flush_soon()

    def is_full(self, stream_id: int) -> bool:
        """Return whether a stream's sender is to wait; `QuicStream.writable` is called when it may send again."""
        of_all = self.engine.unsent()
        if of_all < MAX_STREAM_UNSENT_BYTES:  # the usual case
            return False
        unsent = self.engine.unsent(stream_id)
        if unsent < MAX_STREAM_UNSENT_BYTES and of_all < MAX_UNSENT_BYTES:
            return False
        if self._full.get(stream_id, (-1, 0.0))[0] != unsent:
            self._full[stream_id] = (unsent, self.loop.time())
        return True

    def unacknowledged(self, stream_id: int) -> int:
        """Return how many bytes of a stream the peer has not acknowledged; at least 1 while there may be some."""
        return 0 if self.over is not None else self.engine.unacknowledged(stream_id)

    def was_read(self, stream_id: int, size: int) -> None:
        """Return credit for bytes of a stream that were read."""
        self._unread -= size
        self.engine.consumed(stream_id, size)
        if self._unread + size < CROWDED_BYTES:
            self._flush_later()
        else:
            self._flush_soon()

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to send nothing more on a stream."""
        if self.over is None:
            with contextlib.suppress(ConnectionError):  # it was over
                self.engine.stop(stream_id, code)
            self._flush_soon()

    def left(self, stream_id: int, *, reset: int | None, stop: int | None) -> None:
        """Forget a stream that is closed here; `reset` and `stop` are the codes to reset it and to stop the peer with, if at all."""
        self._streams.pop(stream_id, None)
        self._full.pop(stream_id, None)
        self.last_used = self.loop.time()
        if self.over is not None:
            return
        if stop is not None:
            with contextlib.suppress(ConnectionError):  # it was over
                self.engine.stop(stream_id, stop)
        if reset is not None:
            with contextlib.suppress(ConnectionError):
                self.engine.reset(stream_id, reset)
        if stop is not None or reset is not None or self._unused_by is not None:
            self._flush_soon()

    # Packets and time.

    def connect(self) -> None:
        """Begin, as the client."""
        self.engine.connect(self._remote, self.loop.time())
        self._flush()

    def path_changed(self) -> None:
        """Make the peer learn that our packets leave from another address now (RFC 9000 §9.2)."""
        if self.over is None:
            self.engine.change_cid()
            self.ask()

    def ask(self, number: int = 0) -> None:
        """Probe whether what is sent gets through."""
        if self.over is None:
            with contextlib.suppress(ConnectionError):  # just now it was over
                self.engine.ping(number)
            self._flush_soon()

    def packets_received(self, data: bytes, size: int, source: SocketAddress) -> None:
        """Take a packet, or several of `size` bytes each; `batch_ended` must follow."""
        self.last_received_at = self.loop.time()
        self._came += len(data)
        self.engine.receive(data, size, source, self.last_received_at)

    def batch_ended(self) -> None:
        """Act upon what came, and answer once the tasks that wait for it have had their turn.

        Acknowledgements of a little, and the like, wait for what may leave soon: that spares half of the packets of small requests.
        """
        self._take_events()
        self._openers.wake()
        if (
            self._came > PROMPT_BYTES
            or self.handshake is None
            or self._full
            or self._quiet.waiters
            or self._unused_by is not None
            or self._frames.size
            or self.engine.unsent()
        ):
            self._flush_soon()
        else:
            self._flush_later()

    def _flush_soon(self) -> None:
        """Send what there is at the loop's next iteration."""
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush_now)

    def _flush_later(self) -> None:
        """Send what there is within `LATER_SECONDS`."""
        if not self._flush_due and self._flush_by is None:
            self._flush_by = self.loop.time() + LATER_SECONDS
            if self._timer is None or self._due > self._flush_by:
                self._set_timer_to(self._flush_by)

    def _flush_now(self) -> None:
        self._flush_due = False
        self._flush()
        if self.over is not None:
            self.engine.release()

    def _flush(self) -> None:  # noqa: C901 - split, each packet would cost a call more
        """Send what there is, and act upon the engine's events."""
        now = self.loop.time()
        self._flush_by = None
        self._came = 0
        if self._frames.size:
            self._frames.feed()
        if self._frame_room.waiters and self._frames.size <= HALF_QUEUED_BYTES:
            self._frame_room.wake()
        packets = self.engine.to_send(now)
        if packets:
            self._sent_at = now
            self._send(packets)
            if self._frames.size and self.engine.room_for_frames:
                self._flush_soon()
        self._take_events()
        if self.over is None:
            if (self._watches or self._signs.waiters) and not self.answers:
                self._voice_doubts()
            self._wake_senders(now)
            self._look_at = self._reset_stalled(now)
            if self._quiet.waiters or self._unused_by is not None:
                self._close_if_unused(now)
            if self.last_received_at + GONE_SECONDS <= now:  # after most packets that is all
                self._end_if_gone(now)
        self._set_timer(now)

    def _send(self, packets: list[tuple[bytes, SocketAddress]]) -> None:
        run: list[bytes] = []
        address = packets[0][1]
        for data, remote in packets:
            if remote != address:
                self._packet_transport.send(run, address)
                run, address = [], remote
            run.append(data)
        self._packet_transport.send(run, address)
        self._remote = address

    def _set_timer(self, now: float) -> None:
        if self.over is not None:
            return
        due = self.engine.timer()
        later = self._gone_at if self.engine.unanswered_probes else self._ask_at()
        for time in (later, self._unused_by, self._look_at):
            if time is not None and (due is None or time < due):
                due = time
        if due is None or (self._timer is not None and self._due <= due):
            return  # one that fires too early looks again
        self._set_timer_to(max(due, now))

    def _set_timer_to(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        due = self.engine.timer()
        if due is not None and due <= now:
            self.engine.handle_timer(now)
        ask_at = None if self.engine.unanswered_probes else self._ask_at()
        if ask_at is not None and ask_at <= now:
            self._asked_at = now
            with contextlib.suppress(ConnectionError):  # just now it was over: its events say so below
                self.engine.ping()
        self._flush()

    def _ask_at(self) -> float | None:
        """Return when the peer is to answer. The core itself asks again, as often as it must: not while probes are unanswered."""
        if not self._streams or self.over is not None:
            return None
        silent_at = max(self._sent_at, self._asked_at) + KEEP_ALIVE_SECONDS
        if self._asked_at > self.last_received_at:
            return silent_at
        return min(silent_at, self.last_received_at + UNHEARD_SECONDS)

    # Inside.

    def _voice_doubts(self) -> None:
        self._signs.wake()
        for watch in list(self._watches):
            watch.doubt()

    def _wake_senders(self, now: float) -> None:
        if not self.engine.credit_blocked:
            self._starved_since = None
        elif self._starved_since is None:
            self._starved_since = now
        if not self._full:
            return
        room = self.engine.unsent() < MAX_UNSENT_BYTES
        for stream_id, (before, _) in list(self._full.items()):
            unsent = self.engine.unsent(stream_id)
            if room and unsent < MAX_STREAM_UNSENT_BYTES:
                self._full.pop(stream_id, None)
                if (
                    stream := self._streams.get(stream_id)
                ) is not None:  # else it was left by what was woken before
                    stream.writable()
            elif unsent != before:
                self._full[stream_id] = (unsent, now)

    def _reset_stalled(self, now: float) -> float | None:
        """Reset unread streams that hold up others for long, those with most first; return when to look again.

        A connection's only stream is left alone: it holds up no other, as with TCP. Libraries with credit by stream never
        stall (`QuicEngine.stalled`).
        """
        if not self.engine.stalled:
            self._stalled_since = None
            return None
        if self._stalled_since is None:
            self._stalled_since = now
        if now < self._stalled_since + STALL_SECONDS or len(self._streams) == 1:
            return self._stalled_since + STALL_SECONDS if len(self._streams) > 1 else None
        self._stalled_since = None
        left = sum(stream.unread for stream in self._streams.values()) - MAX_UNREAD_BYTES // 2
        for stream in sorted(self._streams.values(), key=lambda stream: -stream.unread):
            if left <= 0:
                break
            left -= stream.unread
            stream.reset_by_peer()
            with contextlib.suppress(ConnectionError):  # just now it was over
                self.engine.stop(stream.id, ABORTED_CODE)
        return None

    def _close_if_unused(self, now: float) -> None:
        quiet = self.engine.quiet
        if quiet:
            self._quiet.wake()
        if self._unused_by is not None and self.unused:
            if quiet or now >= self._unused_by:
                self.close()
        elif self._unused_by is not None:
            self._unused_by = now + LINGER_SECONDS

    @property
    def _gone_at(self) -> float | None:
        """When the peer is to be taken for dead; None while it answers."""
        if self.handshake is None or self.engine.unanswered_probes < UNANSWERED_PROBES:
            return None
        return self.last_received_at + GONE_SECONDS

    def _end_if_gone(self, now: float) -> None:
        """End a connection whose peer has vanished silently, well before the idle time-out."""
        gone_at = self._gone_at
        if self.over is None and gone_at is not None and gone_at <= now:
            self.engine.close(ABORTED_CODE, "no answer")  # perhaps only the path back is broken
            reason = os.strerror(errno.ETIMEDOUT)
            self._end(Terminated(ABORTED_CODE, reason), TimeoutError(errno.ETIMEDOUT, reason))

    def _check_open(self) -> None:
        if self.over is not None:
            raise same_error(self.over)

    def _take_events(self) -> None:
        while (event := self.engine.next_event()) is not None:
            self._take(event)
        if self._arrived:
            self._give_streams()
        if self._to_report:  # all that came for a stream at once: a relay then passes more on at a time
            streams, self._to_report = self._to_report, []
            for stream in streams:
                stream.report()

    def _take(self, event: Event) -> None:
        match event:
            case StreamBytes():
                self._bytes_came(event)
            case FrameArrived():
                if self._sink is not None:
                    self._sink.frame_received(event.data)
            case StreamReset() | StreamStopped():
                self._given_up(event)
            case HandshakeDone() | PingAnswered():
                self._answered(event)
            case CidIssued() | CidRetired():
                self.on_cid(event.cid, isinstance(event, CidIssued))
            case Terminated():
                self._end(event)

    def _answered(self, event: HandshakeDone | PingAnswered) -> None:
        if isinstance(event, HandshakeDone):
            self._judge(event)
        else:
            self._pinged = max(self._pinged, event.number)
            self._signs.wake()

    def _judge(self, done: HandshakeDone) -> None:
        """Go on with the peer that is there, or not: nothing was sent to it since."""
        if (refusal := self.judge(done)) is not None:
            self.engine.close(ABORTED_CODE, "given up")
            self._end(Terminated(ABORTED_CODE, str(refusal)), refusal)
            return
        self.handshake = done
        if self._is_client:  # the peer is the right one
            self.trust()
        self._watchers.wake()

    def _bytes_came(self, event: StreamBytes) -> None:
        stream = self._stream(event.stream_id)
        if stream is not None:
            self._unread += len(event.data)
            stream.arrived(event.data, ended=event.ended)
            if not stream.has_arrived:
                stream.has_arrived = True
                self._to_report.append(stream)
        elif event.data:
            self.engine.consumed(event.stream_id, len(event.data))

    def _given_up(self, event: StreamReset | StreamStopped) -> None:
        stream = self._stream(event.stream_id)
        if stream is None:
            return
        if isinstance(event, StreamReset):
            stream.reset_by_peer(event.code)
        else:
            stream.stopped_by_peer(event.code)
            self._full.pop(event.stream_id, None)

    def _stream(self, stream_id: int) -> QuicStream | None:
        """Return an open stream, a new one of the peer's too; None for one that is closed here."""
        stream = self._streams.get(stream_id)
        if stream is not None or not self._peer_ids.begins(stream_id):
            return stream
        if self._refusing:
            self.left(stream_id, reset=ABORTED_CODE, stop=ABORTED_CODE)
            return None
        self.last_used = self.loop.time()
        stream = QuicStream(self, stream_id)
        self._streams[stream_id] = stream
        self._arrived.append(stream)
        if self._on_stream is None:
            self._watchers.wake()
        return stream

    def _end(self, terminated: Terminated, failure: OSError | None = None) -> None:
        self.terminated = self.terminated or terminated
        if self.over is not None:
            return
        text = terminated.reason or f"code {terminated.code:#x}"
        self.over = failure or ConnectionResetError(errno.ECONNRESET, f"the connection is over: {text}")
        for stream in list(self._streams.values()):
            stream.failed(self.over)
        self._full.clear()
        self._frames.clear()
        for timer in (self._timer, self._watch_timer):
            if timer is not None:
                timer.cancel()
        self._flush_soon()  # the CONNECTION_CLOSE, and then no more
        self._watchers.wake()
        self._openers.wake()
        self._quiet.wake()
        self._signs.wake()
        self._frame_room.wake()
        if self._sink is not None:
            self._sink.connection_lost()
        self.on_over()


def _words_for(code: int) -> str:
    """Return what the other side's code for a stream that it aborted means."""
    return ABORT_REASONS.get(code, ABORT_REASONS[AbortCode.GIVEN_UP])
