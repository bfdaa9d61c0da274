"""The thread whose event loop does the work of every synchronous client of this process.

It starts with the first call and ends with the interpreter. A process that forks has none in the child: the child's first
call starts its own.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

from socks6.client.sockets import SocketCarrier
from socks6.errors import LocalProtocolError

ResultT = TypeVar("ResultT")

EXIT_SECONDS: Final = 3.0  # at the end of the interpreter, for closed sockets to deliver and sessions to end
JOIN_SECONDS: Final = 1.0  # for the thread to end behind that
INHERITED: Final = "this was opened before a fork, and is the parent process's"
WITHIN: Final = "a synchronous call within the loop that would carry it out"


class LoopThread:
    """A daemon thread that runs an event loop, in which `run` carries out what other threads call."""

    _loop: asyncio.AbstractEventLoop
    carrier: SocketCarrier

    def __init__(self) -> None:
        self._is_inherited = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._exits: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._ready: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._serve, name="socks6", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def is_current(self) -> bool:
        """Whether this is called within the loop."""
        return threading.get_ident() == self._thread.ident

    def run(
        self, work: Coroutine[Any, Any, ResultT], discard: Callable[[ResultT], object] | None = None
    ) -> ResultT:
        """Run a coroutine in the loop, wait for it, and return what it returns. Raises what it raises.

        Where the wait is interrupted (KeyboardInterrupt), the coroutine is cancelled; `discard` gets what it has returned
        nevertheless. Raises LocalProtocolError in the loop's own thread, which would wait for itself; once it has ended; and in a
        process that was forked since.
        """
        if self._is_inherited or self.is_current:
            work.close()
            raise LocalProtocolError(INHERITED if self._is_inherited else WITHIN)
        call = _Call(work, discard)
        try:
            self._loop.call_soon_threadsafe(call.start, self)
        except RuntimeError as error:
            work.close()
            raise LocalProtocolError("the interpreter ends, and no calls are made any more") from error
        return call.wait(self._loop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> Callable[[], bool]:
        """Run a coroutine in a task; return what cancels it. To be called within the loop."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task.cancel

    @contextmanager
    def held(self, context: AbstractAsyncContextManager[ResultT]) -> Iterator[ResultT]:
        """Enter a context manager in a task of the loop's own, for as long as the block lasts; return what it gives."""
        leave = asyncio.Event()
        entered: asyncio.Queue[ResultT] = asyncio.Queue()

        async def hold() -> None:
            async with context as value:
                entered.put_nowait(value)
                await leave.wait()

        async def enter() -> tuple[ResultT, asyncio.Task[None]]:
            holding = self._loop.create_task(hold())
            entering = self._loop.create_task(entered.get())
            try:
                await asyncio.wait((holding, entering), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                holding.cancel()
                raise
            finally:
                entering.cancel()
            if holding.done():
                await holding
            return entering.result(), holding

        async def end() -> None:
            leave.set()
            await holding

        value, holding = self.run(enter(), lambda entered: entered[1].cancel())
        try:
            yield value
        finally:
            self.run(end())

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back within the loop, from any thread, and do not wait for it."""
        if not self._is_inherited:
            with contextlib.suppress(RuntimeError):  # the loop has ended, with all that it had
                self._loop.call_soon_threadsafe(callback)

    def close_at_exit(self, closable: "Closable") -> None:
        """Close this at the end of the interpreter, if it is there still."""
        self._exits.add(closable)

    def end(self) -> None:
        """Deliver what closed sockets have left, within EXIT_SECONDS, and end the thread."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(Exception):  # at exit there is nobody to tell
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            ending.result(EXIT_SECONDS + JOIN_SECONDS)
        self.call_soon(self._loop.stop)
        self._thread.join(JOIN_SECONDS)

    def forsake(self) -> None:
        """Close what this process has inherited by a fork: the thread is its parent's."""
        self._is_inherited = True
        self.carrier.forsake()

    def _serve(self) -> None:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        self._loop = asyncio.new_event_loop()
        self.carrier = SocketCarrier(self._loop)
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(EXIT_SECONDS), asyncio.TaskGroup() as group:
                group.create_task(self.carrier.deliver())
                for closable in tuple(self._exits):
                    group.create_task(closable.aclose())
        finally:
            await self.carrier.end()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=JOIN_SECONDS)


class Closable(Protocol):
    """What is closed at the end of the interpreter."""

    async def aclose(self) -> None:
        """Close, within the loop. Raises nothing."""


class _Call(Generic[ResultT]):
    """A coroutine that one thread waits for while the loop runs it."""

    def __init__(
        self, work: Coroutine[Any, Any, ResultT], discard: Callable[[ResultT], object] | None
    ) -> None:
        self._work = work
        self._discard = discard
        self._lock = threading.Lock()  # between the end of the coroutine and that of the wait
        self._done = threading.Event()
        self._abandoned = False
        self._cancel: Callable[[], object] = bool  # or that of its task
        self._results: list[ResultT] = []
        self._error: BaseException | None = None

    def start(self, thread: LoopThread) -> None:
        """Begin, within the loop."""
        if self._abandoned:
            self._work.close()
        else:
            self._cancel = thread.spawn(self._run())

    def wait(self, loop: asyncio.AbstractEventLoop) -> ResultT:
        """Return what the coroutine returns. Raises what it raises."""
        try:
            self._done.wait()
        except BaseException:
            self._abandon(loop)
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback has this frame
        return self._results.pop()

    async def _run(self) -> None:
        try:
            result = await self._work
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
            self._error = error if isinstance(error, Exception) else LocalProtocolError("the loop has ended")
        else:
            with self._lock:
                if not self._abandoned:
                    self._results.append(result)
                elif self._discard is not None:
                    self._discard(result)
        self._done.set()

    def _abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._abandoned = True
            results, self._results = self._results, []
        if self._discard is not None:
            for result in results:
                loop.call_soon_threadsafe(self._discard, result)
        loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._cancel()


class _Process:
    """The loop thread of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._inherited: list[LoopThread] = []  # kept, or their loops would warn that nobody has closed them

    def shared(self) -> LoopThread:
        """Return the thread, which is started if there is none."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    if (util := sys.modules.get("multiprocessing.util")) is not None:
                        util.Finalize(self, self.end, exitpriority=0)  # its children do without `atexit`
                    self._thread = LoopThread()
        return self._thread

    def forget(self) -> None:
        """Begin anew in a process that was forked."""
        self._lock = threading.Lock()
        if self._thread is not None:
            self._inherited.append(self._thread)
            self._thread.forsake()
            self._thread = None

    def end(self) -> None:
        """End the thread, if there is one. Idempotent."""
        if self._thread is not None:
            self._thread.end()


_PROCESS: Final = _Process()
loop_thread: Final = _PROCESS.shared
atexit.register(_PROCESS.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PROCESS.forget)
