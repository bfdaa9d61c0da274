"""A clock that stands still until it is told to go on."""

from collections.abc import Callable


class ManualClock:
    """Give it where a clock is asked for; it tells the seconds that the test says."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class ManualTimer:
    """A callback of a `ManualScheduler`."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call back."""
        self.cancelled = True


class ManualScheduler:
    """What an event loop is to those that want time and timers, which pass as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        """Return the time."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> ManualTimer:
        """Call back after so many seconds."""
        timer = ManualTimer(self.now + delay, callback)
        self._timers.append(timer)
        return timer

    def call_soon(self, callback: Callable[[], None], /) -> ManualTimer:
        """Call back at once, as soon as time passes."""
        return self.call_later(0, callback)

    call_soon_threadsafe = call_soon

    @property
    def waiting(self) -> int:
        """How many timers run."""
        return sum(not timer.cancelled for timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Let time pass, and call back what is due."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.due <= end + 1e-9]:
            timer = min(due, key=lambda each: each.due)
            self._timers.remove(timer)
            self.now = max(self.now, timer.due)
            if not timer.cancelled:
                timer.callback()
        self.now = end
