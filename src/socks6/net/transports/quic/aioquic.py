"""QUIC by aioquic, all of it Python: several times slower than qh3, but each stream has a flow control of its own."""

import functools
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from aioquic import tls
from aioquic._crypto import CryptoError
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, encode_quic_retry
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.net.sockets import SocketAddress
from socks6.net.transports.quic.aioquic_connection import STRANGERS_WINDOW, AioquicConnection
from socks6.net.transports.quic.core import (
    CID_SIZE,
    CONNECTION_WINDOW,
    DATAGRAM_OVERHEAD,
    MAX_FRAME,
    PACKET,
    STREAM_WINDOW,
    Backend,
    CidIssued,
    CidRetired,
    ClientParameters,
    Event,
    FrameArrived,
    HandshakeDone,
    PingAnswered,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    StreamBytes,
    StreamReset,
    StreamStopped,
    Terminated,
)

FRAMES_FED: Final = 64  # DATAGRAM frames that the library may hold


class AioquicEngine(QuicEngine):
    """One connection by aioquic."""

    stalled = False

    def __init__(self, connection: AioquicConnection) -> None:
        self._connection = connection
        connection.prepare()
        self._failed: Terminated | None = None
        self._told = False  # that the connection is over

    @property
    @override
    def cid(self) -> bytes:
        cid: bytes = self._connection.host_cid
        return cid

    @property
    @override
    def certificate(self) -> bytes:
        certificate = self._connection.tls._peer_certificate  # noqa: SLF001 - there is no other way
        return b"" if certificate is None else certificate.public_bytes(Encoding.DER)

    @property
    @override
    def issuers(self) -> Sequence[bytes]:
        chain = self._connection.tls._peer_certificate_chain  # noqa: SLF001 - there is no other way
        return [issuer.public_bytes(Encoding.DER) for issuer in chain or ()]

    @property
    @override
    def unanswered_probes(self) -> int:
        return self._connection.unanswered_probes

    @property
    @override
    def quiet(self) -> bool:
        return self._connection.quiet

    @property
    @override
    def credit_blocked(self) -> bool:
        return self._connection.credit_blocked

    @property
    @override
    def round_trip(self) -> float:
        return self._connection.round_trip

    @property
    @override
    def largest_frame(self) -> int:
        return max(0, min(self._connection.peers_largest_frame, PACKET - DATAGRAM_OVERHEAD))

    @property
    @override
    def room_for_frames(self) -> bool:
        return self._connection.frames_waiting < FRAMES_FED

    @override
    def connect(self, address: SocketAddress, now: float) -> None:
        self._connection.connect(address, now)

    @override
    def receive(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        for start in range(0, len(data), size):
            if self._connection.end is not None:
                return  # it would go on to act upon packets until it has said so
            packet = data[start : start + size]
            self._guarded(functools.partial(self._connection.receive_datagram, packet, address, now))

    @override
    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        packets: list[tuple[bytes, SocketAddress]] = []
        self._guarded(lambda: packets.extend(self._connection.datagrams_to_send(now)))
        return packets

    @override
    def timer(self) -> float | None:
        return None if self._connection.released else self._connection.get_timer()

    @override
    def handle_timer(self, now: float) -> None:
        self._guarded(lambda: self._connection.handle_timer(now))

    @override
    def next_event(self) -> Event | None:
        while (event := self._connection.next_event()) is not None:
            translated = self._translate(event)
            if translated is not None:
                return translated
        ending = self._connection.end
        if ending is not None and not self._told:  # the library itself tells of it when all is over
            return self._translate(ending)
        failed, self._failed = self._failed, None
        return failed

    @override
    def open_stream(self) -> int | None:
        return self._connection.open_stream()

    @override
    def send(self, stream_id: int, data: bytes | memoryview, *, ended: bool) -> None:
        self._or_gone(lambda: self._connection.give(stream_id, bytes(data), ended=ended))

    @override
    def unsent(self, stream_id: int | None = None) -> int:
        return self._connection.unsent(stream_id)

    @override
    def unacknowledged(self, stream_id: int) -> int:
        return self._connection.unacknowledged(stream_id)

    @override
    def consumed(self, stream_id: int, size: int) -> None:
        self._connection.was_read(stream_id, size)

    @override
    def reset(self, stream_id: int, code: int) -> None:
        self._or_gone(lambda: self._connection.take_back(stream_id, code))

    @override
    def stop(self, stream_id: int, code: int) -> None:
        self._or_gone(lambda: self._connection.stop_stream(stream_id, code))

    @override
    def send_frame(self, data: bytes) -> None:
        self._connection.send_datagram_frame(data)

    @override
    def ping(self, number: int = 0) -> None:
        self._connection.send_ping(number)

    @override
    def change_cid(self) -> None:
        self._connection.change_connection_id()

    @override
    def close(self, code: int, reason: str) -> None:
        self._connection.close(error_code=code, reason_phrase=reason)

    @override
    def trust(self) -> None:
        self._connection.trust()

    @override
    def suspect(self) -> None:
        self._connection.guard.suspect()

    @override
    def release(self) -> None:
        self._connection.release()

    def _translate(self, event: events.QuicEvent) -> Event | None:
        if isinstance(event, events.PingAcknowledged):
            return PingAnswered(event.uid)
        if isinstance(event, events.ConnectionTerminated):
            told, self._told = self._told, True
            return None if told else Terminated(event.error_code, event.reason_phrase)
        if isinstance(event, events.StreamReset) or (
            isinstance(event, events.StreamDataReceived) and event.end_stream
        ):
            self._connection.guard.delivered(event.stream_id, 0, ended=True)
        return _translate(event)

    def _guarded(self, call: Callable[[], None]) -> None:
        """Have a fault of the library end this connection alone."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it has asserts, and KeyErrors, of its own
            self._failed = Terminated(1, f"{type(error).__name__}: {error}")

    def _or_gone(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (ValueError, RuntimeError) as error:
            raise ConnectionError(f"the stream is over: {error}") from error


class AioquicBackend(Backend):
    """aioquic. Its server asks for no client certificates, whatever is said."""

    name = "aioquic"
    verifies_clients = False

    def __init__(self) -> None:
        logging.getLogger("quic").setLevel(logging.CRITICAL)  # it tells of every connection

    @override
    def client(self, terms: ClientParameters) -> AioquicEngine:
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[terms.alpn],
            server_name=terms.server_name,
            verify_mode=ssl.CERT_NONE,  # whoever calls does it, by OpenSSL
            idle_timeout=terms.idle_timeout,
            session_ticket=terms.ticket if isinstance(terms.ticket, tls.SessionTicket) else None,
        )
        _size(configuration)
        if terms.identity is not None:
            _identify(configuration, terms.identity)
        return AioquicEngine(
            AioquicConnection(configuration=configuration, session_ticket_handler=terms.on_ticket)
        )

    @override
    def server(self, terms: ServerParameters) -> AioquicEngine:
        configuration = QuicConfiguration(
            is_client=False, alpn_protocols=[terms.alpn], idle_timeout=terms.idle_timeout
        )
        _size(configuration)
        _identify(configuration, terms.identity)

        def fetch(name: bytes) -> tls.SessionTicket | None:
            ticket = terms.tickets.take(name)
            return ticket if isinstance(ticket, tls.SessionTicket) else None

        connection = AioquicConnection(
            configuration=configuration,
            original_destination_connection_id=terms.first_cid,
            retry_source_connection_id=terms.retry_cid,
            session_ticket_fetcher=fetch,
            session_ticket_handler=lambda ticket: terms.tickets.put(ticket.ticket, ticket),
        )
        connection.tell_reset_token(terms.reset_token)
        return AioquicEngine(connection)

    @override
    def check(self, identity: ServerIdentity) -> None:
        _identify(QuicConfiguration(is_client=False), identity)

    @override
    def is_genuine(self, packet: bytes, destination: bytes, number_at: int) -> bool:
        pair = CryptoPair()
        pair.setup_initial(destination, is_client=False, version=QuicProtocolVersion.VERSION_1)
        try:
            pair.decrypt_packet(packet, number_at, 0)
        except (CryptoError, ValueError, IndexError):
            return False
        return True

    @override
    def retry_packet(
        self, *, version: int, source_cid: bytes, destination_cid: bytes, first_cid: bytes, token: bytes
    ) -> bytes:
        return encode_quic_retry(version, source_cid, destination_cid, first_cid, token)


def _size(configuration: QuicConfiguration) -> None:
    configuration.connection_id_length = CID_SIZE
    client = configuration.is_client
    configuration.max_data = CONNECTION_WINDOW if client else STRANGERS_WINDOW
    configuration.max_stream_data = STREAM_WINDOW if client else STRANGERS_WINDOW // 2
    configuration.max_datagram_frame_size = MAX_FRAME
    configuration.max_datagram_size = PACKET
    configuration.supported_versions = [QuicProtocolVersion.VERSION_1]


def _identify(configuration: QuicConfiguration, identity: ServerIdentity) -> None:
    try:
        certificates = x509.load_pem_x509_certificates(identity.certificates)
        configuration.certificate = certificates[0]
        configuration.certificate_chain = certificates[1:]
        configuration.private_key = load_pem_private_key(identity.key, None)
    except ValueError as error:
        raise ConfigurationError(f"aioquic cannot use the certificate or its key: {error}") from error


def _translate(event: events.QuicEvent) -> Event | None:
    match event:
        case events.StreamDataReceived():
            return StreamBytes(event.stream_id, event.data, event.end_stream)
        case events.StreamReset():
            return StreamReset(event.stream_id, event.error_code)
        case events.StopSendingReceived():
            return StreamStopped(event.stream_id, event.error_code)
        case events.DatagramFrameReceived():
            return FrameArrived(event.data)
        case events.HandshakeCompleted():
            return HandshakeDone(event.alpn_protocol or "", event.early_data_accepted, event.session_resumed)
        case events.ConnectionIdIssued():
            return CidIssued(event.connection_id)
        case events.ConnectionIdRetired():
            return CidRetired(event.connection_id)
        case _:
            return None
