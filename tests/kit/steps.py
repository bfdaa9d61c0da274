"""Cancelling a task at a chosen point: where it waits for the n-th time."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class CancelledAt:
    """Runs a coroutine, as a task of its own, that is cancelled as soon as it waits for the time `step` (from 0)."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: int) -> None:
        self._coroutine = coroutine
        self._step = step
        self.cancelled = False  # it came as far as that

    async def run(self) -> bool:
        """Return whether it was cancelled. Fails if the coroutine went on as if it had not been."""
        task = asyncio.create_task(self._counted(), name="cancelled on the way")
        await asyncio.wait([task])
        if self.cancelled:
            assert task.cancelled(), f"cancelled at step {self._step}, it ended with {task}"
        else:
            task.result()
        return self.cancelled

    async def _counted(self) -> None:
        await _Counting(self)

    def waits(self, count: int) -> None:
        """Cancel, if it is time to."""
        if count == self._step:
            self.cancelled = True
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any]:
        """What runs."""
        return self._coroutine


class _Counting:
    """Awaits a coroutine step by step."""

    def __init__(self, owner: CancelledAt) -> None:
        self._owner = owner

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._owner.coroutine.__await__()
        count = 0
        try:
            waits_for = next(inner)
            while True:
                self._owner.waits(count)
                count += 1
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - a cancellation, or what the loop has to say
                    waits_for = inner.throw(error)
                else:
                    waits_for = inner.send(sent)
        except StopIteration as end:
            return end.value
