"""Blocks of code with a special end: what is undone where they fail, what ends quietly when its time is up, what is said then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class on_failure:  # noqa: N801 - is used as a function; `contextlib.contextmanager` costs twice the calls
    """Call `undo` if the block raises or is cancelled; what it raised goes on."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the block."""
        if kind is not None:
            self._undo()


class waiting_for:  # noqa: N801 - as above
    """Record on a cancellation what it interrupts, unless `words` are empty: `waited_for` gives that back."""

    __slots__ = ("_words",)

    def __init__(self, words: str) -> None:
        self._words = words

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, *_rest: object) -> None:
        """End the block."""
        if self._words and isinstance(error, asyncio.CancelledError):
            error.add_note(self._words)


def waited_for(error: TimeoutError) -> str:
    """Return what a block waited for that `asyncio.timeout` has ended: the innermost of its waits with words, or ""."""
    notes = getattr(error.__cause__, "__notes__", ())
    return notes[0] if notes else ""


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Cut the block short after so many seconds, and go on behind it; `expired()` of the time-out says whether it was.

    A TimeoutError of another origin is raised.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
