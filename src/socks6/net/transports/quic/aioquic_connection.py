"""aioquic's connection with what is ours in it: more streams, credit that follows the reading, and a guard.

It doubles a peer's credit by itself, however little has been read; here a stream, and the connection, may be a window
ahead of the reader and no more. A client that nobody has let in yet has small windows.

It walks through all pieces of a stream for each new one, and acts upon any number of frames: they are counted before it
sees them (`guard`, docs/decisions/0038).
"""

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from aioquic.quic.connection import (
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    QuicConnection,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from typing_extensions import override

from socks6.net.transports.quic.core import CONNECTION_WINDOW, MAX_STREAMS, STREAM_WINDOW
from socks6.net.transports.quic.guard import EXCESSIVE, ExcessiveFrames, FrameGuard

STRANGERS_WINDOW: Final = 1 << 18  # bytes of a connection, and half of it of a stream
WORTH_TELLING: Final = 4  # new credit is told when it is a fourth of the window


class _Credit(Limit):
    """The connection's: what was read, and a window more. aioquic's own idea of it is not taken."""

    def __init__(self, window: int) -> None:
        self._read = 0
        self._window = self._granted = window
        super().__init__(frame_type=QuicFrameType.MAX_DATA, name="max_data", value=window)

    @property  # type: ignore[explicit-override]  # mypy does not see `override` within a property over an attribute
    def value(self) -> int:
        return self._granted

    @value.setter
    def value(self, value: int) -> None:
        pass

    def read(self, size: int) -> None:
        """Take note that so much was read."""
        self._read += size
        if self._read + self._window - self._granted >= self._window // WORTH_TELLING:
            self._granted = self._read + self._window

    def widen(self, window: int) -> None:
        """Let so much be on its way from now on."""
        self._window = window
        self.read(0)


class AioquicConnection(QuicConnection):
    """A connection whose peer gets credit when something is read."""

    def prepare(self) -> None:
        """Set what no configuration can say; to be called before anything else."""
        self.guard = FrameGuard(0.0)
        self._stream_window: int = self._configuration.max_stream_data
        self._credit = _Credit(self._configuration.max_data)
        self._local_max_data = self._credit
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = MAX_STREAMS
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._read: WeakKeyDictionary[QuicStream, int] = WeakKeyDictionary()
        self.released = False
        self._given = 0  # bytes of streams that were to be sent

    def tell_reset_token(self, token_of: Callable[[bytes], bytes]) -> None:
        """Have the peer know how a stateless reset looks that is ours."""
        first = self._host_cids[0]
        first.stateless_reset_token = token_of(first.cid)

    def trust(self) -> None:
        """Give the peer windows, and allow it frames, as one that has been let in."""
        self.guard.trust()
        self._stream_window = STREAM_WINDOW
        self._credit.widen(CONNECTION_WINDOW)

    @override
    def _connect(self, now: float) -> None:
        """Begin, perhaps anew after a Retry: then early data goes again, which aioquic would forget."""
        lost = []
        for space in self._loss.spaces:
            lost += [
                handler for packet in space.sent_packets.values() for handler in packet.delivery_handlers
            ]
            self._loss.discard_space(space)
        super()._connect(now)
        for delivered, arguments in lost:
            delivered(QuicDeliveryState.LOST, *arguments)

    @override
    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        try:
            self.guard.packet(context.epoch.value, plain, context.time)
        except ExcessiveFrames as error:
            self.close(error_code=EXCESSIVE, reason_phrase=str(error))
            return False, False
        if not self._remote_initial_source_connection_id:
            plain = self.guard.without_empty_ids(plain) or plain
        result: tuple[bool, bool] = super()._payload_received(context, plain, crypto_frame_required)
        return result

    def was_read(self, stream_id: int, size: int) -> None:
        """Take note that bytes of a stream were read."""
        self._credit.read(size)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._read[stream] = self._read.get(stream, 0) + size

    def give(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Send on a stream."""
        self.send_stream_data(stream_id, data, ended)
        self._given += len(data)

    def take_back(self, stream_id: int, code: int) -> None:
        """Reset a stream."""
        self._given -= self.unsent(stream_id)
        self.reset_stream(stream_id, code)

    def unsent(self, stream_id: int | None = None) -> int:
        """Return how many bytes of a stream, or of all, have not left yet."""
        if stream_id is None:
            return max(0, self._given - self._remote_max_data_used)
        stream = self._streams.get(stream_id)
        return 0 if stream is None else sum(part.stop - part.start for part in stream.sender._pending)  # noqa: SLF001

    def unacknowledged(self, stream_id: int) -> int:
        """Return how many bytes of a stream have not left, or were not acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start  # noqa: SLF001

    def open_stream(self) -> int | None:
        """Return the id of a new stream; None if the peer allows no more."""
        stream_id: int = self.get_next_available_stream_id()
        if stream_id // 4 >= self._remote_max_streams_bidi:
            return None
        self._get_or_create_stream_for_send(stream_id)
        return stream_id

    def release(self) -> None:
        """Forget streams, packets and keys; only the end of the connection is known then."""
        self._set_state(QuicConnectionState.TERMINATED)
        self.released = True
        self._given = self._remote_max_data_used
        for kept in (
            self._streams, self._streams_queue, self._streams_blocked_bidi, self._streams_blocked_uni, self._events,
            self._crypto_streams, self._crypto_buffers, self._cryptos, self._cryptos_initial, self._datagrams_pending,
        ):  # fmt: skip
            kept.clear()
        for space in self._spaces.values():
            space.sent_packets.clear()
        for held in ("_QuicConnection__frame_handlers", "tls"):  # with bound methods, that is circles
            self.__dict__.pop(held, None)

    @property
    def end(self) -> ConnectionTerminated | None:
        """How the connection ended, as soon as either side said so."""
        return self._close_event

    @property
    def quiet(self) -> bool:
        """Whether everything that was sent has arrived."""
        return not (self._loss.bytes_in_flight or self.unsent())

    @property
    def credit_blocked(self) -> bool:
        """Whether bytes wait to leave though nothing is on its way."""
        return not self._loss.bytes_in_flight and self.unsent() > 0

    @property
    def round_trip(self) -> float:
        """How many seconds a round trip takes, smoothed; 0 before anything is known."""
        smoothed: float = self._loss._rtt_smoothed  # noqa: SLF001
        return smoothed

    @property
    def unanswered_probes(self) -> int:
        """How many probes in a row the peer has left unanswered."""
        return self._loss._pto_count  # noqa: SLF001

    @property
    def frames_waiting(self) -> int:
        """How many DATAGRAM frames have not left yet."""
        return len(self._datagrams_pending)

    @property
    def peers_largest_frame(self) -> int:
        """How long a DATAGRAM frame the peer takes, itself included; 0 for none."""
        return self._remote_max_datagram_frame_size or 0

    @override
    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        window = self._stream_window
        due = self._read.get(stream, 0) + window
        if due - stream.max_stream_data_local >= window // WORTH_TELLING:
            stream.max_stream_data_local = due
        stream_id = stream.stream_id
        if stream_id is not None and stream.max_stream_data_local_sent != stream.max_stream_data_local:
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            buffer.push_uint_var(stream_id)
            buffer.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local
