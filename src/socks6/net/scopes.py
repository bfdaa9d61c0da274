"""Blocks of code with a special end: what is undone where they fail, what ends quietly when its time is up, what is said then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the block raises or is cancelled; what it raised goes on."""
    try:
        yield
    except BaseException:
        undo()
        raise


@contextmanager
def waiting_for(words: str) -> Iterator[None]:
    """Note on a cancellation what it interrupts, unless `words` are empty: `waited_for` gives that back."""
    try:
        yield
    except asyncio.CancelledError as error:
        if words:
            error.add_note(words)
        raise


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
