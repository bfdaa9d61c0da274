"""One timer for many deadlines."""

import asyncio
import gc
import weakref

from socks6.net.transports.deadlines import Deadlines
from tests.kit.loops import Run


def test_items_are_due_in_the_order_of_their_times(run: Run) -> None:
    async def main() -> None:
        due: list[str] = []
        done = asyncio.Event()

        def ring(item: str) -> None:
            due.append(item)
            if len(due) == 3:
                done.set()

        deadlines: Deadlines[str] = Deadlines(ring)
        now = asyncio.get_running_loop().time()
        for item, seconds in (("third", 0.03), ("first", 0.01), ("never", 9.0), ("second", 0.02)):
            deadlines.set(item, now + seconds)
        await done.wait()
        assert due == ["first", "second", "third"]
        assert len(deadlines) == 1
        deadlines.close()

    run(main())


def test_later_or_earlier_deadline_takes_the_place_of_the_first(run: Run) -> None:
    async def main() -> None:
        due: list[tuple[str, float]] = []
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        start = loop.time()

        def ring(item: str) -> None:
            due.append((item, loop.time() - start))
            if len(due) == 2:
                done.set()

        deadlines: Deadlines[str] = Deadlines(ring)
        deadlines.set("sooner", start + 9)
        deadlines.set("later", start + 0.001)
        deadlines.set("later", start + 0.03)
        deadlines.set("sooner", start + 0.005)
        deadlines.set("dropped", start + 0.001)
        deadlines.drop("dropped")
        deadlines.drop("dropped")
        await done.wait()
        assert [item for item, _ in due] == ["sooner", "later"]
        assert due[1][1] >= 0.028
        deadlines.close()

    run(main())


def test_deadlines_set_over_and_over_take_no_room(run: Run) -> None:
    async def main() -> None:
        deadlines: Deadlines[int] = Deadlines(lambda _: None)
        now = asyncio.get_running_loop().time()
        for number in range(10_000):
            deadlines.set(number % 10, now + 5 + number / 1000)
        assert len(deadlines) == 10
        assert len(deadlines._heap) < 100
        deadlines.close()
        deadlines.close()
        assert len(deadlines) == 0

    run(main())


def test_item_may_be_set_anew_when_it_is_due(run: Run) -> None:
    async def main() -> None:
        rings = 0
        done = asyncio.Event()

        def ring(item: str) -> None:
            nonlocal rings
            rings += 1
            if rings == 3:
                done.set()
            else:
                deadlines.set(item, asyncio.get_running_loop().time() + 0.005)

        deadlines: Deadlines[str] = Deadlines(ring)
        deadlines.set("again", 0.0)
        await done.wait()
        deadlines.close()

    run(main())


def test_deadlines_that_are_past_are_due_at_once_and_bar_no_others(run: Run) -> None:
    async def main() -> None:
        due: list[str] = []
        done = asyncio.Event()

        def ring(item: str) -> None:
            due.append(item)
            if len(due) == 3:
                done.set()

        deadlines: Deadlines[str] = Deadlines(ring)
        now = asyncio.get_running_loop().time()
        deadlines.set("past", now - 1)
        deadlines.set("later", now + 0.01)
        deadlines.set("long past", now - 2)
        await done.wait()
        assert due == ["long past", "past", "later"]
        deadlines.close()

    run(main())


class Thing:
    """Something that can be looked for after it is gone."""


def test_an_item_that_was_dropped_is_kept_no_longer(run: Run) -> None:
    async def main() -> None:
        deadlines: Deadlines[Thing] = Deadlines(lambda _: None)
        thing = Thing()
        deadlines.set(thing, asyncio.get_running_loop().time() + 100)
        deadlines.set(thing, asyncio.get_running_loop().time() + 90)
        deadlines.drop(thing)
        gone = weakref.ref(thing)
        del thing
        gc.collect()
        assert gone() is None
        deadlines.close()

    run(main())
