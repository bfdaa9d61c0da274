"""qh3's connection with what is ours in it: more streams, and back-pressure.

It lets a connection have 100 streams of the peer's and no other number, so `_create_core` and the transport
parameters are overridden here. It gives the peer new credit for a stream at the moment its bytes are taken out of
the native core, in the order in which they came: so nothing is taken out while too much is unread, unless something
else has come than more of the same (docs/decisions/0027, 0042).
"""

from collections.abc import Callable
from typing import Final, TypeVar

from qh3._hazmat import Buffer, QuicConnectionCore
from qh3.quic import events
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.packet import (
    QuicErrorCode,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)
from qh3.quic.tls_bridge import QuicTlsBridge
from typing_extensions import override

from socks6.net.sockets import SocketAddress
from socks6.net.transports.quic.core import MAX_STREAMS, PACKET

EVENT_BYTES: Final = 60_000  # of packets that bring more of one stream: the core keeps it in pieces of 64 KiB
REPORT: Final = (
    6  # numbers that the core tells of a packet received: the second is bytes, the last is new events
)
NO_ROOM: Final = "packet builder capacity exhausted"


_T = TypeVar("_T")


class Qh3Bridge(QuicTlsBridge):
    """TLS with transport parameters of ours."""

    @override
    def serialize_transport_parameters(self) -> bytes:
        parameters = pull_quic_transport_parameters(Buffer(data=super().serialize_transport_parameters()))
        parameters.initial_max_streams_bidi = MAX_STREAMS
        parameters.initial_max_streams_uni = 0
        buffer = Buffer(capacity=4096)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data


class Qh3Connection(QuicConnection):
    """A connection with as many streams as we want, which takes nothing while it is `held`."""

    held = False
    has_news = False  # while it is held: that something waits which is not only more of the same
    _since_event = 0  # bytes of packets since the core's last new event, while it is held
    _full_size = 0  # bytes of the largest packet that has come meanwhile
    may_take: Callable[[], bool] = staticmethod(lambda: False)  # what came while it was held
    reset_token: bytes | None = None  # how a stateless reset looks that is ours; a server's

    def hold(self) -> None:
        """Take nothing, until `held` is reset, but news that `may_take` lets pass."""
        self.held = True
        self._begin_to_wait()

    @override
    def _call_core(self, operation: Callable[..., _T], *args: object) -> _T:
        result = super()._call_core(operation, *args)
        if self.held and isinstance(result, tuple) and len(result) == REPORT:
            self._note(result[1], result[-1])
        return result

    def _note(self, size: int, added: int) -> None:
        """Take note of a packet that has come while nothing is taken, and of how many events it has made.

        More of the same comes in packets of full size, and makes an event every 64 KiB.
        """
        self._full_size = max(self._full_size, size)
        self._since_event += size
        if added and (size < self._full_size // 2 or self._since_event < added * EVENT_BYTES):
            self.has_news = True
        if added:
            self._since_event = 0

    def _begin_to_wait(self) -> None:
        self.has_news = False
        self._since_event = EVENT_BYTES  # the next event is the first of more of the same

    @override
    def _drain_core(self) -> None:
        if self.held:
            if not (self.has_news and self.may_take()):
                return
            self._begin_to_wait()
        super()._drain_core()

    @override
    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return packets to send.

        While a client's address is not proven, the native core may find no room for what it wants to send and raise
        instead of waiting (seen with aioquic's small first flight): what it has made by then is good.
        """
        packets: list[tuple[bytes, SocketAddress]] = []
        core = self._core
        while core is not None:
            try:
                packet = core.poll_transmit(now)
            except RuntimeError as error:
                if NO_ROOM not in str(error):
                    raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, str(error)) from error
                break
            if packet is None:
                break
            packets.append((packet[0], packet[1]))
        return packets

    def drain(self) -> None:
        """Take what has come while the connection was held."""
        if self._core is not None:
            self._drain_core()

    def release(self) -> None:
        """Let go of the native core and of TLS, which refer back here: only the end of the connection is known then."""
        self._core = None
        if self._tls is not None:
            self._tls.__dict__.clear()  # its TLS and it refer to each other
            self._tls = None
        self._events.clear()

    @property
    def native(self) -> QuicConnectionCore | None:
        """The native part; None before the first packet."""
        return self._core

    @property
    def end(self) -> events.ConnectionTerminated | None:
        """How the connection ended, as soon as either side said so."""
        return self._close_event

    @property
    def peers_largest_frame(self) -> int:
        """How long a DATAGRAM frame the peer takes, itself included; 0 for none."""
        return self._remote_max_datagram_frame_size or 0

    def open_stream(self) -> int | None:
        """Return the id of a new stream; None if the peer allows no more."""
        if self._handshake_complete and self.open_outbound_streams >= self.max_concurrent_bidi_streams:
            return None
        try:
            return self._open_stream()
        except QuicConnectionError:
            return None

    @override
    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        self._tls = Qh3Bridge(
            self._configuration,
            version=self._version or 1,
            local_initial_source_connection_id=self.host_cid,
            remote_initial_source_connection_id=remote_source_cid,
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
            session_ticket_fetcher=self._session_ticket_fetcher,
            session_ticket_handler=self._session_ticket_handler,
            version_change_handler=self._set_version,
            stateless_reset_token=self.reset_token,
        )
        return self._tls

    @override
    def _create_core(self, remote_addr: SocketAddress, initial_dcid: bytes, now: float) -> None:
        configuration = self._configuration
        known = self._remembered_transport_parameters()
        self._core = QuicConnectionCore(
            is_client=self._is_client,
            version=self._version or 1,
            local_addr=("0.0.0.0", 0),  # noqa: S104 - one that means nothing
            remote_addr=remote_addr,
            source_cid=self.host_cid,
            destination_cid=initial_dcid,
            peer_address_validated=self._is_client or self._retry_source_connection_id is not None,
            active_connection_id_limit=configuration.active_connection_id_limit or 8,
            max_datagram_size=configuration.max_datagram_size,
            probe_datagram_size=configuration.probe_datagram_size,
            idle_timeout=configuration.idle_timeout,
            ack_delay_exponent=3,
            max_datagram_frame_size=configuration.max_datagram_frame_size,
            peer_max_datagram_frame_size=known.max_datagram_frame_size if known else None,
            connection_receive_window=configuration.max_data,
            connection_send_limit=(known.initial_max_data or 0) if known else 0,
            stream_receive_window=configuration.max_stream_data,
            stream_send_limit_bidi_local=(known.initial_max_stream_data_bidi_local or 0) if known else 0,
            stream_send_limit_bidi_remote=(known.initial_max_stream_data_bidi_remote or 0) if known else 0,
            stream_send_limit_uni=0,
            max_stream_reassembly=configuration.max_stream_data,
            local_max_streams_bidi=MAX_STREAMS,
            local_max_streams_uni=0,
            peer_max_streams_bidi=(known.initial_max_streams_bidi or 0) if known else 0,
            peer_max_streams_uni=0,
            initial_rtt=configuration.initial_rtt,
            max_ack_delay=0.025,
            initial_time=now,
        )
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = False


def opens_initial(packet: bytes, destination: bytes) -> bool:
    """Return whether a client's Initial packet has the keys of its destination id.

    The native core alone is asked, which is thrown away: TLS and all that belongs to it costs ten times as much.
    """
    core = QuicConnectionCore(
        is_client=False,
        version=1,
        local_addr=("0.0.0.0", 0),  # noqa: S104 - this and much below means nothing here
        remote_addr=("0.0.0.0", 0),  # noqa: S104
        source_cid=destination,
        destination_cid=destination,
        peer_address_validated=False,
        active_connection_id_limit=2,
        max_datagram_size=PACKET,
        probe_datagram_size=False,
        idle_timeout=None,
        ack_delay_exponent=3,
        max_datagram_frame_size=None,
        peer_max_datagram_frame_size=None,
        connection_receive_window=0,
        connection_send_limit=0,
        stream_receive_window=0,
        stream_send_limit_bidi_local=0,
        stream_send_limit_bidi_remote=0,
        stream_send_limit_uni=0,
        max_stream_reassembly=0,
        local_max_streams_bidi=0,
        local_max_streams_uni=0,
        peer_max_streams_bidi=0,
        peer_max_streams_uni=0,
        initial_rtt=0.1,
        max_ack_delay=0.025,
        initial_time=0.0,
    )
    try:
        core.receive_datagram(packet, ("0.0.0.0", 0), 0.0, PACKET)  # noqa: S104 - its datagram is long enough
    except (RuntimeError, ValueError):
        return False
    return core.received_authenticated_packet
