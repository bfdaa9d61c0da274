"""Blocking calls beside the loop."""

import asyncio
import threading
from functools import partial

import pytest

from socks6.cli.connect import CallingThread
from tests.kit.loops import Run


def fail() -> None:
    raise BrokenPipeError(32, "Broken pipe")


def test_a_call_returns_what_it_returns_in_another_thread(run: Run) -> None:
    async def scene() -> None:
        thread = CallingThread()
        name = await thread.call(lambda: threading.current_thread().name)
        assert name != threading.current_thread().name
        assert await thread.call(lambda: threading.current_thread().name) == name

    run(scene())


def test_a_call_raises_what_it_raises(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(BrokenPipeError):
            await CallingThread().call(fail)

    run(scene())


def test_a_caller_may_give_up(run: Run) -> None:
    async def scene() -> None:
        thread = CallingThread()
        go_on = threading.Event()
        for call in (go_on.wait, partial(_wait_and_fail, go_on)):
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(thread.call(call))
                await asyncio.sleep(0)
                waiting.cancel()
        go_on.set()
        assert await thread.call(lambda: "still at work") == "still at work"

    run(scene())


def _wait_and_fail(event: threading.Event) -> None:
    event.wait()
    fail()
