"""What a coroutine returns, run on the loop of a test."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.kit.loops import Run

ResultT = TypeVar("ResultT")


def outcome(run: Run, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run it to its end; return what it returns, or raise what it raises."""
    results: list[ResultT] = []

    async def scene() -> None:
        results.append(await coroutine)

    run(scene())
    return results[0]
