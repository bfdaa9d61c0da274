"""However many connections, associations, bindings and sessions there were, good ones and failed ones, all that they took is
free again: descriptors, tasks, threads, objects, entries of tables. `make deep` makes a thousand of each kind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from socks6.client.client import Client
from tests.kit.census import Census, settled
from tests.kit.loops import LOOP_FACTORIES
from tests.kit.operations import ALL, FAILURES, SOME, Operation, World, noop, operations, world

AT_A_TIME: Final = 10
SLACK: Final = 9  # of what is kept for the next use; less than there are of the fewest
SECONDS: Final = 1_800.0

pytestmark = pytest.mark.e2e


async def sessions(scene: World, _: Client) -> None:
    """Open one, with a client of its own, and have it torn down."""
    async with scene.client() as client:
        await noop(scene, client)


async def sessions_that_are_left(scene: World, _: Client) -> None:
    """Open one, and leave it to the proxy's time-out."""
    client = scene.client()
    await client.noop()
    client.close_idle()


def kinds(transport: str) -> Mapping[str, Operation]:
    """Return everything that there is to be done over and over."""
    more = {kind.__name__: kind for kind in (sessions, sessions_that_are_left, *FAILURES)}
    if transport == "auto, over tls":
        del more["associate_elsewhere"]
    return {**operations(transport), **more}


@asynccontextmanager
async def playing(transport: str, folder: Path) -> AsyncIterator[World]:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with asyncio.timeout(SECONDS), world(transport, folder) as scene:
        yield scene
    assert not complaints


async def make(count: int, scene: World, kind: Operation) -> None:
    """Do something so often, several at a time."""
    async with scene.client() as client:
        for _ in range(0, count, AT_A_TIME):
            async with asyncio.TaskGroup() as group:
                for _ in range(min(count, AT_A_TIME)):
                    group.create_task(kind(scene, client))  # type: ignore[arg-type]  # they are coroutines


async def count_after(count: int, transport: str, folder: Path) -> None:
    async with playing(transport, folder) as scene:
        for kind in kinds(transport).values():
            await make(AT_A_TIME, scene, kind)
        assert await settled(sessions_now) == {}  # the proxy ends those that were left
        before = Census.take()
        for name, kind in kinds(transport).items():
            await make(count, scene, kind)
            if count > AT_A_TIME:
                assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}, name
        assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}


def sessions_now() -> dict[str, int]:
    """Return the proxy's sessions, as what is to be waited for."""
    name = "socks6.proxy.sessions.Session"
    return {name: left} if (left := Census.take().objects[name]) else {}


@pytest.mark.parametrize(
    ("transport", "loop_name", "count"),
    [
        *((transport, loop_name, AT_A_TIME) for transport, loop_name in SOME),
        *(pytest.param(transport, loop_name, 1_000, marks=pytest.mark.deep) for transport, loop_name in ALL),
    ],
)
def test_nothing_is_kept_of_what_is_over(tmp_path: Path, transport: str, loop_name: str, count: int) -> None:
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(count_after(count, transport, tmp_path))
