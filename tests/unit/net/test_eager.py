"""Eager tasks: started at once, resumed by what they wait for, and tasks to asyncio."""

import asyncio
import weakref
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from socks6.net.eager import EagerTask, EagerTaskGroup, Signal
from tests.kit.loops import Run
from tests.kit.streams import turns, until


class Ends:
    """Keeps how a task ended."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    def __call__(self, _: EagerTask, error: BaseException | None) -> None:
        self.errors.append(error)


def started(coroutine: Coroutine[Any, Any, None], ends: Ends) -> EagerTask:
    task = EagerTask(coroutine, asyncio.get_running_loop(), ends)
    task.start()
    return task


def test_what_never_waits_is_over_at_once(run: Run) -> None:
    async def play() -> None:
        async def work() -> None:
            assert isinstance(asyncio.current_task(), EagerTask)

        outer = asyncio.current_task()
        task = started(work(), ends := Ends())
        assert task.done()
        assert ends.errors == [None]
        assert asyncio.current_task() is outer

    run(play())


def test_a_signal_resumes_at_once_outside_of_tasks_and_soon_within_one(run: Run) -> None:
    async def play() -> None:
        signal = Signal(asyncio.get_running_loop())
        seen: list[int] = []

        async def work() -> None:
            for number in range(3):
                await signal
                seen.append(number)

        started(work(), ends := Ends())
        signal.set()
        assert seen == []  # this task runs
        await turns()
        assert seen == [0]

        def cause() -> None:
            signal.set()
            seen.append(10)

        asyncio.get_running_loop().call_soon(cause)
        await turns()
        assert seen == [0, 1, 10]
        signal.set()
        await turns()
        assert ends.errors == [None]

    run(play())


def test_a_signal_is_kept_for_who_waits_later_and_wakes_ordinary_tasks(run: Run) -> None:
    async def play() -> None:
        signal = Signal(asyncio.get_running_loop())
        signal.set()
        await signal
        waiting = asyncio.ensure_future(waits(signal))
        await turns()
        assert signal.waiter is not None
        signal.set()
        await waiting
        assert signal.waiter is None

    async def waits(signal: Signal) -> None:
        await signal

    run(play())


def test_futures_timeouts_and_groups_work_within(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        done: list[object] = []

        async def work() -> None:
            done.append(await future)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await Signal(loop)
            await asyncio.sleep(0)
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            with pytest.raises(ExceptionGroup):
                await group_that_fails()
            done.append("all")

        task = started(work(), ends := Ends())
        future.set_result("answer")
        await until(task.done)
        assert done == ["answer", "all"]
        assert ends.errors == [None]

    async def group_that_fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await Signal(asyncio.get_running_loop())

    async def fails() -> None:
        raise ZeroDivisionError

    run(play())


@pytest.mark.parametrize("waits_for", ["signal", "future", "turn"])
def test_cancelling_is_raised_where_it_waits(run: Run, waits_for: str) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        cleaned: list[bool] = []

        async def work() -> None:
            try:
                if waits_for == "signal":
                    await Signal(loop)
                elif waits_for == "future":
                    await loop.create_future()
                else:
                    for _ in range(1000):
                        await asyncio.sleep(0)
            finally:
                cleaned.append(True)

        task = started(work(), ends := Ends())
        assert task.cancel()
        assert task.cancelling() == 1
        await until(task.done)
        assert cleaned == [True]
        assert isinstance(ends.errors[0], asyncio.CancelledError)
        assert not task.cancel()

    run(play())


def test_one_that_cancels_itself_cancels_what_it_waits_for_then(run: Run) -> None:
    async def play() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await future

        task = started(work(), ends := Ends())
        assert future.cancelled()
        await until(task.done)
        assert isinstance(ends.errors[0], asyncio.CancelledError)

    run(play())


def test_what_a_task_of_a_group_raises_is_reported_and_ends_no_other(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        errors: list[BaseException | None] = []
        loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
        signal = Signal(loop)
        ended: list[bool] = []

        async def fails() -> None:
            raise ZeroDivisionError

        async def work() -> None:
            await signal
            ended.append(True)

        async with EagerTaskGroup() as group:
            group.start(work())
            group.start(fails())
            loop.call_soon(signal.set)
        assert [type(error) for error in errors] == [ZeroDivisionError]
        assert ended == [True]

    run(play())


def test_one_that_was_cancelled_and_goes_on_waits_for_its_next_signal(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        first, second = Signal(loop), Signal(loop)
        reached: list[str] = []

        async def work() -> None:
            task: object = asyncio.current_task()
            assert isinstance(task, EagerTask)
            with pytest.raises(asyncio.CancelledError):
                await first
            assert task.uncancel() == 0
            await second
            reached.append("second")

        task = started(work(), Ends())
        first.set()  # it runs on soon: too late for the one, too early for the other
        task.cancel()
        await turns()
        if not task.done():
            second.set()
            await until(task.done)

    run(play())


def test_the_last_uncancel_takes_back_what_was_not_delivered(run: Run) -> None:
    async def play() -> None:
        signal = Signal(asyncio.get_running_loop())

        async def work() -> None:
            await signal

        task = started(work(), ends := Ends())
        task.cancel()
        assert task.uncancel() == 0
        await turns()
        assert not task.done()
        signal.set()
        await until(task.done)
        assert ends.errors == [None]

    run(play())


@pytest.mark.parametrize("waits_for", ["signal", "future"])
def test_libraries_find_what_they_ask_of_tasks(run: Run, waits_for: str) -> None:
    # anyio keeps weak references, reads these attributes, and knows its own cancellations by their messages
    async def play() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        async def work() -> None:
            await (Signal(loop) if waits_for == "signal" else future)

        task = started(work(), ends := Ends())
        assert weakref.ref(task)() is task
        assert task._must_cancel is False
        assert task._fut_waiter is (future if waits_for == "future" else None)
        task.cancel("by a scope")
        await until(task.done)
        (error,) = ends.errors
        assert isinstance(error, asyncio.CancelledError)
        assert error.args == ("by a scope",)

    run(play())


class Nonsense:
    """Waits for what no loop knows."""

    def __await__(self) -> Generator[object, None, None]:
        yield "nonsense"


def test_what_cannot_be_waited_for_is_raised_where_it_was(run: Run) -> None:
    elsewhere = asyncio.new_event_loop()

    async def play() -> None:
        caught: list[RuntimeError] = []

        async def work() -> None:
            for awaited in (Nonsense(), elsewhere.create_future()):
                try:
                    await awaited
                except RuntimeError as error:
                    caught.append(error)

        task = started(work(), ends := Ends())
        await until(task.done)
        assert len(caught) == 2
        assert ends.errors == [None]

    try:
        run(play())
    finally:
        elsewhere.close()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_loop_ends_the_task_too(run: Run, kind: type[BaseException]) -> None:
    async def play() -> None:
        async def work() -> None:
            raise kind

        outer = asyncio.current_task()
        task = EagerTask(work(), asyncio.get_running_loop(), ends := Ends())
        with pytest.raises(kind):
            task.start()
        assert asyncio.current_task() is outer
        assert [type(error) for error in ends.errors] == [kind]

    run(play())


def test_a_group_waits_for_its_tasks_and_cancels_them_when_it_fails(run: Run) -> None:
    async def play() -> None:
        signal = Signal(asyncio.get_running_loop())
        ended: list[str] = []

        async def work() -> None:
            try:
                await signal
                ended.append("done")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        async with EagerTaskGroup() as group:
            group.start(work())
            asyncio.get_running_loop().call_soon(signal.set)
        assert ended == ["done"]
        with pytest.raises(ZeroDivisionError):
            await start_and_fail(work())
        assert ended == ["done", "cancelled"]

    run(play())


async def start_and_fail(work: Coroutine[Any, Any, None]) -> None:
    async with EagerTaskGroup() as group:
        group.start(work)
        raise ZeroDivisionError


def test_cancelling_the_owner_of_a_group_cancels_its_tasks(run: Run) -> None:
    async def play() -> None:
        cancelled: list[bool] = []

        async def work() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async def own() -> None:
            async with EagerTaskGroup() as group:
                group.start(work())

        owner = asyncio.ensure_future(own())
        await turns()
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner
        assert cancelled == [True]

    run(play())


def test_a_group_that_is_over_starts_nothing(run: Run) -> None:
    async def nothing() -> None:
        raise AssertionError("it was started")

    async def scene() -> None:
        async with EagerTaskGroup() as group:
            pass
        with pytest.raises(RuntimeError, match="is over"):
            group.start(nothing())

    run(scene())
