"""The state machine of a relay: two directions between a client and a remote, however their bytes are moved.

Three movers share it: `splice` (two sockets, in the kernel), `pump` (TLS on a side) and `copy` (streams without
sockets). Each direction goes from its source to its sink and is in one of five states:

    FLOWING --source ended--> FINISHING --sink has it all--> FINISHED
       | \\--the source broke--> CUT            (both directions: nothing reaches the source either)
       \\--the sink broke-----> DROPPING        (this direction alone)

A direction whose sink takes no more ends alone: a host that refuses an upload and resets has mostly answered why
(RFC 9112 §9.5), and that answer is in our socket's buffer still. The source of a DROPPING direction is read on, and its bytes
are dropped, since a peer may read nothing before all that it sends is taken.

The relay is over once both directions are: DONE if no side broke, else RESET. It also ends when it is idle for too
long (`relay.idle`), or by a fault of ours (ERROR). What was cut short must not look whole: `complete` says whether the
sink got, or is about to get, all that the source sent.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Final

from socks6.relay.bandwidth import Meter
from socks6.telemetry import CUT_OFF, Ending


class SendingFailed(OSError):
    """The side that bytes go to broke, not the one that they come from."""

    @classmethod
    def by(cls, error: OSError) -> "SendingFailed":
        """Return `error` as one of sending."""
        return cls(error.errno, error.strerror or str(error))


class DirectionState(Enum):
    """Where a direction stands."""

    FLOWING = "flowing"
    FINISHING = "finishing"  # the source has ended, the sink has not taken everything yet
    FINISHED = "finished"  # the end was passed on
    CUT = "cut"
    DROPPING = "dropping"

    __hash__ = object.__hash__  # Enum's own costs a Python call


FLOWING: Final = DirectionState.FLOWING
FINISHING: Final = DirectionState.FINISHING
FINISHED: Final = DirectionState.FINISHED
CUT: Final = DirectionState.CUT
DROPPING: Final = DirectionState.DROPPING
OVER: Final = frozenset((FINISHED, CUT, DROPPING))


class Direction:
    """The bytes of one side, the source, on their way to the other side, the sink."""

    __slots__ = ("bytes_moved", "joined", "meter", "reverse", "state")

    joined: "JoinedStreams"
    reverse: "Direction"  # the other way between the same two sides

    def __init__(self) -> None:
        self.bytes_moved = 0  # that the sink took
        self.state = FLOWING
        self.meter: Meter | None = None  # of the user, if its bandwidth or its quota is limited

    def limit(self, meter: Meter) -> None:
        """Read no more than a meter allows, from now on."""
        self.meter = meter

    @property
    def ended(self) -> bool:
        """Whether nothing more is read to be passed on."""
        return self.state is not FLOWING

    @property
    def over(self) -> bool:
        """Whether nothing more reaches the sink."""
        return self.state in OVER

    @property
    def complete(self) -> bool:
        """Whether the source ended in order, and its end was passed on or is to be."""
        return self.state is FINISHED or self.state is FINISHING

    def fail(self, error: Exception) -> None:
        """Record what moving bytes raised."""
        if isinstance(error, SendingFailed):
            self.sink_broke(error)
        elif isinstance(error, OSError):
            self.source_broke(error)
        else:
            self.joined.end(Ending.ERROR, repr(error))

    def sink_broke(self, error: OSError) -> None:
        """End this direction; what the sink sent before it broke is still read and passed on."""
        joined, reverse = self.joined, self.reverse
        joined.note_broken(reverse, error)
        reverse.source_failed(error)
        self.discard()
        self.state = DROPPING
        joined.settle()
        if not joined.over:  # edges that were reported before are not reported again
            self.wake()
            reverse.wake()

    def source_broke(self, error: OSError) -> None:
        """End both directions: all that the source sent is with the sink, and nothing reaches the source any more."""
        joined = self.joined
        joined.note_broken(self, error)
        for direction in (self, self.reverse):
            direction.discard()
            if direction.state is FLOWING or direction.state is FINISHING:
                direction.state = CUT
        joined.settle()

    # What a mover does in its own way.

    def source_failed(self, error: OSError) -> None:
        """Record that sending to the source failed: the end of what it sends may be no end in order."""

    def discard(self) -> None:
        """Forget bytes that the sink did not take."""

    def wake(self) -> None:
        """Read the source again soon."""

    def leave(self) -> None:
        """Touch neither side any more. Idempotent."""


class JoinedStreams(ABC):
    """A relay under way. The two sides belong to the caller, which closes them afterwards."""

    __slots__ = ("_on_end", "down", "ending", "over", "quiet_since", "reason", "seen", "up")

    def __init__(self, up: Direction, down: Direction) -> None:
        self.up = up  # client to remote
        self.down = down
        for direction, reverse in ((up, down), (down, up)):
            direction.joined = self
            direction.reverse = reverse
        self.ending = Ending.STOPPED
        self.reason = ""
        self.over = False
        self.seen = 0
        self.quiet_since = 0.0
        self._on_end: Callable[[], None] | None = None

    @property
    def bytes_up(self) -> int:
        """Bytes that the remote took so far."""
        return self.up.bytes_moved

    @property
    def bytes_down(self) -> int:
        """Bytes that the client took so far."""
        return self.down.bytes_moved

    @property
    def both_ended(self) -> bool:
        """Whether both directions have."""
        return self.up.state is not FLOWING and self.down.state is not FLOWING

    @property
    def delivers(self) -> bool:
        """Whether what was sent is to arrive, even if a side broke: both directions have ended, and nothing cut them off.

        What counted against a quota arrives, too.
        """
        return self.ending is Ending.QUOTA or (self.both_ended and self.ending not in CUT_OFF)

    def end_with(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` once, when the relay is over."""
        self._on_end = on_end

    def limit(self, up: Meter, down: Meter) -> None:
        """Read no more on either side than these allow, from now on."""
        self.up.limit(up)
        self.down.limit(down)

    @abstractmethod
    async def run(self, first: bytes) -> None:
        """Move bytes both ways until the relay is over; `first` goes to the remote before anything else."""

    def note_broken(self, source: Direction, error: OSError) -> None:
        """Record that the side which is the source of this direction broke; the first reason counts."""
        side = "client" if source is self.up else "remote"
        self.reason = self.reason or f"{side}: {error.strerror or error}"

    def settle(self) -> None:
        """End if both directions are over."""
        if self.up.state in OVER and self.down.state in OVER:
            self.end(Ending.RESET if self.reason else Ending.DONE)

    def end(self, ending: Ending, reason: str = "") -> None:
        """End the relay; the first ending and the first reason count."""
        if self.over:
            return
        self.over = True
        self.ending = ending
        self.reason = self.reason or reason
        self.stop()
        if self._on_end is not None:
            self._on_end()

    def stop(self) -> None:
        """Touch the two sides no more. Idempotent."""
        self.up.leave()
        self.down.leave()

    def dissolve(self) -> None:
        """Untie what refers to each other, so that no garbage waits for the collector. For the last user."""
        self.over = True
        self._on_end = None
        for direction in (self.up, self.down):
            del direction.reverse, direction.joined

    def lasts(self) -> None:
        """See `idle.Watched`."""
        return

    def activity(self) -> int:
        up, down = self.up, self.down
        return up.bytes_moved + down.bytes_moved + (up.state is not FLOWING) + (down.state is not FLOWING)

    def half_closed(self) -> bool:
        """Return whether a direction has ended."""
        return self.up.state is not FLOWING or self.down.state is not FLOWING

    def expire(self, reason: str) -> None:
        self.end(Ending.RESET if self.reason else Ending.IDLE, reason)
