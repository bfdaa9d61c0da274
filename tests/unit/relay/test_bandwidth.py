"""Meters on a clock that the test moves: rates, bursts, fairness, datagrams, quotas."""

import pytest

from socks6.relay.bandwidth import MIN_BURST, TURN_SECONDS, Meter, Quota
from tests.kit.clock import ManualScheduler

RATE = 1_000_000


class Reader:
    """A stream whose source has any number of bytes, or `left`."""

    def __init__(self, meter: Meter, left: int = 1 << 60) -> None:
        self.meter = meter
        self.left = left
        self.read: list[int] = []
        self.failed: list[Exception] = []
        self.breaks = False

    def go_on(self) -> None:
        if self.breaks:
            raise ConnectionResetError
        while self.left and (most := min(self.meter.allow(self), self.left)):
            self.left -= most
            self.read.append(most)
            self.meter.spend(most)

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


class Scene:
    """A meter, readers and datagrams."""

    def __init__(self, rate: int = RATE, burst: int = 0, quota: int = 0) -> None:
        self.scheduler = ManualScheduler()
        self.reached = 0
        self.quota = Quota(quota, self.scheduler, self.on_reached) if quota else None
        self.meter = Meter(self.scheduler)
        self.meter.set_limits(rate=rate, burst=burst, quota=self.quota)

    def on_reached(self) -> None:
        self.reached += 1

    def readers(self, number: int) -> list[Reader]:
        readers = [Reader(self.meter) for _ in range(number)]
        for reader in readers:
            reader.go_on()
        return readers


@pytest.mark.parametrize("number", [1, 8])
@pytest.mark.parametrize("rate", [1_000, 100_000, RATE, 100 * RATE])
def test_the_rate_is_kept_and_shared(number: int, rate: int) -> None:
    scene = Scene(rate)
    readers = scene.readers(number)
    before = sum(map(sum, (reader.read for reader in readers)))
    assert before == max(rate // 8, MIN_BURST)
    started = [sum(reader.read) for reader in readers]
    scene.scheduler.advance(20)
    got = [sum(reader.read) - start for reader, start in zip(readers, started, strict=True)]
    assert sum(got) == pytest.approx(20 * rate, rel=0.01)
    assert max(got) - min(got) <= max(4_096, rate * TURN_SECONDS)
    assert scene.meter.carried == sum(got) + before


def test_it_goes_smoothly() -> None:
    scene = Scene()
    (reader,) = scene.readers(1)
    for _ in range(20):
        reader.read.clear()
        scene.scheduler.advance(0.05)
        assert sum(reader.read) == pytest.approx(50_000, rel=0.5)


def test_what_was_not_used_adds_up_to_a_burst_and_no_more() -> None:
    scene = Scene(burst=500_000)
    reader = Reader(scene.meter)
    scene.scheduler.advance(100)
    assert scene.meter.is_full
    reader.go_on()
    assert sum(reader.read) == 500_000
    assert not scene.meter.is_full


def test_a_burst_too_small_for_the_timer_does_not_lower_the_rate() -> None:
    scene = Scene(burst=1)
    (reader,) = scene.readers(1)
    scene.scheduler.advance(10)
    assert sum(reader.read) == pytest.approx(10 * RATE, rel=0.02)


def test_who_has_little_does_not_wait_for_who_has_much() -> None:
    scene = Scene()
    scene.readers(7)
    small = Reader(scene.meter, left=20_000)
    small.go_on()
    scene.scheduler.advance(0.5)
    assert not small.left


def test_a_turn_that_breaks_costs_the_others_nothing() -> None:
    scene = Scene()
    broken, other = scene.readers(2)
    broken.breaks = True
    scene.scheduler.advance(1)
    assert len(broken.failed) == 1
    assert sum(other.read) == pytest.approx(RATE, rel=0.05)


@pytest.mark.parametrize("rate", [0, 10 * RATE, RATE // 10])
def test_another_rate_holds_at_once(rate: int) -> None:
    scene = Scene()
    (reader,) = scene.readers(1)
    scene.scheduler.advance(1)
    reader.read.clear()
    if not rate:
        reader.left = 50 * RATE
    scene.meter.set_limits(rate=rate)
    scene.scheduler.advance(1)
    assert sum(reader.read) == (pytest.approx(rate, abs=MIN_BURST + rate // 8) if rate else 50 * RATE)
    assert scene.scheduler.waiting == bool(rate)


def test_a_rate_where_there_was_none() -> None:
    scene = Scene(rate=0)
    reader = Reader(scene.meter, left=100 * RATE)
    reader.go_on()
    assert not reader.left
    scene.meter.set_limits(rate=RATE)
    reader.left = 1 << 60
    reader.go_on()
    scene.scheduler.advance(10)
    assert sum(reader.read) - 100 * RATE == pytest.approx(10.125 * RATE, rel=0.01)


def flood(scene: Scene, number: int, *, seconds: float, each: int = 1_000) -> list[int]:
    """Let associations want a datagram of `each` bytes every millisecond; return what went of each."""
    budgets = [scene.meter.open_budget() for _ in range(number)]
    went = [0] * number
    for _ in range(int(seconds * 1000)):
        scene.scheduler.advance(0.001)
        for at, budget in enumerate(budgets):
            went[at] += each * budget.take(each)
    for budget in budgets:
        scene.meter.close_budget(budget)
        scene.meter.close_budget(budget)
    return went


@pytest.mark.parametrize("number", [2, 8])
def test_datagrams_beyond_the_rate_are_dropped(number: int) -> None:
    scene = Scene()
    went = flood(scene, number, seconds=10)
    assert sum(went) == pytest.approx(10 * RATE, rel=0.03)
    assert max(went) - min(went) < 0.02 * RATE
    assert scene.meter.dropped == number * 10_000 - sum(went) // 1_000
    assert scene.meter.carried == sum(went)


def test_neither_streams_nor_datagrams_starve_the_other() -> None:
    scene = Scene()
    (reader,) = scene.readers(1)
    reader.read.clear()
    (went,) = flood(scene, 1, seconds=10, each=2_000)
    assert went == pytest.approx(5 * RATE, rel=0.05)
    assert sum(reader.read) == pytest.approx(5 * RATE, rel=0.05)


def test_an_association_that_rests_keeps_little_from_streams() -> None:
    scene = Scene()
    scene.meter.open_budget()
    (reader,) = scene.readers(1)
    scene.scheduler.advance(10)
    assert sum(reader.read) == pytest.approx(10 * RATE, rel=0.03)


def test_datagrams_that_come_after_a_pause_are_not_dropped() -> None:
    scene = Scene()
    budget = scene.meter.open_budget()
    scene.scheduler.advance(10)
    assert scene.scheduler.waiting == 1
    for _ in range(200):
        assert budget.take(900)
        scene.scheduler.advance(0.001)
    budget.give_back(180_000)
    assert scene.meter.carried == 0
    assert scene.meter.dropped == 0


@pytest.mark.parametrize("number", [1, 8])
@pytest.mark.parametrize("rate", [0, 50 * RATE])
def test_streams_stop_at_the_quota(number: int, rate: int) -> None:
    scene = Scene(rate, quota=10 * RATE)
    readers = scene.readers(number)
    scene.scheduler.advance(10)
    assert sum(map(sum, (reader.read for reader in readers))) == 10 * RATE == scene.meter.carried
    assert scene.reached == 1
    if number == 1:
        assert readers[0].read[-1] <= 4_096  # so that little is held in the end


@pytest.mark.parametrize("rate", [0, 5 * RATE])
def test_datagrams_stop_at_the_quota(rate: int) -> None:
    scene = Scene(rate, quota=10 * RATE)
    went = flood(scene, 8, seconds=10)
    assert sum(went) == pytest.approx(10 * RATE, rel=0.001)
    assert scene.reached == 1


def test_the_quota_is_of_both_directions() -> None:
    scene = Scene(quota=RATE)
    other = Meter(scene.scheduler)
    other.set_limits(quota=scene.quota)
    reader = Reader(other, left=600_000)
    reader.go_on()
    budget = other.open_budget()
    scene.readers(1)
    scene.scheduler.advance(10)
    assert scene.meter.carried == 400_000
    assert (other.carried, scene.reached) == (600_000, 1)
    assert not budget.take(1)


def test_what_an_association_held_of_a_quota_is_anothers_once_it_has_ended() -> None:
    scene = Scene(rate=0, quota=100_000)
    budget = scene.meter.open_budget()
    (reader,) = scene.readers(1)
    assert sum(reader.read) < 100_000
    assert scene.reached == 0
    scene.meter.close_budget(budget)
    scene.scheduler.advance(1)
    assert sum(reader.read) == 100_000
    assert scene.reached == 1


def test_a_new_quota_lets_what_waits_go_on() -> None:
    scene = Scene(rate=0, quota=RATE)
    (reader,) = scene.readers(1)
    scene.meter.set_limits(quota=Quota(RATE, scene.scheduler, scene.on_reached))
    scene.scheduler.advance(1)
    assert sum(reader.read) == 2 * RATE
    assert scene.reached == 2


@pytest.mark.parametrize("with_datagrams", [False, True])
def test_no_more_goes_before_it_is_saved_than_the_window_says(*, with_datagrams: bool) -> None:
    scene = Scene(rate=0)
    asked: list[int] = []
    quota = Quota(RATE, scene.scheduler, scene.on_reached, window=50_000, on_unsaved=lambda: asked.append(1))
    scene.meter.set_limits(quota=quota)
    if with_datagrams:
        flood(scene, 1, seconds=1)
    (reader,) = scene.readers(1)
    scene.scheduler.advance(1)
    assert scene.meter.carried == 50_000
    assert asked == [1]
    for saves in range(1, 5):
        scene.meter.settle()
        quota.saved(0)
        scene.meter.go_on()
        scene.scheduler.advance(1)
        assert scene.meter.carried == (saves + 1) * 50_000
        assert len(asked) == saves + 1
    quota.saved(-RATE)
    scene.scheduler.advance(1)
    assert (scene.meter.carried, scene.reached, not reader.left) == (RATE, 1, False)


def test_nothing_runs_once_it_is_closed() -> None:
    scene = Scene()
    scene.meter.open_budget()
    scene.readers(1)
    scene.meter.close()
    scene.meter.close()
    assert scene.scheduler.waiting == 0
