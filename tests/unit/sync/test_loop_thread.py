"""The thread that works for blocking calls: results, errors, interruptions, its own calls, its end.

tests/e2e/test_sync.py has processes that are interrupted, and that fork.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.errors import LocalProtocolError
from socks6.sync.loop_thread import LoopThread, loop_thread


def test_a_call_returns_and_raises_what_its_coroutine_does() -> None:
    async def divide(number: int) -> float:
        await asyncio.sleep(0)
        return 1 / number

    assert loop_thread().run(divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        loop_thread().run(divide(0))


def test_all_threads_share_one() -> None:
    found: list[LoopThread] = []
    threads = [threading.Thread(target=lambda: found.append(loop_thread())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_call_within_the_loop_is_refused_instead_of_waiting_for_itself() -> None:
    async def again() -> None:
        loop_thread().run(asyncio.sleep(0))

    with pytest.raises(LocalProtocolError, match="within the loop"):
        loop_thread().run(again())


def test_a_call_within_another_running_loop_is_done() -> None:
    async def main() -> int:
        return loop_thread().run(asyncio.sleep(0, 7))

    assert asyncio.run(main()) == 7


def test_what_comes_of_an_interrupted_call_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    discarded = threading.Event()
    finish = threading.Event()

    async def stubborn() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return 5  # it was done when it was cancelled
        return 0

    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread() and not finish.is_set():
            finish.set()
            time.sleep(0.05)
            raise KeyboardInterrupt
        return original(event, timeout)

    original = threading.Event.wait
    thread = loop_thread()
    monkeypatch.setattr(threading.Event, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        thread.run(stubborn(), lambda result: discarded.set() if result == 5 else None)
    monkeypatch.undo()
    assert discarded.wait(5)


def test_its_end_closes_what_is_to_be_closed_and_calls_are_refused_afterwards() -> None:
    class Closed:
        done = False

        async def aclose(self) -> None:
            self.done = True

    async def forever(ended: list[str]) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("cancelled")

    thread, closed, ended = LoopThread(), Closed(), list[str]()
    thread.close_at_exit(closed)
    thread.call_soon(lambda: thread.spawn(forever(ended)))
    thread.end()
    thread.end()
    thread.call_soon(list)
    assert (closed.done, ended) == (True, ["cancelled"])
    with pytest.raises(LocalProtocolError, match="the interpreter ends"):
        thread.run(asyncio.sleep(0))


def test_a_context_manager_is_held_in_one_task() -> None:
    steps: list[object] = []

    @asynccontextmanager
    async def context(fails: bool) -> AsyncIterator[int]:
        task = asyncio.current_task()
        if fails:
            raise KeyError
        yield 7
        steps.append(asyncio.current_task() is task)

    with loop_thread().held(context(fails=False)) as value:
        assert value == 7
        assert steps == []
    assert steps == [True]
    with pytest.raises(KeyError), loop_thread().held(context(fails=True)):
        pass
