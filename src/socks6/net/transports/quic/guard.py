"""What the frames of a peer may cost, counted before a library acts upon them.

QUIC lets a peer send much that costs it six bytes and a library a hundred, or a walk over all it has seen before: pieces
of a stream with gaps between them, new connection ids, streams reset or stopped over and over. Neither library bounds
these. `FrameGuard` reads the plain text of packets and keeps two accounts, which time and useful bytes fill again: of
frames, and of pieces that came out of order. A connection that overdraws one is closed (`ExcessiveFrames`). A peer that was not let
in yet has small accounts.

One packet in a few may be looked at instead of all. What stays in memory then counts for those that were not (`weight`);
frames do not, since honest ones come in bursts: a sampling caller looks at all packets for a while after a `dense` one.
"""

import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from socks6.dataclass import dataclass

EXCESSIVE_CODE: Final = 0x10  # of connections that are closed for it: an application's (RFC 9000 §20.1)
INITIAL: Final = 0  # the kinds of packets, as both libraries number them
HANDSHAKE: Final = 2
APPLICATION: Final = 3
CRYPTO_BYTES: Final[Mapping[int, int]] = {INITIAL: 1 << 15, HANDSHAKE: 1 << 17, APPLICATION: 1 << 18}
EACH_PACKET: Final = 4  # frames that each packet may bring without being charged for them
BYTES_WORTH: Final = 8  # useful bytes that pay for a frame
DENSE_COST: Final = 64  # frames in a packet, as they are charged: more is seldom honest
WHOLE_PIECE_BYTES: Final = 256  # from which on a piece out of order is not held against its sender
ACK_RANGES: Final = 64  # of one ACK frame that are not charged for
MAX_TRACKED_STREAMS: Final = 4_096  # whose order is known; the one that was silent longest is forgotten
MAX_WAITING_PIECES: Final = 32_768  # pieces of all streams that wait for others, whole ones too
MAX_PATH_FRAMES: Final = 8  # PATH_CHALLENGE and PATH_RESPONSE frames of a packet that are remembered


class ExcessiveFrames(Exception):
    """The peer's frames cost more than it may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a peer may do at once, and again as time goes by."""

    frames: int
    frames_a_second: int
    pieces: int  # of streams, out of order; one comes back each second, and one every 32 packets
    ids: int  # NEW_CONNECTION_ID frames, and RETIRE_CONNECTION_ID frames, of a connection's whole life


STRANGER: Final = Allowance(frames=1_024, frames_a_second=128, pieces=256, ids=32)
# a stranger from an offender's source: enough to be admitted
SUSPECT: Final = Allowance(frames=192, frames_a_second=64, pieces=64, ids=16)
TRUSTED: Final = Allowance(frames=16_384, frames_a_second=1_024, pieces=4_096, ids=1_024)

OFFENCES_OF_OFFENDER: Final = 3  # connections of a source closed for it: then its strangers may do less
OFFENDED_SECONDS: Final = 30.0  # and for how long, from the last one on
MAX_OFFENDERS: Final = 1_024  # sources that are remembered

ACKS: Final = frozenset((0x02, 0x03))
CRYPTO: Final = 0x06
NEW_TOKEN: Final = 0x07
STREAM: Final = range(0x08, 0x10)
NEW_CONNECTION_ID: Final = 0x18
PATH_CHALLENGE: Final = 0x1A
PATH_RESPONSE: Final = 0x1B
PATH_DATA_BYTES: Final = 8
RETIRE_CONNECTION_ID: Final = 0x19
DATAGRAMS: Final = frozenset((0x30, 0x31))
# Frames of whole numbers alone: what they cost, how many numbers they have, and bytes after those (RFC 9000 §19).
PLAIN: Final[Mapping[int, tuple[int, int, int]]] = {
    0x01: (1, 0, 0),  # PING
    0x04: (4, 3, 0),  # RESET_STREAM
    0x05: (4, 2, 0),  # STOP_SENDING
    0x10: (1, 1, 0),  # MAX_DATA
    0x11: (1, 2, 0),  # MAX_STREAM_DATA
    0x12: (1, 1, 0),  # MAX_STREAMS
    0x13: (1, 1, 0),
    0x14: (1, 1, 0),  # DATA_BLOCKED
    0x15: (1, 2, 0),  # STREAM_DATA_BLOCKED
    0x16: (1, 1, 0),  # STREAMS_BLOCKED
    0x17: (1, 1, 0),
    RETIRE_CONNECTION_ID: (16, 1, 0),
    PATH_CHALLENGE: (4, 0, PATH_DATA_BYTES),
    PATH_RESPONSE: (1, 0, PATH_DATA_BYTES),
    0x1E: (1, 0, 0),  # HANDSHAKE_DONE
}
NEW_ID_COST: Final = 16
NEW_STREAM_COST: Final = 8  # what a stream costs that begins


class _Order:
    """How far a stream has come without a gap."""

    __slots__ = ("delivered", "edge", "waiting")

    def __init__(self) -> None:
        self.edge = 0
        self.delivered = 0
        self.waiting: list[tuple[int, int]] = []  # a heap of the pieces beyond

    def reach(self, edge: int) -> int:
        """Advance to `edge`, all before which is there; return how many pieces need wait no more."""
        waiting = self.waiting
        before = len(waiting)
        while waiting and waiting[0][0] <= edge:
            edge = max(edge, heapq.heappop(waiting)[1])
        self.edge = edge
        return before - len(waiting)


class FrameGuard:
    """Judges one peer's packets."""

    def __init__(self, now: float) -> None:
        self._allowed = STRANGER
        self.trusted = False  # the peer has been admitted
        self._frames = float(STRANGER.frames)
        self._pieces = float(STRANGER.pieces)
        self._new_ids = 0
        self._retired_ids = 0
        self._at = now
        self._orders: OrderedDict[int, _Order] = OrderedDict()
        self._waiting = 0
        self._cost = 0.0  # of the packet that is being read
        self._datagrams = 0
        self._empty_ids: list[tuple[int, int]] = []
        self.path_frames: list[tuple[int, int]] = []  # of the last packet: kinds, and where their data are
        self._weight = 1
        self._before = (self._frames, self._pieces, 0, 0)

    @property
    def dense(self) -> bool:
        """Whether the last packet cost much."""
        return self._cost > DENSE_COST

    def trust(self) -> None:
        """Allow more from now on: the peer has been admitted. Idempotent."""
        self._allow(TRUSTED)
        self.trusted = True

    def suspect(self) -> None:
        """Allow less, until the peer has been admitted: others of its source have done too much. Idempotent."""
        if self._allowed is STRANGER:
            self._allow(SUSPECT)

    def _allow(self, allowed: Allowance) -> None:
        self._frames += allowed.frames - self._allowed.frames
        self._pieces += allowed.pieces - self._allowed.pieces
        self._allowed = allowed

    def without_empty_ids(self, payload: bytes) -> bytes | None:
        """Return the last packet's frames with a PING for each NEW_CONNECTION_ID frame whose id is empty.

        None if there are no such frames. aioquic's clients send them if they call themselves nothing, against RFC 9000
        §19.15, and a library ends their connections for it.
        """
        return _with_pings(payload, self._empty_ids) if self._empty_ids else None

    def without_challenges(self, payload: bytes) -> bytes | None:
        """Return the last packet's frames with a PING for each PATH_CHALLENGE frame; None if there are none."""
        found = [(at - 1, at + PATH_DATA_BYTES) for kind, at in self.path_frames if kind == PATH_CHALLENGE]
        return _with_pings(payload, found) if found else None

    def delivered(self, stream_id: int, size: int, *, ended: bool) -> None:
        """Account for what a library has handed out in order; needed where packets are sampled."""
        if ended:
            self._forget(stream_id)
            return
        order = self._order(stream_id)
        order.delivered += size
        if order.delivered > order.edge:
            if order.waiting:
                self._waiting -= order.reach(order.delivered)
            else:
                order.edge = order.delivered

    def take_back(self) -> None:
        """Charge nothing for the last packet: it had been there before."""
        self._frames, self._pieces, self._new_ids, self._retired_ids = self._before

    def packet(self, kind: int, payload: bytes, now: float, weight: int = 1) -> int:
        """Charge for a packet's frames; return how many bytes of DATAGRAM frames there are.

        Raise ExcessiveFrames if it was too much. A frame that cannot be read ends the counting: the library ends the
        connection for it.
        """
        self._weight = weight
        self._before = (self._frames, self._pieces, self._new_ids, self._retired_ids)
        self._datagrams = 0
        self._cost = 0.0
        self._empty_ids.clear()
        self.path_frames.clear()
        with contextlib.suppress(IndexError):  # cut short
            self._read(kind, payload)
        allowed = self._allowed
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        earned = passed * allowed.frames_a_second + EACH_PACKET - self._cost
        self._frames = min(float(allowed.frames), self._frames + earned)
        self._pieces = min(float(allowed.pieces), self._pieces + passed + weight / 32)
        if self._frames < 0:
            raise ExcessiveFrames("too many frames for what they bring")
        if self._pieces < 0:
            raise ExcessiveFrames("too many pieces out of order")
        return self._datagrams

    def _read(self, kind: int, payload: bytes) -> None:
        at, end = 0, len(payload)
        while at < end:
            frame = payload[at]
            at += 1
            if not frame:  # PADDING
                at = end - len(payload[at:].lstrip(b"\0"))
            elif frame in STREAM:
                at = self._stream(frame, payload, at)
            elif (plain := PLAIN.get(frame)) is not None:
                at = self._plain(frame, plain, payload, at)
            else:
                at = self._other(kind, frame, payload, at)

    def _plain(self, frame: int, plain: tuple[int, int, int], payload: bytes, at: int) -> int:
        cost, numbers, more = plain
        self._cost += cost
        first = -1
        for index in range(numbers):
            number, at = _number(payload, at)
            first = number if not index else first
        if frame == RETIRE_CONNECTION_ID:
            self._retired_ids = self._count_ids(self._retired_ids)
        elif frame == 0x04:  # RESET_STREAM
            self._forget(first)
        elif more and len(self.path_frames) < MAX_PATH_FRAMES and at + more <= len(payload):
            self.path_frames.append((frame, at))
        return at + more

    def _other(self, kind: int, frame: int, payload: bytes, at: int) -> int:
        if frame in ACKS:
            return self._ack(frame, payload, at)
        if frame == CRYPTO:
            return self._crypto(kind, payload, at)
        if frame in DATAGRAMS:
            size = len(payload) - at
            if frame & 1:
                size, at = _number(payload, at)
            self._datagrams += size
            self._cost += 1 - size / BYTES_WORTH if self.trusted else 1
            return at + size
        if frame == NEW_CONNECTION_ID:
            self._cost += NEW_ID_COST
            self._new_ids = self._count_ids(self._new_ids)
            start = at - 1
            _, at = _number(payload, at)
            _, at = _number(payload, at)
            size = payload[at]
            if not size:
                self._empty_ids.append((start, at + 17))
            return at + 1 + size + 16
        if frame == NEW_TOKEN:
            self._cost += 4
            size, at = _number(payload, at)
            return at + size
        return len(payload)  # the end of the connection, or what the library does not know

    def _ack(self, frame: int, payload: bytes, at: int) -> int:
        _, at = _number(payload, at)
        _, at = _number(payload, at)
        ranges, at = _number(payload, at)
        self._cost += 1 + max(0, ranges - ACK_RANGES) / 8
        for _ in range(1 + 2 * ranges + (3 if frame & 1 else 0)):
            _, at = _number(payload, at)
        return at

    def _crypto(self, kind: int, payload: bytes, at: int) -> int:
        start, at = _number(payload, at)
        size, at = _number(payload, at)
        if start + size > CRYPTO_BYTES.get(kind, 0):
            raise ExcessiveFrames("too long a handshake")
        self._cost += 1
        self._piece(-1 - kind, start, start + size, whole=False)
        return at + size

    def _stream(self, frame: int, payload: bytes, at: int) -> int:
        stream_id, at = _number(payload, at)
        start = 0
        if frame & 0x04:
            start, at = _number(payload, at)
        size = len(payload) - at
        if frame & 0x02:
            size, at = _number(payload, at)
        if stream_id not in self._orders:
            self._cost += NEW_STREAM_COST
        useful = self._piece(stream_id, start, start + size, whole=size >= WHOLE_PIECE_BYTES)
        self._cost += 1 - (size / BYTES_WORTH if useful else 0)
        return at + size

    def _piece(self, stream_id: int, start: int, end: int, *, whole: bool) -> bool:
        """Account for a piece of a stream; return whether it brings anything."""
        order = self._order(stream_id)
        if start <= order.edge:
            if end <= order.edge:
                return False
            self._waiting -= order.reach(end)
            return True
        if not whole:
            self._pieces -= (1 - (end - start) / WHOLE_PIECE_BYTES if stream_id >= 0 else 1) * self._weight
            if self._pieces < 0:
                raise ExcessiveFrames("too many pieces out of order")
        self._waiting += 1
        if self._waiting > MAX_WAITING_PIECES:
            raise ExcessiveFrames("too many pieces out of order")
        heapq.heappush(order.waiting, (start, end))
        return True

    def _order(self, stream_id: int) -> _Order:
        order = self._orders.get(stream_id)
        if order is not None:
            self._orders.move_to_end(stream_id)
            return order
        order = self._orders[stream_id] = _Order()
        if len(self._orders) > MAX_TRACKED_STREAMS:
            self._forget(next(iter(self._orders)))
        return order

    def _forget(self, stream_id: int) -> None:
        order = self._orders.pop(stream_id, None)
        if order is not None:
            self._waiting -= len(order.waiting)

    def _count_ids(self, before: int) -> int:
        now = before + self._weight
        if now > self._allowed.ids:
            raise ExcessiveFrames("too many connection ids")
        return now


class Offenders:
    """Remembers the sources whose connections were repeatedly closed for their frames."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def note(self, source: str, now: float) -> None:
        """Count such a connection. Its source must have proven its address, or others could be accused."""
        count, _ = self._recent(source, now)
        self._sources[source] = (count + 1, now)
        self._sources.move_to_end(source)
        if len(self._sources) > MAX_OFFENDERS:
            self._sources.popitem(last=False)

    def has(self, source: str, now: float) -> bool:
        """Return whether a source is one of them."""
        return bool(self._sources) and self._recent(source, now)[0] >= OFFENCES_OF_OFFENDER

    def _recent(self, source: str, now: float) -> tuple[int, float]:
        count, last = self._sources.get(source, (0, now))
        return (count, last) if now - last < OFFENDED_SECONDS else (0, now)


def _with_pings(payload: bytes, places: list[tuple[int, int]]) -> bytes:
    """Return frames with a PING, and PADDING, at these places."""
    frames = bytearray(payload)
    for start, end in places:
        frames[start:end] = (b"\x01" + bytes(end - start - 1))[: len(frames) - start]
    return bytes(frames)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer (RFC 9000 §16), and where it ends. Raises IndexError."""
    first = data[at]
    if first < 0x40:
        return first, at + 1
    size = 1 << (first >> 6)
    end = at + size
    if end > len(data):
        raise IndexError
    return int.from_bytes(data[at:end]) & ((1 << (8 * size - 2)) - 1), end
