"""qh3's connection with what is ours in it: more streams, back-pressure, a guard, peers with an empty connection id.

It lets a connection have 100 streams of the peer's and no other number, so `_create_core` and the transport
parameters are overridden here. It gives the peer new credit for a stream at the moment its bytes are taken out of
the native core, in the order in which they came: so nothing is taken out while too much is unread, unless something
else has come than more of the same (docs/decisions/0027, 0042).

The native core exposes no frames, and keeps any number of what they bring. So packets are opened here before it
gets them, and their frames are counted (`guard`): every packet of a peer that is not admitted, and while nothing is
taken out; later one in `SAMPLE_EVERY` (docs/decisions/0038).

The core of a server is told of one address of its client: `qh3_paths` says where packets go, and what is sent there to have an
address proven (docs/decisions/0094).

It sends to the id that a client first made up if the client calls itself nothing, which is what RFC 9000 §5.1 lets it
do. Its core is then made with an empty id, and gets the keys of Initial packets, and these packets under its own id.
"""

import contextlib
import random
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeVar

from qh3 import tls
from qh3._hazmat import Buffer, QuicConnectionCore, pull_quic_header
from qh3.quic import events
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.crypto import CIPHER_SUITES, derive_key_iv_hp
from qh3.quic.packet import (
    QuicErrorCode,
    QuicPacketType,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsTrafficSecret

from socks6.compat import override
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.engine import MAX_STREAMS, PACKET_BYTES
from socks6.net.transports.quic.guard import PATH_DATA_BYTES, ExcessiveFrames, FrameGuard
from socks6.net.transports.quic.packets import LONG
from socks6.net.transports.quic.qh3_opener import NUMBER_SIZE, TAG_SIZE, PacketOpener, initial_secret
from socks6.net.transports.quic.qh3_paths import ClientPaths, PathValidation

EVENT_BYTES: Final = 60_000  # of packets that bring more of one stream: the core keeps it in pieces of 64 KiB
REPORT: Final = 6  # numbers in the core's report of a packet: the second is bytes, the last is new events
NOT_YET: Final = ("packet builder capacity exhausted", "missing OneRtt packet key")  # of what may leave later
SAMPLE_EVERY: Final = 16  # packets of a peer that was admitted, of which one is looked at
MIN_WATCH_PACKETS: Final = 64  # all looked at after one with many frames; each time as many again
MAX_WATCH_PACKETS: Final = 65_536
MAX_UNREADABLE_PACKETS: Final = 3  # of these in a row that the native core can open and we cannot
ACK_SECONDS: Final = 0.004  # that it takes more than the library's one, for something that it can leave with
MAX_HELD_FRAME_BYTES: Final = 1 << 20  # of DATAGRAM frames, while nothing is taken out: more are lost
APPLICATION_SPACE: Final = 2  # of packet numbers, as the core calls it
SMALLEST_FIRST: Final = 1200  # bytes of the first datagram of a client (RFC 9000 §14.1)
EMPTY_ID: Final = "the peer's connection id is empty, which qh3 cannot serve as a client: backend=aioquic can"
EPOCHS: Final = {
    QuicPacketType.INITIAL: tls.Epoch.INITIAL,
    QuicPacketType.ZERO_RTT: tls.Epoch.ZERO_RTT,
    QuicPacketType.HANDSHAKE: tls.Epoch.HANDSHAKE,
}


_T = TypeVar("_T")


class Qh3Bridge(QuicTlsBridge):
    """TLS with transport parameters of ours, whose secrets the opener gets too."""

    opener: PacketOpener | None = None
    sending: QuicTlsTrafficSecret | None = None  # of packets with short headers

    @override
    def next_traffic_secret(self) -> QuicTlsTrafficSecret | None:
        secret = super().next_traffic_secret()
        if secret is not None and self.opener is not None and secret.direction == tls.Direction.DECRYPT:
            self.opener.install(secret.epoch, secret.cipher_suite, secret.secret)
        elif secret is not None and secret.epoch == tls.Epoch.ONE_RTT:
            self.sending = secret
        return secret

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

    native: QuicConnectionCore | None = None  # the native part, from the first packet to the end
    held = False
    has_news = False  # while it is held: that something waits which is not only more of the same
    _since_event = 0  # bytes of packets since the core's last new event, while it is held
    _full_size = 0  # bytes of the largest packet that has come meanwhile
    may_take: Callable[[], bool] = staticmethod(lambda: False)  # what came while it was held
    _reset_token: bytes | None = None
    guard: FrameGuard
    _opener: PacketOpener
    _peers_cid: bytes | None = None  # a client's, before anything else is known of it
    _core_address: SocketAddress  # the peer's, as the core knows it
    _paths: ClientPaths | None = None  # of a server's client
    _sealer: PacketOpener | None = None  # of packets of a server's own to addresses that are to be proven
    _sent = 0  # packets that the core has made since the sealer saw one
    _skip = 0  # packets that come before the next one that is looked at
    _watched = 0  # packets that are all looked at, from here
    _watch = MIN_WATCH_PACKETS
    _unreadable = 0
    _held_frames = 0

    def prepare(self) -> None:
        self.guard = FrameGuard(0.0)
        self._opener = PacketOpener(len(self.host_cid))

    def tell_reset_token(self, token: bytes) -> None:
        self._reset_token = token

    def take(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        """Take a datagram, or several of `size` bytes each. Raises ExcessiveFrames, QuicConnectionError."""
        watched = self.held or self._watched or (self._paths is not None and address != self._paths.current)
        if self._handshake_complete and self.guard.trusted and not watched:
            self._take_sampled(data, size, address, now)
            return
        self._watched = max(0, self._watched - -(-len(data) // size))
        for start in range(0, len(data), size):
            self.receive_datagram(data[start : start + size], address, now)

    @override
    def receive_datagram(self, data: bytes, addr: SocketAddress, now: float) -> None:
        """Look at every packet of a datagram, and hand it on."""
        if self._core is None:
            if self._is_client or not self._begin(data, addr, now):
                return
        elif self._receive_version_negotiation(data, addr, now) or self._receive_retry(data, addr, now):
            return
        if self._handshake_confirmed:  # before, the peer may send all of its handshake again
            self._opener.discard(tls.Epoch.INITIAL)
            self._opener.discard(tls.Epoch.HANDSHAKE)
        start = 0
        while start < len(data) and self._close_event is None:
            start = self._take_packet(data, start, addr, now)

    def _begin(self, data: bytes, address: SocketAddress, now: float) -> bool:
        """Begin with a client's first packet; return whether it is one."""
        try:
            header = pull_quic_header(data, 0, self._configuration.connection_id_length)
        except ValueError:
            return False
        known = header[0] in self._configuration.supported_versions
        if len(data) < SMALLEST_FIRST or header[1] != QuicPacketType.INITIAL or not known:
            return False
        self._remote_addr = address
        self._paths = ClientPaths(address)
        self._version = header[0]
        self._peers_cid = header[4]
        self._create_core(address, header[3], now)
        self._create_tls(remote_source_cid=header[4])
        return True

    def _take_packet(self, data: bytes, start: int, address: SocketAddress, now: float) -> int:
        """Look at the packet that begins at `start`, and hand it on; return where the next one begins."""
        end = len(data)
        packet = data[start:]
        kind = tls.Epoch.ONE_RTT
        numbered = self._opener.numbered
        if not data[start] & LONG:
            payload = self._opener.open_short(packet)
        else:
            try:
                header = pull_quic_header(data, start, self._configuration.connection_id_length)
            except ValueError:
                return end  # the core would drop it
            end = header[9] if header[9] > start else end
            packet = data[start:end]
            kind, payload, packet = self._open_long(header[1], header[3], packet, header[8])
        if payload is not None:
            if self._is_lost(self.guard.packet(kind, payload, now)):
                return end
            packet = self._amended(kind, packet, payload, address)
        core = self._require_core()
        report = self._call_core(core.receive_datagram, packet, self._core_address, now, len(data))
        if report[2]:
            if payload is None:
                raise ExcessiveFrames("a packet that cannot be looked at")
            self._learn_remote_source_cid(packet)
            self._learn_address(address, data, payload, newest=self._opener.numbered > numbered)
        elif report[3] and payload is not None:
            self.guard.take_back()
        self._drain_core()
        return end

    def _open_long(
        self, packet_type: int, destination: bytes, packet: bytes, at: int
    ) -> tuple[tls.Epoch, bytes | None, bytes]:
        """Return what kind of packet it is, its frames, and the packet as the core is to have it."""
        kind = EPOCHS.get(QuicPacketType(packet_type))
        if kind is None:
            return tls.Epoch.INITIAL, None, packet
        payload = self._opener.open_long(kind, packet, at)
        if payload is not None and self._peers_cid == b"" and destination != self.host_cid:
            packet = self._opener.reseal(kind, packet, at, self.host_cid)
        return kind, payload, packet

    def _amended(self, kind: tls.Epoch, packet: bytes, payload: bytes, address: SocketAddress) -> bytes:
        """Return the packet without what the core is not to see.

        That is what a client with an empty connection id must not send, and challenges from addresses that the core does
        not know: it would send its answer to another.
        """
        if kind != tls.Epoch.ONE_RTT:
            return packet
        frames = self.guard.without_empty_ids(payload) if self._peers_cid == b"" else None
        if self.guard.path_frames and self._is_elsewhere(address):
            frames = self.guard.without_challenges(frames or payload) or frames
        return packet if frames is None else self._opener.reclose(packet, frames)

    def _is_elsewhere(self, address: SocketAddress) -> bool:
        """Return whether a server's client is not known to be at this address."""
        return self._paths is not None and address != self._paths.current

    def _learn_address(self, address: SocketAddress, data: bytes, payload: bytes, *, newest: bool) -> None:
        """Act upon an authentic packet that came, in the datagram `data`, from another address than the client's."""
        if (paths := self._paths) is None or address == paths.current or data[0] & LONG:
            return
        frames = [(kind, payload[at : at + PATH_DATA_BYTES]) for kind, at in self.guard.path_frames]
        if paths.arrived(address, len(data), frames, newest=newest):
            self.change_connection_id()  # RFC 9000 §9.5
        with contextlib.suppress(QuicConnectionError):  # this packet has ended the connection
            self.send_ping(0)  # what `_proof` follows; its answer shows what an old address has not got

    def _directed(
        self, paths: ClientPaths, packets: list[tuple[bytes, SocketAddress]], now: float
    ) -> list[tuple[bytes, SocketAddress]]:
        """Return a server's packets for where its client is, behind one for an address that is not proven."""
        proof = None if paths.candidate is None else self._proof(paths.candidate, packets, now)
        return [*(() if proof is None else (proof,)), *((data, paths.current) for data, _ in packets)]

    def _proof(
        self, candidate: PathValidation, packets: list[tuple[bytes, SocketAddress]], now: float
    ) -> tuple[bytes, SocketAddress] | None:
        """Return what is to be sent to an address that is not proven; None for nothing.

        It follows the last of the packets that the core has made, which is told that its number was sent.
        """
        bridge, core = self._tls, self._core
        if core is None or not isinstance(bridge, Qh3Bridge) or bridge.sending is None:
            return None
        if not packets or packets[-1][0][0] & LONG or not candidate.is_due(now):
            return None
        if self._sealer is None:
            self._sealer = PacketOpener(len(self._peers_cid or b""))
            self._sealer.install(tls.Epoch.ONE_RTT, bridge.sending.cipher_suite, bridge.sending.secret)
        self._sealer.passed += self._sent
        self._sent = 0
        frames = candidate.frames(now, 1 + len(self._peers_cid or b"") + NUMBER_SIZE + TAG_SIZE)
        if frames is None or (sealed := self._sealer.seal_after(packets[-1][0], frames)) is None:
            return None
        self._call_core(core.restore_send_packet_number, APPLICATION_SPACE, sealed[1] + 1)
        return sealed[0], candidate.address

    def _is_lost(self, frames: int) -> bool:
        """Return whether a packet with so many bytes of DATAGRAM frames is not taken, since others wait already."""
        if not self.held or not frames:
            return False
        if self._held_frames + frames > MAX_HELD_FRAME_BYTES:
            self.guard.take_back()
            return True
        self._held_frames += frames
        return False

    def _take_sampled(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        count = -(-len(data) // size)
        done = 0
        while done + self._skip < count and not self._watched:
            at = done + self._skip
            self._pass_on(data[done * size : at * size], size, now)
            self._sample(data[at * size : (at + 1) * size], now)
            done = at + 1
            self._skip = random.randrange(2 * SAMPLE_EVERY - 1)  # noqa: S311 - a guess gains one packet
        if self._watched:
            self._drain_core()
            if done < count:
                self.take(data[done * size :], size, address, now)
            return
        self._skip -= count - done
        self._pass_on(data[done * size :], size, now)
        if done:
            self._drain_core()

    def _pass_on(self, data: bytes, size: int, now: float) -> None:
        if data:
            core = self._require_core()
            self._opener.passed += -(-len(data) // size)
            try:
                core.receive_gro_buffer(data, size, self._core_address, now)
            except RuntimeError as error:
                raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, str(error)) from error
            if core.has_events:
                self._drain_core()

    def _sample(self, packet: bytes, now: float) -> None:
        """Look at a packet, and hand it on: what it brings is drained with what follows."""
        core = self._require_core()
        payload = None
        if not packet[0] & LONG:
            payload = self._opener.open_short(packet)
            if payload is not None:
                self.guard.packet(tls.Epoch.ONE_RTT, payload, now, weight=SAMPLE_EVERY)
                if self.guard.dense:
                    self._watched = self._watch
                    self._watch = min(2 * self._watch, MAX_WATCH_PACKETS)
        report = self._call_core(core.receive_datagram, packet, self._core_address, now, len(packet))
        if payload is not None:
            self._unreadable = 0
            if report[3]:
                self.guard.take_back()
        elif report[2]:
            self._unreadable += 1
            if self._unreadable >= MAX_UNREADABLE_PACKETS:
                raise ExcessiveFrames("packets that cannot be looked at")

    @override
    def _learn_remote_source_cid(self, data: bytes) -> None:
        super()._learn_remote_source_cid(data)
        if self._is_client and not self._handshake_complete and data[0] & LONG:
            header = pull_quic_header(data, 0, self._configuration.connection_id_length)
            if not header[4]:
                raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, EMPTY_ID)

    def hold(self) -> None:
        """Take nothing until `held` is reset, except what `may_take` permits."""
        self.held = True
        self._begin_to_wait()

    @override
    def _call_core(self, operation: Callable[..., _T], *args: object) -> _T:
        result = super()._call_core(operation, *args)
        if self.held and isinstance(result, tuple) and len(result) == REPORT:
            self._note(result[1], result[-1])
        return result

    def _note(self, size: int, added: int) -> None:
        """Account for a packet that came while nothing is taken, and for the events that it made.

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
        self._held_frames = 0
        before = len(self._events)
        super()._drain_core()
        for event in islice(self._events, before, None):
            if isinstance(event, events.StreamDataReceived):
                self.guard.delivered(event.stream_id, len(event.data), ended=event.end_stream)
            elif isinstance(event, events.StreamReset):
                self.guard.delivered(event.stream_id, 0, ended=True)

    @override
    def change_connection_id(self) -> None:
        """Use another of the peer's ids, if there is one."""
        with contextlib.suppress(QuicConnectionError, ValueError):
            super().change_connection_id()

    @override
    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return packets to send, and where to.

        The native core may raise instead of waiting: while a client's address is not proven, it may find no room for what
        it wants to send (seen with aioquic's small first flight), and a client sends its early data again where packets
        of its handshake were lost, for which it has no key yet. What it has made by then is good.

        Where packets are lost that it sends anew, and their stream ends meanwhile, it raises ValueError, and has forgotten
        a packet with bytes of others: the connection is closed, rather than that one of its streams hangs.
        """
        packets: list[tuple[bytes, SocketAddress]] = []
        core = self._core
        while core is not None:
            try:
                packet = core.poll_transmit(now)
            except RuntimeError as error:
                if not any(text in str(error) for text in NOT_YET):
                    raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, str(error)) from error
                break
            except ValueError as error:
                if self._close_event is not None:
                    break
                self.close(error_code=QuicErrorCode.INTERNAL_ERROR, reason_phrase=str(error))
                continue
            if packet is None:
                break
            packets.append((packet[0], packet[1]))
        self._sent += len(packets)
        if (paths := self._paths) is not None and (paths.candidate or paths.current != self._core_address):
            return self._directed(paths, packets, now)
        return packets

    def drain(self) -> None:
        """Take what has come while the connection was held."""
        if self._core is not None:
            self._drain_core()

    def release(self) -> None:
        """Let go of the native core and of TLS, which refer back here: only the end of the connection is known then."""
        self._core = self.native = None
        if self._tls is not None:
            self._tls.__dict__.clear()  # its TLS and it refer to each other
            self._tls = None
        self._events.clear()

    @property
    def end(self) -> events.ConnectionTerminated | None:
        return self._close_event

    @property
    def received(self) -> tuple[int, int]:
        """See `QuicEngine.received`."""
        return self._opener.arrived, self._opener.numbered

    @property
    def peers_largest_frame(self) -> int:
        """How long a DATAGRAM frame the peer takes, itself included; 0 for none."""
        return self._remote_max_datagram_frame_size or 0

    @override
    def get_timer(self) -> float | None:
        timer = None if self._core is None else self._core.get_timer()
        if timer is None:
            return None
        kind, due = timer
        return due + ACK_SECONDS if kind == "ack_application" else due

    @override
    def get_send_buffer_size(self, stream_id: int | None = None) -> int:
        if self._core is None or self._close_event is not None or not self._pre_handshake_state_replayed:
            return super().get_send_buffer_size(stream_id)
        return self._core.get_send_buffer_size(stream_id)

    @override
    def send_stream_data(
        self,
        stream_id: int,
        data: bytes | memoryview,  # type: ignore[override]  # and no other buffers
        end_stream: bool = False,
    ) -> None:
        if self._core is None or not self._handshake_complete:
            super().send_stream_data(stream_id, data, end_stream)
            return
        try:
            self._core.send_stream(stream_id, data, end_stream)
        except RuntimeError as error:
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, str(error)) from error

    def open_stream(self) -> int | None:
        if self._handshake_complete and self.open_outbound_streams >= self.max_concurrent_bidi_streams:
            return None
        try:
            self._open_early_ones()
            return self._open_stream()
        except QuicConnectionError:
            return None

    def _open_early_ones(self) -> None:
        """Open streams in the core that were opened with early data, but have sent none: it counts by itself."""
        if self._handshake_complete and self._core is not None:
            for _ in range(self._next_stream_id_bidi // 4 - self._core.stream_limits[2]):
                self._call_core(self._core.open_stream, False)

    @override
    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        bridge = Qh3Bridge(
            self._configuration,
            version=self._version or 1,
            local_initial_source_connection_id=self.host_cid,
            remote_initial_source_connection_id=remote_source_cid,
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
            session_ticket_fetcher=self._session_ticket_fetcher,
            session_ticket_handler=self._session_ticket_handler,
            version_change_handler=self._set_version,
            stateless_reset_token=self._reset_token,
        )
        bridge.opener = self._opener
        self._tls = bridge
        return bridge

    @override
    def _create_core(self, remote_addr: SocketAddress, initial_dcid: bytes, now: float) -> None:
        configuration = self._configuration
        known = self._remembered_transport_parameters()
        nameless = not self._is_client and self._peers_cid == b""
        self._core_address = remote_addr
        self._core = self.native = QuicConnectionCore(
            is_client=self._is_client,
            version=self._version or 1,
            local_addr=("0.0.0.0", 0),  # noqa: S104 - one that means nothing
            remote_addr=remote_addr,
            source_cid=self.host_cid,
            destination_cid=b"" if nameless else initial_dcid,
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
        self._opener.install_initial(initial_dcid, is_client=self._is_client)
        if nameless:
            self._install_initial("receive", initial_dcid, from_client=True)
            self._install_initial("send", initial_dcid, from_client=False)
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = False

    def _install_initial(self, direction: str, destination: bytes, *, from_client: bool) -> None:
        """Give the core keys of Initial packets that it could not make, since it knows another id."""
        suite = tls.CipherSuite.AES_128_GCM_SHA256
        secret = initial_secret(destination, from_client=from_client)
        key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=1)
        protection, aead = CIPHER_SUITES[suite]
        names = (aead.decode(), protection.decode())
        self._require_core().install_packet_key(direction, tls.Epoch.INITIAL, names, key, iv, hp, 0)


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
        max_datagram_size=PACKET_BYTES,
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
        core.receive_datagram(packet, ("0.0.0.0", 0), 0.0, PACKET_BYTES)  # noqa: S104 - its datagram is long enough
    except (RuntimeError, ValueError):
        return False
    return core.received_authenticated_packet
