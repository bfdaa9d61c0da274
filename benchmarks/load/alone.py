"""One benchmark at a time runs on a machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from benchmarks.load.build import cache_directory


class NotAloneError(Exception):
    """Another benchmark is running."""


@contextmanager
def alone() -> Iterator[None]:
    """Keep others from starting meanwhile. Raises NotAloneError where one has."""
    with (cache_directory() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotAloneError("another benchmark is running on this machine") from None
        yield


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal, but tidily."""
    raise SystemExit(128 + number)
