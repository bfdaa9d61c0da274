"""Tasks that start at once and end without the loop: a coroutine that never waits is over when it has been started.

`asyncio.Task` takes a turn of the loop to start, another for each wake-up, and a future to wait for. Here the code
that causes something to happen runs the coroutine on, as a callback would be run: most clients' connections are
served by a handful of callbacks of the poller, and all that waits longer (credentials, a lookup, a remote, a slow
client) is the same coroutine, suspended. An `EagerTask` is `asyncio.current_task()` while it runs, as the documentation
of asyncio, "Extending", has it, so that futures, time-outs and task groups work within. (Tasks of Python 3.12 can start
eagerly, too; they still wait for futures and turns.)
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Protocol

CancelledError: Final = asyncio.CancelledError
# The eager task in whose context code runs; a task that it made inherits it, and runs while it does not. (CPython 3.11 makes
# `asyncio.current_task` a Python call.)
_eager_task: Final[contextvars.ContextVar["EagerTask | None"]] = contextvars.ContextVar(
    "eager_task", default=None
)


class Signal:
    """An event that one task at a time waits for, and that is over with the wait.

    An eager task goes on within `set`, unless another task runs; any other one in the next turn of the loop.
    """

    __slots__ = ("_happened", "_loop", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._happened = False
        self.waiter: EagerTask | asyncio.Future[None] | None = None  # the task that waits, or its future

    def set(self) -> None:
        """Wake the task that waits, or the next one that will."""
        self._happened = True
        waiting = self.waiter
        if isinstance(waiting, EagerTask):
            waiting.resume(None)
        elif waiting is not None and not waiting.done():
            waiting.set_result(None)

    def __await__(self) -> Generator[object, None, None]:
        """Wait until it happens; return at once if it has."""
        try:
            while not self._happened:
                task = _eager_task.get()
                if task is not None and task.running:
                    self.waiter = task
                    yield self
                else:
                    self.waiter = self._loop.create_future()
                    yield from self.waiter
        finally:
            self.waiter = None
        self._happened = False


class EagerTask:
    """Runs a coroutine that returns nothing, as `asyncio.Task` does, from now on.

    `on_end` is called once when it has ended, with the exception that it raised, if it did.
    """

    # `_fut_waiter` and `_must_cancel` are what asyncio's tasks have: anyio reads them, and keeps weak references
    __slots__ = (
        "__weakref__", "_cancel_message", "_cancelling", "_context", "_coroutine", "_fut_waiter", "_loop", "_must_cancel",
        "_on_end", "running",
    )  # fmt: skip

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[["EagerTask", BaseException | None], None],
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._on_end = on_end
        self._context = contextvars.copy_context()
        self._context.run(_eager_task.set, self)
        self._cancelling = 0
        self._cancel_message: object = None
        self._must_cancel = False  # by CancelledError, as soon as it runs
        self.running = False  # right now
        self._fut_waiter: asyncio.Future[Any] | None = None  # what it waits for, unless a Signal

    def start(self) -> None:
        """Run until it waits for the first time, also within another task."""
        loop = self._loop
        outer = asyncio.current_task(loop)
        if outer is None:
            self.resume(None)
            return
        asyncio._leave_task(loop, outer)  # noqa: SLF001 - see the module's docstring
        try:
            self.resume(None)
        finally:
            asyncio._enter_task(loop, outer)  # noqa: SLF001

    # What asyncio asks of tasks.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to."""
        return self._loop

    def get_coro(self) -> Coroutine[Any, Any, None]:
        """Return the coroutine."""
        return self._coroutine

    def get_name(self) -> str:
        """Return a name for debugging."""
        return getattr(self._coroutine, "__qualname__", "eager task")

    def done(self) -> bool:
        """Return whether it has ended."""
        return self._coroutine.cr_frame is None  # type: ignore[attr-defined]  # a coroutine's own

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError where it waits, in the next turn of the loop; return whether it has not ended."""
        if self.done():
            return False
        self._cancelling += 1
        self._cancel_message = msg
        if self._fut_waiter is not None and self._fut_waiter.cancel(msg=msg):
            return True  # the future wakes it
        if not self._must_cancel:
            self._must_cancel = True
            self._loop.call_soon(self._deliver_cancellation)
        return True

    def cancelling(self) -> int:
        """Return how often it was cancelled, less what `uncancel` took back."""
        return self._cancelling

    def uncancel(self) -> int:
        """Take one `cancel` back; return how many are left. With the last one goes what was not delivered yet."""
        self._cancelling = max(0, self._cancelling - 1)
        if not self._cancelling:
            self._must_cancel = False
        return self._cancelling

    # Running.

    def resume(  # noqa: C901 - split, each wait would cost a call more
        self, future: "asyncio.Future[Any] | None", thrown: Exception | None = None
    ) -> None:
        """Run until it waits or ends; `future` is what it waited for, if that wakes it, and None for a Signal.

        `thrown`, if any, is raised where it waits. KeyboardInterrupt and SystemExit end the loop, too. If another task runs
        right now, that is left to the next turn of the loop.
        """
        loop, coroutine = self._loop, self._coroutine
        if self._fut_waiter is not future or self.running or coroutine.cr_frame is None:  # type: ignore[attr-defined]  # a coroutine's own
            return
        try:
            asyncio._enter_task(loop, self)  # type: ignore[arg-type]  # noqa: SLF001
        except RuntimeError:  # another task runs
            loop.call_soon(self.resume, future, thrown)
            return
        self._fut_waiter = None
        self.running = True
        error: BaseException | None = None
        try:
            if self._must_cancel:
                self._must_cancel = False
                yielded = self._context.run(coroutine.throw, self._cancellation())
            elif thrown is not None:
                yielded = self._context.run(coroutine.throw, thrown)
            else:
                yielded = self._context.run(coroutine.send, None)
        except StopIteration:
            pass
        except BaseException as raised:  # noqa: BLE001 - the owner of the task gets it
            error = raised
        else:
            if not isinstance(yielded, Signal):  # which knows its waiter
                self._wait(yielded)
            return
        finally:
            self.running = False
            asyncio._leave_task(loop, self)  # type: ignore[arg-type]  # noqa: SLF001
        self._end(error)
        error = None  # it refers to this frame: no garbage for the collector

    def _wait(self, yielded: object) -> None:
        """Wait for what the coroutine yielded, no Signal: a future gets a callback, None is one turn."""
        if yielded is None:
            self._loop.call_soon(self.resume, None)
            return
        if not asyncio.isfuture(yielded) or yielded.get_loop() is not self._loop:
            error = RuntimeError(f"an eager task cannot wait for {yielded!r}")
            self._loop.call_soon(self.resume, None, error)
            return
        yielded._asyncio_future_blocking = False  # noqa: SLF001 - part of the protocol between futures and tasks
        self._fut_waiter = yielded
        yielded.add_done_callback(self.resume)
        if self._must_cancel and yielded.cancel(msg=self._cancel_message):
            self._must_cancel = False

    def _deliver_cancellation(self) -> None:
        if self._must_cancel and not self.done():
            self.resume(self._fut_waiter)

    def _end(self, error: BaseException | None) -> None:
        self._on_end(self, error)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error

    def _cancellation(self) -> asyncio.CancelledError:
        message = self._cancel_message
        return CancelledError() if message is None else CancelledError(message)


class Cancellable(Protocol):
    """Work that callbacks do: it leaves its group when it has ended."""

    def cancel(self) -> object:
        """End soon."""


class EagerTaskGroup:
    """Owns eager tasks, and the work of callbacks: leaving it waits for them, and cancels them where it is left by an exception."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[Cancellable] = set()
        self._empty = asyncio.Event()
        self._leaving = False
        self._over = False

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, at once until it waits. What it raises is reported to the loop.

        Raises RuntimeError once the group is over: nothing would wait for the coroutine or cancel it.
        """
        if self._over:
            coroutine.close()
            raise RuntimeError("the group of tasks is over")
        task = EagerTask(coroutine, self._loop, self._ended)
        self._tasks.add(task)
        task.start()

    def add(self, work: Cancellable) -> None:
        """Own what callbacks do, until `remove`."""
        self._tasks.add(work)

    def remove(self, work: Cancellable) -> None:
        """Own it no more: it has ended. Idempotent."""
        self._tasks.discard(work)
        if self._leaving and not self._tasks:
            self._empty.set()

    async def __aenter__(self) -> "EagerTaskGroup":
        """Return this group."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until every task has ended."""
        self._leaving = True
        if kind is not None:
            self._cancel_all()
        interrupted = False
        while self._tasks:
            self._empty.clear()
            try:
                await self._empty.wait()
            except CancelledError:
                interrupted = True
                self._cancel_all()
        self._over = True
        if interrupted:
            raise CancelledError

    def _cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    def _ended(self, task: EagerTask, error: BaseException | None) -> None:
        self.remove(task)
        if isinstance(error, Exception):
            self._loop.call_exception_handler({"message": "unhandled in an eager task", "exception": error})
