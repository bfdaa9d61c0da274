"""Blocks of code with a special end: what is undone where they fail, what ends quietly when its time is up."""

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
