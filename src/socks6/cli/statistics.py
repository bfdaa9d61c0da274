"""Round-trip times, told as ping(8) tells them."""

import math
from collections.abc import Sequence


def summary(times: Sequence[float], *, sent: int, elapsed: float) -> list[str]:
    """Return the last lines of a ping; all times are seconds."""
    loss = 100 * (sent - len(times)) / sent if sent else 0
    lines = [f"{sent} requests, {len(times)} replies, {loss:.4g}% loss, time {elapsed * 1000:.0f} ms"]
    if times:
        mean = math.fsum(times) / len(times)
        deviation = math.sqrt(max(0.0, math.fsum(time * time for time in times) / len(times) - mean * mean))
        figures = "/".join(milliseconds(figure) for figure in (min(times), mean, max(times), deviation))
        lines.append(f"round trip min/avg/max/mdev = {figures} ms")
    return lines


def milliseconds(seconds: float) -> str:
    """Return a time with three digits that count, as ping writes it."""
    value = seconds * 1000
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"
