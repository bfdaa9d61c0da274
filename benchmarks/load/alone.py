"""One benchmark at a time runs on a machine."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from benchmarks.load.build import cache_directory


class NotAloneError(Exception):
    """Another benchmark is running."""


@contextmanager
def alone(*, wait: float = 0.0) -> Iterator[None]:
    """Keep others from starting meanwhile. Raises NotAloneError where one still runs after so many seconds."""
    until = time.monotonic() + wait
    with (cache_directory() / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise NotAloneError("another benchmark is running on this machine") from None
                time.sleep(0.2)
        yield


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal, but tidily."""
    raise SystemExit(128 + number)
