"""Time-outs of relays, on a clock that the test moves."""

import asyncio

import pytest

from socks6.relay.idle import MAX_CHECK_SECONDS, IdleMonitor
from tests.kit.clock import ManualClock
from tests.kit.loops import Run
from tests.kit.streams import until


class Quiet:
    """A relay in which only the test moves something."""

    def __init__(self) -> None:
        self.seen = 0
        self.quiet_since = 0.0
        self.moved = 0
        self.half = False
        self.expired = ""
        self.lasting = 0

    def lasts(self) -> None:
        self.lasting += 1

    def activity(self) -> int:
        return self.moved + self.half

    def half_closed(self) -> bool:
        return self.half

    def expire(self, reason: str) -> None:
        self.expired = reason


class Scene:
    """A watch over one relay: idle after 100 seconds, half closed and silent after 10."""

    def __init__(self, idle_timeout: float = 100.0, fin_timeout: float = 10.0) -> None:
        self.clock = ManualClock()
        self.watch = IdleMonitor(idle_timeout=idle_timeout, fin_timeout=fin_timeout, clock=self.clock)
        self.relay = Quiet()
        self.watch.add(self.relay)

    def after(self, seconds: float) -> str:
        """Let time pass and look; return why the relay was ended, if it was."""
        self.clock.advance(seconds)
        self.watch.look()
        return self.relay.expired


def on_a_loop(run: Run, test: "object") -> None:
    """Run a plain function within a loop: adding a relay sets the loop's timer."""

    async def play() -> None:
        assert callable(test)
        test()

    run(play())


def test_a_silent_relay_ends_when_its_time_is_up(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        assert relayed.after(99) == ""
        assert relayed.after(1) == "idle"
        relayed.watch.close()

    on_a_loop(run, scene)


def test_a_relay_that_lasts_knows_it_by_the_first_look(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        assert relayed.relay.lasting == 0
        relayed.after(1)
        relayed.after(1)
        assert relayed.relay.lasting == 1
        relayed.watch.close()

    on_a_loop(run, scene)


def test_where_nothing_looks_every_relay_is_one_that_lasts(run: Run) -> None:
    def scene() -> None:
        assert Scene(idle_timeout=0, fin_timeout=0).relay.lasting == 1

    on_a_loop(run, scene)


def test_whatever_moves_starts_the_time_anew(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        relayed.after(99)
        relayed.relay.moved += 1
        assert relayed.after(50) == ""
        assert relayed.after(99) == ""
        assert relayed.after(1) == "idle"
        relayed.watch.close()

    on_a_loop(run, scene)


def test_a_half_closed_relay_has_less_time_from_the_close_on(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        relayed.after(90)
        relayed.relay.half = True
        assert relayed.after(5) == ""
        assert relayed.after(9) == ""
        assert relayed.after(1) == "half closed and silent"
        relayed.watch.close()

    on_a_loop(run, scene)


def test_a_half_closed_relay_goes_on_for_as_long_as_it_moves(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        relayed.relay.half = True
        for _ in range(100):
            relayed.relay.moved += 1
            assert relayed.after(9) == ""
        relayed.watch.close()

    on_a_loop(run, scene)


@pytest.mark.parametrize(("idle", "fin", "half"), [(0, 10, False), (100, 0, True), (0, 0, False)])
def test_nought_is_never(run: Run, idle: float, fin: float, half: bool) -> None:
    def scene() -> None:
        relayed = Scene(idle_timeout=idle, fin_timeout=fin)
        relayed.relay.half = half
        assert relayed.after(1) == ""
        assert relayed.after(1_000_000) == ""
        relayed.watch.close()

    on_a_loop(run, scene)


def test_an_expired_relay_is_expired_once(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        relayed.after(100)
        relayed.relay.expired = ""
        assert relayed.after(100) == ""
        relayed.watch.close()

    on_a_loop(run, scene)


def test_a_removed_relay_is_left_alone(run: Run) -> None:
    def scene() -> None:
        relayed = Scene()
        relayed.watch.remove(relayed.relay)
        relayed.watch.remove(relayed.relay)
        assert relayed.after(1000) == ""
        relayed.watch.close()

    on_a_loop(run, scene)


def test_the_watch_looks_by_itself(run: Run) -> None:
    async def play() -> None:
        watch = IdleMonitor(idle_timeout=0.02, fin_timeout=0)
        relay = Quiet()
        watch.add(relay)
        await until(lambda: relay.expired)
        watch.close()

    run(play())


def test_no_timer_is_left_when_there_is_nothing_to_watch(run: Run) -> None:
    async def play() -> None:
        watch = IdleMonitor(idle_timeout=0.01, fin_timeout=0)
        relay = Quiet()
        watch.add(relay)
        watch.remove(relay)
        await asyncio.sleep(0.02)
        assert watch._timer is None
        watch.close()

    run(play())


def test_looks_are_seldom_and_seldom_late() -> None:
    assert IdleMonitor(idle_timeout=7440, fin_timeout=60)._period == MAX_CHECK_SECONDS
    assert IdleMonitor(idle_timeout=8, fin_timeout=60)._period == 2
    assert IdleMonitor(idle_timeout=0, fin_timeout=4)._period == 1
    assert IdleMonitor(idle_timeout=0, fin_timeout=0)._period == 0
