"""QUIC by qh3, whose packets are made and read by native code."""

from collections.abc import Callable, Sequence
from typing import Final

from qh3 import tls
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnectionError
from qh3.quic.events import StreamDataReceived
from qh3.quic.packet import QuicProtocolVersion, encode_quic_retry

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
    MAX_UNREAD_BYTES,
    MAX_UNREAD_FOR_OTHERS_BYTES,
    PACKET_BYTES,
    STREAM_WINDOW_BYTES,
    Event,
    ServerIdentity,
    StreamBytes,
    Terminated,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE, ExcessiveFrames
from socks6.net.transports.quic.qh3_connection import Qh3Connection, opens_initial

CULPRITS: Final = 4  # streams with so much unread that giving one up frees more than its events add
FRAMES_FED: Final = 65_536  # bytes of DATAGRAM frames that the library may hold
# what the library, or a peer's packets, may raise
FAULTS: Final = ExcessiveFrames, QuicConnectionError, tls.Alert, ValueError, AssertionError, RuntimeError
SIGNATURES: Final = (  # of servers' certificates: as OpenSSL has them, where left alone qh3 takes no Ed25519
    tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256,
    tls.SignatureAlgorithm.ED25519,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA256,
    tls.SignatureAlgorithm.ECDSA_SECP384R1_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA512,
)


class Qh3Engine(LibraryEngine[Qh3Connection]):
    """One connection by qh3."""

    TOO_LATE = QuicConnectionError, ValueError, AssertionError

    def __init__(self, connection: Qh3Connection) -> None:
        super().__init__(connection)
        connection.may_take = self._may_take
        self._unread = 0
        self._unread_of: dict[int, int] = {}  # by stream
        self._watched: set[int] = set()  # with much unread: a peer that gives one up stops us sending on it
        self._fed = 0
        self._released = False
        self._flights: dict[int, tuple[int, int]] = {}  # see `unacknowledged`

    @property
    def certificate(self) -> bytes:
        certificate = self._connection.get_peercert()
        return b"" if certificate is None else certificate.public_bytes()

    @property
    def issuers(self) -> Sequence[bytes]:
        return [issuer.public_bytes() for issuer in self._connection.get_issuercerts()]

    @property
    def stalled(self) -> bool:
        return self._connection.held and self._connection.has_news

    @property
    def unanswered_probes(self) -> int:
        core = self._connection.native
        return 0 if core is None else core.pto_count

    @property
    def quiet(self) -> bool:
        core = self._connection.native
        return core is None or not (core.bytes_in_flight or self.unsent())

    @property
    def credit_blocked(self) -> bool:
        core = self._connection.native
        return core is not None and not core.bytes_in_flight and self.unsent() > 0

    @property
    def round_trip(self) -> float:
        core = self._connection.native
        return (core.smoothed_rtt or 0.0) if core is not None else 0.0

    @property
    def received(self) -> tuple[int, int]:
        return self._connection.received

    @property
    def largest_frame(self) -> int:
        allowed = self._connection.peers_largest_frame
        core = self._connection.native
        size = self._connection.configuration.max_datagram_size if core is None else core.active_path[5]
        return max(0, min(allowed, size - DATAGRAM_OVERHEAD))

    @property
    def room_for_frames(self) -> bool:
        return self._fed < FRAMES_FED

    def receive(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        if self._released or self._connection.end is not None:
            return
        try:
            self._connection.take(data, size, address, now)
        except FAULTS as error:
            self._blame(error)

    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        try:
            packets = self._connection.datagrams_to_send(now)
        except QuicConnectionError as error:
            self._fail(error)
            return []
        if self._fed:
            self._fed = max(0, self._fed - sum(len(data) for data, _ in packets))
        return packets

    def timer(self) -> float | None:
        return self._connection.get_timer()

    @override
    def handle_timer(self, now: float) -> None:
        self._fed = 0  # whatever the estimate was
        super().handle_timer(now)

    def send(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        if ended:
            self._watched.discard(stream_id)
        try:  # two calls less than by `_or_gone`
            self._connection.send_stream_data(stream_id, data, ended)
        except self.TOO_LATE as error:
            raise ConnectionError(f"the stream is over: {error}") from error

    def unsent(self, stream_id: int | None = None) -> int:
        return self._connection.get_send_buffer_size(stream_id)

    def unacknowledged(self, stream_id: int) -> int:
        """See QuicEngine. The library reports no single stream: acknowledged are its bytes once the packets of its last one are.

        A loss meanwhile may be of these bytes, which then leave once more, so that counting starts anew.
        """
        core = self._connection.native
        flying = [] if core is None else core.outstanding_application_packets
        # packets of acknowledgements alone are no bytes in flight, and may stay unacknowledged for ever
        if (unsent := self.unsent(stream_id)) or core is None or not (flying and core.bytes_in_flight):
            _, losses = self._flights.pop(stream_id, (-1, -1))
            lost = core is not None and losses not in (-1, core.loss_total)  # what was lost is to leave again
            return unsent or int(lost)
        last, losses = self._flights.get(stream_id, (-1, -1))
        if losses != core.loss_total:
            self._flights[stream_id] = max(flying)[0], core.loss_total
            return 1
        return 1 if min(flying)[0] <= last else 0

    def consumed(self, stream_id: int, size: int) -> None:
        self._unread -= size
        left = self._unread_of.get(stream_id, 0) - size
        if left > 0:
            self._unread_of[stream_id] = left
        else:
            self._unread_of.pop(stream_id, None)
        if self._connection.held and self._unread <= MAX_UNREAD_BYTES // 2:
            self._connection.held = False
            self._watched.clear()
            self._guarded(self._connection.drain)

    def reset(self, stream_id: int, code: int) -> None:
        self._flights.pop(stream_id, None)
        self._or_gone(lambda: self._connection.reset_stream(stream_id, code))

    @override
    def send_frame(self, data: bytes) -> None:
        self._fed += len(data) + DATAGRAM_OVERHEAD
        try:  # one call less than by `_or_gone`
            self._connection.send_datagram_frame(data)
        except self.TOO_LATE as error:
            raise ConnectionError(f"the connection is over: {error}") from error

    def change_cid(self) -> None:
        self._connection.change_connection_id()

    def trust(self) -> None:
        self._connection.guard.trust()

    def release(self) -> None:
        self._released = True
        self._connection.release()

    @override
    def next_event(self) -> Event | None:
        event = self._connection.next_event()
        if type(event) is StreamDataReceived:  # most are: five calls less
            self._took(event.stream_id, len(event.data))
            return StreamBytes(event.stream_id, event.data, event.end_stream)
        return super()._next_event(event)

    @override
    def _note(self, event: Event) -> None:
        if isinstance(event, StreamBytes):
            self._took(event.stream_id, len(event.data))

    def _took(self, stream_id: int, size: int) -> None:
        self._unread += size
        self._unread_of[stream_id] = self._unread_of.get(stream_id, 0) + size
        if self._unread > MAX_UNREAD_BYTES and not self._connection.held:
            self._connection.hold()
            native = self._connection.native
            self._watched = {
                at for at, unread in self._unread_of.items()
                if unread >= self._unread // CULPRITS and native is not None and native.can_send_stream(at)
            }  # fmt: skip

    def _may_take(self) -> bool:
        """Return whether what waits behind unread bytes may be taken, and these with it.

        That is bounded, except after the peer has stopped a stream with much unread: it has given that stream up, and
        dropping it frees as much as may come along.
        """
        native = self._connection.native
        return self._unread < MAX_UNREAD_FOR_OTHERS_BYTES or (
            native is not None and any(not native.can_send_stream(stream_id) for stream_id in self._watched)
        )

    @override
    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except FAULTS as error:
            self._blame(error)

    def _blame(self, error: Exception) -> None:
        """End the connection for a fault."""
        if isinstance(error, ExcessiveFrames):
            self._connection.close(error_code=EXCESSIVE_CODE, reason_phrase=str(error))
        elif isinstance(error, QuicConnectionError):
            self._fail(error)
        else:
            self._failed = Terminated(1, str(error) or type(error).__name__)

    def _fail(self, error: QuicConnectionError) -> None:
        self._failed = Terminated(error.error_code, error.reason_phrase)


class Qh3Backend(LibraryBackend[QuicConfiguration, Qh3Connection, Qh3Engine]):
    """qh3."""

    name = "qh3"
    retry_packet = staticmethod(encode_quic_retry)

    def __init__(self) -> None:
        super().__init__(QuicConfiguration, Qh3Connection, Qh3Engine)

    def is_genuine(self, packet: bytes, destination: bytes, number_at: int) -> bool:  # noqa: ARG002 - aioquic needs it
        return opens_initial(packet, destination)

    @override
    def _size(self, configuration: QuicConfiguration) -> None:
        configuration.connection_id_length = CID_BYTES
        configuration.max_datagram_frame_size = MAX_FRAME_BYTES
        configuration.active_connection_id_limit = 8
        configuration.supported_versions = [QuicProtocolVersion.VERSION_1]
        if configuration.is_client:
            configuration.signature_algorithms = list(SIGNATURES)
            configuration.max_data = CLIENT_CONNECTION_WINDOW_BYTES
            configuration.max_stream_data = CLIENT_STREAM_WINDOW_BYTES
        else:
            configuration.max_data = CONNECTION_WINDOW_BYTES
            configuration.max_stream_data = STREAM_WINDOW_BYTES
            configuration.max_datagram_size = PACKET_BYTES

    @override
    def _identify(self, configuration: QuicConfiguration, identity: ServerIdentity) -> None:
        try:
            certificates = tls.load_pem_x509_certificates(identity.certificates)
            configuration.certificate = certificates[0]
            configuration.certificate_chain = certificates[1:]
            configuration.private_key = tls.load_pem_private_key(identity.key)
        except Exception as error:  # qh3 raises whatever its native code does
            raise ConfigurationError(f"qh3 cannot use the certificate or its key: {error}") from error
