"""What bounds how fast, and how much, one user's connections may carry: token buckets and a quota that all of them share.

A `Meter` is one direction of one user. Streams are shaped: a direction asks before it reads (`allow`) and says what it read
(`spend`). Where it may read nothing it is in the meter's queue, from which a timer calls its `go_on` in turn; as it reads nothing
meanwhile, the sender's window closes, and no bytes are kept here. Datagrams are policed (RFC 2475, section 2.3.3.4): an association has
a `DatagramBudget`, of which forwarders take without asking the meter; what finds it empty is dropped and counted. The timer
fills budgets up, from the same bucket and in the same turn as it serves the queue, so that neither starves the other.

See docs/decisions/0104 and 0105.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from socks6.compat import override

TURN_SECONDS: Final = 0.02  # between two turns of the queue
REST_SECONDS: Final = 0.05  # the same where only budgets are kept, and nothing came of late
BURST_SHARE: Final = (
    8  # a burst that was not chosen is what goes in 1/8 s: after ten seconds it is 1 % of what went
)
LEAST_BURST_SHARE: Final = 16  # one that was is at least what goes in 1/16 s: the timer is late now and then
MIN_BURST: Final = 16_384
MAX_PIECE: Final = 1 << 22  # bytes that a stream may read in one turn: as much as without a meter
MIN_PIECE: Final = 4_096  # fewer are not worth a read, unless the rate gives fewer in 1/8 s
QUOTA_PIECES: Final = (
    128  # a stream gets such a part of what is left of a quota: what it holds at the end is little
)
MIN_QUOTA_BUDGET: Final = 16_384  # of a quota, for datagrams that come before the timer looks again
NO_BOUND: Final = 1 << 60  # bytes: where there is a quota alone, or nothing


class Scheduler(Protocol):
    """The event loop, as far as meters use it."""

    def time(self) -> float:
        """Return the monotonic time."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> "Timer":
        """Call back in so many seconds."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call back in the next turn."""

    def call_soon_threadsafe(self, callback: Callable[[], None], /) -> object:
        """Do the same from another thread."""


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Do not call back."""


class Waiter(Protocol):
    """A direction of a stream that waits for its turn."""

    def go_on(self) -> None:
        """Ask `allow` again, which now gives something. Raises OSError when a connection broke."""

    def fail(self, error: Exception) -> None:
        """Record what `go_on` raised."""


class Quota:
    """Bytes that may still go, in both directions together.

    `on_reached` is called, by the loop, once none are left. With a `window` no more than that goes before it is known to be
    saved: `on_unsaved` is called when half of it went, and `unsaved` is to be lowered by what was.
    """

    __slots__ = (
        "_asked",
        "_on_reached",
        "_on_unsaved",
        "_scheduler",
        "left",
        "lent",
        "reached",
        "unsaved",
        "window",
    )

    def __init__(
        self,
        left: int,
        scheduler: Scheduler,
        on_reached: Callable[[], None],
        *,
        window: int = NO_BOUND,
        on_unsaved: Callable[[], None] = lambda: None,
    ) -> None:
        self.left = left
        self.lent = 0  # that budgets hold
        self.reached = left <= 0
        self.unsaved = 0  # what budgets hold is among it
        self.window = window
        self._scheduler = scheduler
        self._on_reached = on_reached
        self._on_unsaved = on_unsaved
        self._asked = False

    def saved(self, unsaved: int) -> None:
        """Note that all but so much is saved."""
        self.unsaved = unsaved
        self._asked = False

    def check(self) -> None:
        """Report once that half a window is to be saved, or that nothing is left, if that is so."""
        if self.unsaved * 2 >= self.window and not self._asked:
            self._asked = True
            self._scheduler.call_soon(self._on_unsaved)
        if self.left <= 0 and self.lent <= 0 and not self.reached:
            self.reached = True
            self._scheduler.call_soon(self._on_reached)


class DatagramBudget:
    """What an association may carry one way until its meter looks again."""

    __slots__ = ("_dropped", "cells", "given", "was_needed")

    def __init__(self) -> None:
        self.cells = array("q", (0, 0))  # bytes left, datagrams dropped: the forwarder in C shares them
        self.given = 0
        self.was_needed = True  # when the meter last looked
        self._dropped = 0  # that were counted

    def take(self, size: int) -> bool:
        """Take a datagram of `size` bytes of data; return False if it is to be dropped.

        The last one may be longer than what is left, which is owed then: a burst may be less than a datagram.
        """
        cells = self.cells
        if cells[0] > 0:
            cells[0] -= size
            return True
        cells[1] += 1
        return False

    def give_back(self, size: int) -> None:
        """Take back what `take` took for a datagram that did not go."""
        self.cells[0] += size

    def newly_dropped(self) -> int:
        """Return how many datagrams were dropped since this was last asked."""
        dropped = self.cells[1]
        newly, self._dropped = dropped - self._dropped, dropped
        return newly


class Meter:
    """One direction of a user's traffic. Without a rate it counts alone, and keeps a quota if it has one."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler: Final = scheduler
        self.dropped = 0  # datagrams
        self._carried = 0  # without what was used of budgets since the timer last looked
        self._queue: Final[deque[Waiter]] = deque()
        self._budgets: Final[dict[DatagramBudget, None]] = {}
        self._timer: Timer | None = None
        self._rests = False  # whether the timer is that of REST_SECONDS
        self._turn: Waiter | None = None  # whose turn it is, and how much it may read
        self._share = 0
        self._rate = 0
        self._burst = 0
        self._quota: Quota | None = None
        self._least = 1  # that is worth a read
        self._tokens = 0.0
        self._since = scheduler.time()

    @property
    def carried(self) -> int:
        """How many bytes went."""
        return self._carried + sum(budget.given - budget.cells[0] for budget in self._budgets)

    @property
    def is_full(self) -> bool:
        """Whether a new meter would allow no more than this one."""
        self._refill()
        return self._tokens >= self._burst

    def set_limits(self, *, rate: int = 0, burst: int = 0, quota: Quota | None = None) -> None:
        """Use other limits, at once: `rate` in bytes/s, 0 for any; a quota, or none.

        `burst` is how many bytes may go at once after a pause, 0 for as many as in 1/8 s, or 16 KiB if that is more.
        """
        self._collect()
        self._refill()
        was_limited = self._rate > 0
        self._rate = rate
        self._burst = (
            max(burst or max(rate // BURST_SHARE, MIN_BURST), rate // LEAST_BURST_SHARE) if rate else 0
        )
        self._least = max(1, min(MIN_PIECE, rate // BURST_SHARE, self._burst))
        self._tokens = min(self._tokens, self._burst) if was_limited else float(self._burst)
        self._quota = quota
        self.go_on()

    def settle(self) -> None:
        """Take back what budgets hold; `go_on` is to follow."""
        self._collect()

    def go_on(self) -> None:
        """Fill budgets up, and serve what waits: more may be allowed now."""
        self._lend()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._scheduler.call_later(0, self._serve)

    def close(self) -> None:
        """Forget what waits; to be called when no connection is left. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._collect()
        self._budgets.clear()
        self._queue.clear()

    # Streams.

    def allow(self, waiter: Waiter) -> int:
        """Return how many bytes `waiter` may read now; 0 for none: its `go_on` is called once there are some."""
        if self._turn is waiter:
            most = min(self._share, self._available()) if self._share >= self._least else 0
        else:
            most = 0 if self._queue else self._available()
        if most > 0:
            return most
        self._queue.append(waiter)
        self._look_later(TURN_SECONDS)
        return 0

    def spend(self, size: int) -> None:
        """Count bytes that a stream has read."""
        self._carried += size
        self._share -= size
        if self._rate:
            self._tokens -= size
        quota = self._quota
        if quota is not None:
            quota.left -= size
            quota.unsaved += size
            if quota.left <= 0 or quota.unsaved * 2 >= quota.window:
                quota.check()

    async def wait(self) -> int:
        """Wait until a stream may read; return how many bytes."""
        waiter = _Task(self)
        return self.allow(waiter) or await waiter.allowed

    async def pay(self, size: int) -> None:
        """Count bytes that a stream has read, and wait until it may read more."""
        self.spend(size)
        await self.wait()

    # Datagrams.

    def open_budget(self) -> DatagramBudget:
        """Return a new association's budget, to be given back by `close_budget`."""
        budget = DatagramBudget()
        self._budgets[budget] = None
        self._collect()
        self._lend()
        self._look_later(REST_SECONDS)
        return budget

    def close_budget(self, budget: DatagramBudget) -> None:
        """Take back what an association has not used. Idempotent."""
        if budget in self._budgets:
            self._collect()
            del self._budgets[budget]
            self._lend()
            if self._quota is not None:
                self._quota.check()

    # The timer.

    def _serve(self) -> None:
        """Serve each waiter once, as far as the tokens go, and fill the budgets up."""
        self._timer = None
        is_busy = self._collect()
        self._refill()
        self._lend()
        if self._quota is not None:
            self._quota.check()
        waiting = len(self._queue)
        share = NO_BOUND
        if self._rate and waiting:
            share = max(int(self._tokens) // waiting, self._least)
        for _ in range(waiting):
            if self._available() <= 0:
                break
            waiter = self._turn = self._queue.popleft()
            self._share = share
            try:
                waiter.go_on()
            except Exception as error:  # noqa: BLE001 - as in `Poller`: one's fault must not cost the others their turns
                waiter.fail(error)
        self._turn = None
        if self._queue or self._budgets:
            self._look_later(TURN_SECONDS if is_busy or self._queue else REST_SECONDS)

    def _look_later(self, seconds: float) -> None:
        rests = seconds == REST_SECONDS
        if self._timer is not None:
            if rests or not self._rests:
                return
            self._timer.cancel()
        self._rests = rests
        self._timer = self._scheduler.call_later(seconds, self._serve)

    def _available(self) -> int:  # each piece asks: a call less is 0.2 % of a GB
        most = MAX_PIECE
        if self._rate and self._tokens < MAX_PIECE:
            self._refill()
            if self._tokens < self._least:
                return 0
            most = min(most, int(self._tokens))
        quota = self._quota
        if quota is not None:
            part = quota.left // QUOTA_PIECES
            if part < most:
                most = max(part, MIN_PIECE)
            most = min(most, quota.left, quota.window - quota.unsaved)
        return most

    def _refill(self) -> None:
        now = self._scheduler.time()
        self._tokens = min(float(self._burst), self._tokens + self._rate * (now - self._since))
        self._since = now

    def _collect(self) -> bool:
        """Take back what budgets hold, and count what was used of them; return whether any of them was needed."""
        is_busy = False
        for budget in self._budgets:
            left, given = budget.cells[0], budget.given
            newly_dropped = budget.newly_dropped()
            self.dropped += newly_dropped
            budget.was_needed = left != given or newly_dropped > 0
            is_busy = is_busy or budget.was_needed
            budget.cells[0] = budget.given = 0
            self._carried += given - left
            if self._rate:
                self._tokens += left
            if self._quota is not None:
                self._quota.left += left
                self._quota.unsaved -= left
                self._quota.lent -= given
        return is_busy

    def _lend(self) -> None:
        """Give each budget its share of what there is now."""
        if not self._budgets:
            return
        sharers = len(self._budgets) + (
            len(self._queue) or 1
        )  # something stays for a stream that comes meanwhile
        size = NO_BOUND
        if self._rate:
            self._refill()
            size = int(self._tokens) // sharers
        for budget in self._budgets:
            given = size
            if self._quota is not None:
                room = min(self._quota.left, self._quota.window - self._quota.unsaved)
                least = MIN_QUOTA_BUDGET if budget.was_needed else 0
                given = min(given, room, max(room // (2 * sharers), least))
            given = max(given, 0)
            budget.cells[0] = budget.given = given
            if self._rate:
                self._tokens -= given
            if self._quota is not None:
                self._quota.left -= given
                self._quota.unsaved += given
                self._quota.lent += given


class _Task(Waiter):
    """A task's turn."""

    __slots__ = ("_meter", "allowed")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.allowed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @override
    def go_on(self) -> None:
        if not self.allowed.done() and (most := self._meter.allow(self)):
            self.allowed.set_result(most)

    @override
    def fail(self, error: Exception) -> None:
        if not self.allowed.done():
            self.allowed.set_exception(error)
