"""Blocking calls beside the event loop."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar

ResultT = TypeVar("ResultT")
_Job: TypeAlias = Callable[[], None]


class CallingThread:
    """A thread that makes one blocking call after another.

    A daemon: a call that never returns, such as reading a terminal, does not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    async def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Return what the function returns, or raise the OSError that it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ResultT] = loop.create_future()

        def job() -> None:
            try:
                result = function()
            except OSError as error:
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_succeed, answer, result)

        self._jobs.put(job)
        return await answer

    def _work(self) -> None:
        while True:
            try:
                self._jobs.get()()
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _succeed(answer: "asyncio.Future[ResultT]", result: ResultT) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[ResultT]", error: OSError) -> None:
    if not answer.done():
        answer.set_exception(error)
