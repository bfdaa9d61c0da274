"""A clock that stands still until it is told to go on."""


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
