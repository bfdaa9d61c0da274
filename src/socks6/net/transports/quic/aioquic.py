"""QUIC by aioquic, all of it Python: several times slower than qh3, but each stream has a flow control of its own.

aioquic's connection gets what is ours: more streams, credit that follows the reading, and a guard. It doubles a peer's
credit by itself, however little has been read; here a stream, and the connection, may be a window ahead of the reader
and no more. A client that is not admitted yet has small windows. It walks through all pieces of a stream for each new
one, and acts upon any number of frames: they are counted before it sees them (`guard`, docs/decisions/0038).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from aioquic._crypto import CryptoError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    QuicConnection,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion, encode_quic_retry
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from socks6.compat import override
from socks6.errors import ConfigurationError
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.adapter import LibraryBackend, LibraryEngine
from socks6.net.transports.quic.engine import (
    CID_BYTES,
    CLIENT_CONNECTION_WINDOW_BYTES,
    CLIENT_STREAM_WINDOW_BYTES,
    CONNECTION_WINDOW_BYTES,
    DATAGRAM_OVERHEAD,
    MAX_FRAME_BYTES,
    MAX_STREAMS,
    PACKET_BYTES,
    STREAM_WINDOW_BYTES,
    Event,
    ServerIdentity,
    StreamBytes,
    StreamReset,
    Terminated,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE, ExcessiveFrames, FrameGuard

STRANGERS_WINDOW: Final = 1 << 18  # bytes of a connection, and half of it of a stream
WORTH_TELLING: Final = 4  # new credit is sent when it is a fourth of the window


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
        """Count bytes that were read."""
        self._read += size
        if self._read + self._window - self._granted >= self._window // WORTH_TELLING:
            self._granted = self._read + self._window

    def widen(self, window: int) -> None:
        """Set how many bytes may be on their way."""
        self._window = window
        self.read(0)


class AioquicConnection(QuicConnection):
    """A connection whose peer gets credit when something is read."""

    def prepare(self) -> None:
        self.guard = FrameGuard(0.0)
        self._stream_window: int = self._configuration.max_stream_data
        self._credit = _Credit(self._configuration.max_data)
        self._local_max_data = self._credit
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = MAX_STREAMS
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._read: WeakKeyDictionary[QuicStream, int] = WeakKeyDictionary()
        self.released = False
        self.arrived = 0  # packets since the handshake

    def tell_reset_token(self, token: bytes) -> None:
        self._host_cids[0].stateless_reset_token = token

    def trust(self) -> None:
        """Give the peer windows, and allow it frames, as one that has been admitted."""
        self.guard.trust()
        if not self._is_client:  # a client's are wide from the beginning
            self._stream_window = STREAM_WINDOW_BYTES
            self._credit.widen(CONNECTION_WINDOW_BYTES)

    @override
    def _connect(self, now: float) -> None:
        """Begin, or begin again after a Retry: then early data is sent again, which aioquic would forget."""
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
            self.close(error_code=EXCESSIVE_CODE, reason_phrase=str(error))
            return False, False
        if not self._remote_initial_source_connection_id:
            plain = self.guard.without_empty_ids(plain) or plain
        self.arrived += context.epoch is Epoch.ONE_RTT
        result: tuple[bool, bool] = super()._payload_received(context, plain, crypto_frame_required)
        return result

    def was_read(self, stream_id: int, size: int) -> None:
        """Return credit for bytes of a stream that were read."""
        self._credit.read(size)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._read[stream] = self._read.get(stream, 0) + size

    def open_stream(self) -> int | None:
        stream_id: int = self.get_next_available_stream_id()
        if stream_id // 4 >= self._remote_max_streams_bidi:
            return None
        self._get_or_create_stream_for_send(stream_id)
        return stream_id

    def release(self) -> None:
        """Forget streams, packets and keys; only the end of the connection is known then."""
        self._set_state(QuicConnectionState.TERMINATED)
        self.released = True
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
        return self._close_event

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


FRAMES_FED: Final = 64  # DATAGRAM frames that the library may hold


class AioquicEngine(LibraryEngine[AioquicConnection]):
    """One connection by aioquic."""

    TOO_LATE = ValueError, RuntimeError
    stalled = False

    def __init__(self, connection: AioquicConnection) -> None:
        super().__init__(connection)
        self._given = 0  # bytes of streams that were to be sent

    @property
    def certificate(self) -> bytes:
        certificate = self._connection.tls._peer_certificate
        return b"" if certificate is None else certificate.public_bytes(Encoding.DER)

    @property
    def issuers(self) -> Sequence[bytes]:
        chain = self._connection.tls._peer_certificate_chain
        return [issuer.public_bytes(Encoding.DER) for issuer in chain or ()]

    @property
    def unanswered_probes(self) -> int:
        return self._connection._loss._pto_count

    @property
    def quiet(self) -> bool:
        return not (self._connection._loss.bytes_in_flight or self.unsent())

    @property
    def credit_blocked(self) -> bool:
        return not self._connection._loss.bytes_in_flight and self.unsent() > 0

    @property
    def round_trip(self) -> float:
        smoothed: float = self._connection._loss._rtt_smoothed
        return smoothed

    @property
    def received(self) -> tuple[int, int]:
        space = self._connection._spaces.get(Epoch.ONE_RTT)
        return self._connection.arrived, 0 if space is None else space.largest_received_packet + 1

    @property
    def largest_frame(self) -> int:
        allowed = self._connection._remote_max_datagram_frame_size or 0
        return max(0, min(allowed, PACKET_BYTES - DATAGRAM_OVERHEAD))

    @property
    def room_for_frames(self) -> bool:
        return len(self._connection._datagrams_pending) < FRAMES_FED

    def receive(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        for start in range(0, len(data), size):
            if self._connection.end is not None:
                return  # it would go on to act upon packets until the CONNECTION_CLOSE has left
            packet = data[start : start + size]
            self._guarded(functools.partial(self._connection.receive_datagram, packet, address, now))

    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        packets: list[tuple[bytes, SocketAddress]] = []
        self._guarded(lambda: packets.extend(self._connection.datagrams_to_send(now)))
        return packets

    def timer(self) -> float | None:
        return None if self._connection.released else self._connection.get_timer()

    def send(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        self._or_gone(lambda: self._connection.send_stream_data(stream_id, bytes(data), ended))
        self._given += len(data)

    def unsent(self, stream_id: int | None = None) -> int:
        if stream_id is None:
            return max(0, self._given - self._connection._remote_max_data_used)
        stream = self._connection._streams.get(stream_id)
        return 0 if stream is None else sum(part.stop - part.start for part in stream.sender._pending)

    def unacknowledged(self, stream_id: int) -> int:
        stream = self._connection._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def consumed(self, stream_id: int, size: int) -> None:
        self._connection.was_read(stream_id, size)

    def reset(self, stream_id: int, code: int) -> None:
        self._given -= self.unsent(stream_id)
        self._or_gone(lambda: self._connection.reset_stream(stream_id, code))

    def change_cid(self) -> None:
        self._connection.change_connection_id()

    def trust(self) -> None:
        self._connection.trust()

    def release(self) -> None:
        self._connection.release()
        self._given = self._connection._remote_max_data_used

    @override
    def _note(self, event: Event) -> None:
        if isinstance(event, StreamReset) or (isinstance(event, StreamBytes) and event.ended):
            self._connection.guard.delivered(event.stream_id, 0, ended=True)

    @override
    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it has asserts, and KeyErrors, of its own
            self._failed = Terminated(1, f"{type(error).__name__}: {error}")


class AioquicBackend(LibraryBackend[QuicConfiguration, AioquicConnection, AioquicEngine]):
    """aioquic."""

    name = "aioquic"
    retry_packet = staticmethod(encode_quic_retry)

    def __init__(self) -> None:
        super().__init__(QuicConfiguration, AioquicConnection, AioquicEngine)

    def is_genuine(self, packet: bytes, destination: bytes, number_at: int) -> bool:
        pair = CryptoPair()
        pair.setup_initial(destination, is_client=False, version=QuicProtocolVersion.VERSION_1)
        try:
            pair.decrypt_packet(packet, number_at, 0)
        except (CryptoError, ValueError, IndexError):
            return False
        return True

    @override
    def _size(self, configuration: QuicConfiguration) -> None:
        configuration.connection_id_length = CID_BYTES
        client = configuration.is_client
        configuration.max_data = CLIENT_CONNECTION_WINDOW_BYTES if client else STRANGERS_WINDOW
        configuration.max_stream_data = CLIENT_STREAM_WINDOW_BYTES if client else STRANGERS_WINDOW // 2
        configuration.max_datagram_frame_size = MAX_FRAME_BYTES
        configuration.max_datagram_size = PACKET_BYTES
        configuration.congestion_control_algorithm = "cubic"  # 5 to 20 % more than reno: benchmarks `links`
        configuration.supported_versions = [QuicProtocolVersion.VERSION_1]

    @override
    def _identify(self, configuration: QuicConfiguration, identity: ServerIdentity) -> None:
        try:
            certificates = x509.load_pem_x509_certificates(identity.certificates)
            configuration.certificate = certificates[0]
            configuration.certificate_chain = certificates[1:]
            configuration.private_key = load_pem_private_key(identity.key, None)
        except ValueError as error:
            raise ConfigurationError(f"aioquic cannot use the certificate or its key: {error}") from error
