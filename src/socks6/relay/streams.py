"""Joins two streams by the best mover for them, and closes them when they are through."""

import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

from socks6.dataclass import dataclass
from socks6.net.sockets import reset_on_close
from socks6.net.stream import ByteStream
from socks6.relay.copy import CopiedStreams
from socks6.relay.delivery import deliver, end_in_order, reset_if_killed
from socks6.relay.idle import IdleMonitor
from socks6.relay.joined import JoinedStreams
from socks6.setting import setting
from socks6.telemetry import Ending

if sys.platform == "linux":
    from socks6.net.poller import Poller
    from socks6.relay.endpoints import SocketEndpoint, endpoint_of
    from socks6.relay.pipes import Pipes
    from socks6.relay.polled import PolledStreams
    from socks6.relay.pump import pump_streams
    from socks6.relay.splice import splice_streams


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """How streams are joined. Times are seconds of silence in both directions, 0 for never.

    The idle time-out is what RFC 5382 (REQ-5) asks of NATs, since a proxy's clients keep their connections
    alive as if behind one: an idle SSH session or WebSocket may live. Dead peers are found sooner, by TCP's
    keep-alive. The fin time-out counts once a direction has ended: a long answer to a half-closed request
    goes on for as long as it moves.
    """

    idle_timeout: float = setting(
        7440.0,
        "seconds without a byte either way, then a connection is closed; 0 for never",
        key="timeouts.idle",
        flag="--idle-timeout",
    )
    fin_timeout: float = setting(
        60.0,
        "seconds without a byte, once one side has ended; 0 for never",
        key="timeouts.fin",
        flag="--fin-timeout",
    )
    splice: bool = True  # let the kernel move bulk where it can
    pipes: int = 256  # of 1 MiB, and two descriptors; beyond, bulk is copied. Only slow sides occupy them


class RelayResult(NamedTuple):
    """How it went. The byte counts are what the receiving sides took."""

    bytes_up: int  # client to remote
    bytes_down: int
    ending: Ending  # DONE, RESET, IDLE or ERROR
    reason: str  # "" when done


class StreamRelay:
    """What the relays of one event loop share. Any number of `relay` calls may run at the same time."""

    def __init__(self, settings: RelaySettings | None = None) -> None:
        self._settings = settings or RelaySettings()
        self._idle = IdleMonitor(
            idle_timeout=self._settings.idle_timeout, fin_timeout=self._settings.fin_timeout
        )
        self._poller: Poller | None = None  # both made when they are first needed, within the loop
        self._pipes: Pipes | None = None

    async def relay(
        self,
        client: ByteStream,
        remote: ByteStream,
        *,
        first: bytes = b"",
        on_joined: Callable[[JoinedStreams], None] | None = None,
    ) -> RelayResult:
        """Join two streams until both directions have ended; `first` goes to the remote first.

        Closes both streams once what was sent on them has arrived, by a reset unless all went well; so they are
        closed, too, should this process be killed meanwhile. `on_joined` gets what counts the bytes meanwhile. Never raises
        OSError.
        """
        reset_if_killed(client, remote)
        joined = self._join(client, remote)
        if on_joined is not None:
            on_joined(joined)
        self._idle.add(joined)
        try:
            running = joined.run(first)
            del first  # it may be long, and this frame lives as long as the relay
            await running
            await self.close_both(joined, client, remote)
        finally:
            result = self.release(joined)
            client.abort()
            remote.abort()
        return result

    def join(
        self, client: ByteStream, remote: socket.socket, on_end: Callable[[], None]
    ) -> "PolledStreams | None":
        """Join a client and a socket as `relay` does, for callers without a task: `start` what is returned; None if only `relay` can.

        The client is reset by closing it already. The remote was connected without being tuned (`stream_socket`): the relay
        does that when it needs it. `on_end` is called when they are through. Then both are to be closed: in order (`sockets.close_in_order`) if the
        ending is DONE, by `deliver` if it `delivers`; `release` is called last.
        """
        joined: PolledStreams | None = None
        if (raw := client.raw_socket) is None:
            side = endpoint_of(client)
            if side is not None and (poller := self.shared_poller()) is not None:
                joined = pump_streams(side, SocketEndpoint(remote), poller)
        elif self._settings.splice:
            joined = self._spliced(raw, remote)
        if joined is not None:
            joined.up.untuned = remote
            reset_on_close(remote)
            self._idle.add(joined)
            joined.end_with(on_end)
        return joined

    def join_streams(
        self, client: ByteStream, remote: ByteStream, on_end: Callable[[], None]
    ) -> "PolledStreams | None":
        """Do as `join` for a remote that is a stream, and tuned: both are to be closed by `close_both`, then, or as that does."""
        joined = self._polled(client, remote) if sys.platform == "linux" else None
        if joined is not None:
            reset_if_killed(remote)
            self._idle.add(joined)
            joined.end_with(on_end)
        return joined

    async def close_both(self, joined: JoinedStreams, client: ByteStream, remote: ByteStream) -> None:
        """Close the streams of a relay that is over as `relay` does; `release` is called last."""
        if joined.ending is Ending.DONE:
            await _close(client)
            await _close(remote)
        elif joined.delivers:
            await self.deliver(joined, client, remote)

    async def deliver(self, joined: JoinedStreams, client: ByteStream, remote: ByteStream) -> None:
        """Close the streams of a relay that broke, once what was sent on them has arrived."""
        self._idle.remove(joined)
        await _close_broken((client, joined.down.complete), (remote, joined.up.complete))

    def release(self, joined: JoinedStreams) -> RelayResult:
        """Forget a relay, whose streams are to be closed at once unless they are, and return how it went."""
        self._idle.remove(joined)
        if not joined.over:
            joined.stop()
        joined.dissolve()
        # as `RelayResult` does, which takes seven times as long
        facts = joined.up.bytes_moved, joined.down.bytes_moved, joined.ending, joined.reason
        return tuple.__new__(RelayResult, facts)

    def close(self) -> None:
        """Free what the relays shared; to be called when none runs any more. Idempotent."""
        self._idle.close()
        if self._poller is not None:
            self._poller.close()
            self._poller = None
        if self._pipes is not None:
            self._pipes.close()

    def _join(self, client: ByteStream, remote: ByteStream) -> JoinedStreams:
        """Return the two streams joined by the best mover that there is for them."""
        return (self._polled(client, remote) if sys.platform == "linux" else None) or CopiedStreams(
            client, remote
        )

    def _polled(self, client: ByteStream, remote: ByteStream) -> "PolledStreams | None":
        """Return the two streams joined on the relay's epoll, None where there is no such thing."""
        raw = client.raw_socket, remote.raw_socket
        if self._settings.splice and raw[0] is not None and raw[1] is not None:
            return self._spliced(raw[0], raw[1])
        sides = endpoint_of(client), endpoint_of(remote)
        if sides[0] is None or sides[1] is None or (poller := self.shared_poller()) is None:
            return None
        return pump_streams(sides[0], sides[1], poller)

    def _spliced(self, client: socket.socket, remote: socket.socket) -> "PolledStreams | None":
        if (poller := self._poller or self.shared_poller()) is None:
            return None
        if self._pipes is None:
            self._pipes = Pipes(self._settings.pipes)
        return splice_streams(client, remote, poller, self._pipes)

    def shared_poller(self) -> "Poller | None":
        """Return the poller of all relays, within whose loop this is called; None where it is not available."""
        if sys.platform == "linux" and self._poller is None:
            try:
                self._poller = Poller()
            except OSError:  # it needs a descriptor; the next relay may get one
                return None
        return self._poller


async def _close(stream: ByteStream) -> None:
    """Close in order."""
    end_in_order(stream)
    try:
        await stream.aclose()
    except OSError:  # which changes nothing any more
        return


async def _close_broken(*sides: tuple[ByteStream, bool]) -> None:
    """Close streams of a relay that broke, once they have delivered; in order where their peers got a whole stream.

    A reset before would take back what the broken side had sent.
    """
    for stream, whole in sorted(sides, key=lambda side: side[0].unacknowledged):  # the broken one first
        await deliver(stream)
        if whole:
            await _close(stream)
        else:
            stream.abort()
