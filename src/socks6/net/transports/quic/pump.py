"""When a QUIC connection's packets leave, and DATAGRAM frames that wait for that; its timer."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from socks6.net.sockets import SocketAddress
from socks6.net.stream import Endpoint
from socks6.net.transports.quic.engine import QuicEngine


class Condition:
    """Lets any number of tasks wait until the next `wake`."""

    def __init__(self) -> None:
        self._waiters = 0
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        """Return whether there are waiters."""
        return self._waiters > 0

    async def wait(self) -> None:
        """Wait until the next `wake`."""
        self._waiters += 1
        try:
            await self._event.wait()
        finally:
            self._waiters -= 1

    def wake(self) -> None:
        """Wake all waiters, which check their condition again."""
        self._event.set()
        self._event.clear()


MAX_QUEUED_BYTES: Final = 1 << 18  # that wait at the most
HALF_QUEUED_BYTES: Final = MAX_QUEUED_BYTES // 2  # from here on, senders that can wait do


class FrameQueue:
    """Keeps frames until congestion control lets them go: a library itself would keep any number."""

    def __init__(self, engine: QuicEngine) -> None:
        self._engine = engine
        self._frames: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0

    def put(self, data: bytes) -> bool:
        """Queue a frame; return False if it is too long ever to be sent."""
        if len(data) > self._engine.largest_frame:
            self.dropped += 1
            return False
        self._frames.append(data)
        self.size += len(data)
        while self.size > MAX_QUEUED_BYTES:
            self.size -= len(self._frames.popleft())
            self.dropped += 1
        return True

    def feed(self) -> None:
        """Give the library as many as will leave soon."""
        while self._frames and self._engine.room_for_frames:
            data = self._frames.popleft()
            self.size -= len(data)
            try:
                if len(data) <= self._engine.largest_frame:  # the path may have become narrower meanwhile
                    self._engine.send_frame(data)
                    continue
            except ConnectionError:
                pass  # just now it was over
            self.dropped += 1

    def clear(self) -> None:
        """Forget them all."""
        self._frames.clear()
        self.size = 0


class PeerStreamIds:
    """Recognises new streams of the peer by their ids: each begins once, but packets overtake each other."""

    def __init__(self, first: int) -> None:
        self._kind = first & 3
        self._next = first
        self._skipped: set[int] = set()  # no more than the streams that the peer may have

    def begins(self, stream_id: int) -> bool:
        """Return whether a stream of the peer's begins here."""
        if stream_id & 3 != self._kind:
            return False
        if stream_id >= self._next:
            self._skipped.update(range(self._next, stream_id, 4))
            self._next = stream_id + 4
            return True
        if stream_id in self._skipped:
            self._skipped.remove(stream_id)
            return True
        return False


KEEP_ALIVE_SECONDS: Final = (
    10.0  # seconds of our silence while there are streams, well below the idle time-out
)
UNHEARD_SECONDS: Final = 5.0  # seconds of the peer's silence while there are streams: then it is asked


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


class PumpDelegate(Protocol):
    """Whose packets they are."""

    @property
    def kept_alive(self) -> bool:
        """Whether the peer is to hear from us now and then."""

    @property
    def wanted_at(self) -> float | None:
        """When to look at it again, packets or not."""

    def before_packets(self) -> None:
        """Give the core what is to go with the next packets."""

    def after_packets(self, now: float, *, sent: bool) -> None:
        """Act upon the engine's events."""


class Pump:
    """Much that is written in one turn of the loop leaves together."""

    def __init__(
        self,
        engine: QuicEngine,
        packet_transport: PacketTransport,
        remote: SocketAddress,
        delegate: PumpDelegate,
    ) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._packet_transport = packet_transport
        self._delegate = delegate
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it fires
        self._flush_due = False
        self._sent_at = self.last_received_at = self._asked_at = self._loop.time()
        self._stopped = False
        self.remote = remote

    def flush_soon(self) -> None:
        """Send what there is at the loop's next iteration."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def heard(self) -> None:
        """Note that something came from the peer."""
        self.last_received_at = self._loop.time()

    def flush(self) -> None:
        """Send what there is."""
        now = self._loop.time()
        self._delegate.before_packets()
        packets = self._engine.to_send(now)
        if packets:
            self._sent_at = now
            self._send(packets)
        self._delegate.after_packets(now, sent=bool(packets))
        self._set_timer(now)

    def stop(self) -> None:
        """Stop the timer: the connection is over, and the next `flush_soon` is the last."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush()
        if self._stopped:
            self._engine.release()

    def _send(self, packets: list[tuple[bytes, SocketAddress]]) -> None:
        run: list[bytes] = []
        address = packets[0][1]
        for data, remote in packets:
            if remote != address:
                self._packet_transport.send(run, address)
                run, address = [], remote
            run.append(data)
        self._packet_transport.send(run, address)
        self.remote = address

    def _set_timer(self, now: float) -> None:
        if self._stopped:
            return
        times = (self._engine.timer(), self._ask_at(), self._delegate.wanted_at)
        due = min((time for time in times if time is not None), default=None)
        if due is None or (self._timer is not None and self._due <= due):
            return  # one that fires too early looks again
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(max(due, now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        due = self._engine.timer()
        if due is not None and due <= now:
            self._engine.handle_timer(now)
        ask_at = self._ask_at()
        if ask_at is not None and ask_at <= now:
            self._asked_at = now
            with contextlib.suppress(ConnectionError):  # just now it was over: the delegate sees it below
                self._engine.ping()
        self.flush()

    def _ask_at(self) -> float | None:
        """Return when the peer is to answer; the core itself asks again, as often as it must."""
        if not self._delegate.kept_alive or self._engine.unanswered_probes:
            return None
        silent_at = max(self._sent_at, self._asked_at) + KEEP_ALIVE_SECONDS
        return (
            silent_at
            if self._asked_at > self.last_received_at
            else min(silent_at, self.last_received_at + UNHEARD_SECONDS)
        )
