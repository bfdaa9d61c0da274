"""Blocks that are undone where they fail, and blocks that end quietly in time."""

import asyncio

import pytest

from socks6.net.scopes import on_failure, time_limit, waited_for, waiting_for
from tests.kit.loops import Run


def test_what_fails_or_is_cancelled_is_undone_and_nothing_else(run: Run) -> None:
    undone: list[str] = []
    with on_failure(lambda: undone.append("whole")):
        pass
    with pytest.raises(KeyError), on_failure(lambda: undone.append("failed")):
        raise KeyError

    async def wait() -> None:
        with on_failure(lambda: undone.append("cancelled")):
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())
    assert undone == ["failed", "cancelled"]


def test_a_block_is_cut_short_quietly(run: Run) -> None:
    async def main() -> None:
        async with time_limit(0.0) as limit:
            await asyncio.get_running_loop().create_future()
        assert limit.expired()
        async with time_limit(None) as limit:
            pass
        assert not limit.expired()

    run(main())


def test_another_time_out_is_raised(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with time_limit(60.0):
                raise TimeoutError

    run(main())


@pytest.mark.parametrize(("inner", "words"), [("the bell", "the bell"), ("", "the door")])
def test_a_time_out_says_what_was_waited_for(run: Run, inner: str, words: str) -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.0):
            with waiting_for("the door"), waiting_for(inner):
                await asyncio.get_running_loop().create_future()

    async def main() -> None:
        with pytest.raises(TimeoutError) as raised:
            await wait()
        assert waited_for(raised.value) == words

    run(main())


def test_a_time_out_of_the_system_waited_for_nothing() -> None:
    assert waited_for(TimeoutError()) == ""
