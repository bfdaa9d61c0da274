"""Running a coroutine on each kind of event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

TEST_SECONDS: Final = 20.0  # no single test takes this long; a hang becomes a failure

LOOP_FACTORIES: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


class Run:
    """Runs a coroutine on one kind of loop, with a limit; fails on anything the loop reports as unhandled."""

    def __init__(self, loop_name: str) -> None:
        self.loop_name = loop_name

    def __call__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        complaints: list[dict[str, Any]] = []

        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(TEST_SECONDS):
                await coroutine
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"

        with asyncio.Runner(loop_factory=LOOP_FACTORIES[self.loop_name]) as runner:
            runner.run(limited())
        assert not complaints, f"unhandled in the loop: {complaints}"
