"""Whatever a client does may be cancelled wherever it waits: nothing stays behind, here or at the proxy, and no exception
but the cancellation comes out. `make deep` tries every step."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from socks6.client.client import EXIT_SECONDS
from tests.kit.census import Census, settled
from tests.kit.loops import LOOP_FACTORIES
from tests.kit.operations import ALL, SOME, Operation, World, do, operations, world
from tests.kit.steps import CancelledAt

DEEP_SECONDS: Final = 600.0
SLACK: Final = 8  # objects that a first use leaves, whatever is done

pytestmark = pytest.mark.e2e


def steps(*, every: bool) -> Iterator[int]:
    """Give steps at which to cancel: all, or fewer and fewer."""
    return itertools.count() if every else (number * (number + 1) // 2 for number in itertools.count())


async def cancel_at_each(scene: World, operation: Operation, *, every: bool) -> int:
    """Do something over and over, cancelled a bit later each time, until it is done before; return how often."""
    for count, step in enumerate(steps(every=every)):
        if not await CancelledAt(do(scene, operation), step).run():
            return count
    raise AssertionError


async def play(transport: str, folder: Path, *, every: bool) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with asyncio.timeout(DEEP_SECONDS), world(transport, folder) as scene:
        for operation in operations(transport).values():
            began = loop.time()
            await do(scene, operation)
            assert loop.time() - began < EXIT_SECONDS, operation
        before = Census.take()
        assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}
        before = Census.take()
        for name, operation in operations(transport).items():
            assert await cancel_at_each(scene, operation, every=every) > 1, name
            if every:
                assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}, name
        assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}
    assert not complaints


@pytest.mark.parametrize(
    ("transport", "loop_name", "every"),
    [
        *((transport, loop_name, False) for transport, loop_name in SOME),
        *(pytest.param(transport, loop_name, True, marks=pytest.mark.deep) for transport, loop_name in ALL),
    ],
)
def test_what_is_cancelled_leaves_nothing(
    tmp_path: Path, transport: str, loop_name: str, every: bool
) -> None:
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(play(transport, tmp_path, every=every))
