from typing import Final

import pytest

from tests.kit.link.model import Conditions, Counts, Direction

PACKETS: Final = 20_000
SIZE: Final = 1000


def journey(
    conditions: Conditions, *, seed: int = 1, packets: int = PACKETS, apart: float = 0.001
) -> tuple[list[tuple[float, ...]], Counts]:
    """Send packets so far apart; return when each arrives, and what became of them."""
    direction = Direction(conditions, seed)
    return [direction.arrivals(SIZE, number * apart) for number in range(packets)], direction.counts


def delays(arrivals: list[tuple[float, ...]], apart: float = 0.001) -> list[float]:
    return [arrival - number * apart for number, each in enumerate(arrivals) for arrival in each[:1]]


def fates(conditions: Conditions, seed: int = 1) -> list[int]:
    return [len(each) for each in journey(conditions, seed=seed)[0]]


def test_a_perfect_link_delivers_at_once() -> None:
    arrivals, counts = journey(Conditions(), packets=3)
    assert arrivals == [(0.0,), (0.001,), (0.002,)]
    assert counts == Counts(offered=3)


def test_each_packet_takes_the_delay() -> None:
    arrivals, _ = journey(Conditions(delay=0.05))
    assert delays(arrivals) == pytest.approx([0.05] * PACKETS)


def test_jitter_spreads_evenly_and_keeps_the_order() -> None:
    arrivals, _ = journey(Conditions(delay=0.05, jitter=0.01), apart=0.1)
    seen = delays(arrivals, apart=0.1)
    assert min(seen) == pytest.approx(0.05, abs=1e-4)
    assert max(seen) == pytest.approx(0.06, abs=1e-4)
    assert sum(seen) / PACKETS == pytest.approx(0.055, abs=2e-4)
    close, _ = journey(Conditions(delay=0.05, jitter=0.01))
    assert close == sorted(close)


def test_the_share_that_is_lost() -> None:
    arrivals, counts = journey(Conditions(loss=0.01))
    assert arrivals.count(()) == counts.lost
    assert counts.lost == pytest.approx(200, abs=60)


def test_the_share_that_comes_twice() -> None:
    arrivals, counts = journey(Conditions(duplication=0.1, delay=0.01))
    doubled = [each for each in arrivals if len(each) == 2]
    assert all(first == second for first, second in doubled)
    assert len(doubled) == counts.duplicated == pytest.approx(2000, abs=200)


def test_those_held_back_are_overtaken_and_the_others_are_not() -> None:
    arrivals, counts = journey(Conditions(reordering=0.05, delay=0.01, holdback=0.0045))
    seen = delays(arrivals)
    late = [number for number, delay in enumerate(seen) if delay > 0.014]
    assert len(late) == counts.held_back == pytest.approx(1000, abs=150)
    order = sorted(range(PACKETS), key=lambda number: arrivals[number])
    assert order != sorted(order)
    held = set(late)
    in_place = [number for number in order if number not in held]
    assert in_place == sorted(in_place)


@pytest.mark.parametrize(
    "conditions",
    [Conditions(loss=0.1), Conditions(duplication=0.1), Conditions(reordering=0.1), Conditions(jitter=0.01)],
    ids=["loss", "duplication", "reordering", "jitter"],
)
def test_the_same_seed_brings_the_same_luck_and_another_does_not(conditions: Conditions) -> None:
    once = journey(conditions, seed=1, packets=500)
    assert journey(conditions, seed=1, packets=500) == once
    assert journey(conditions, seed=2, packets=500) != once


def test_the_luck_of_a_packet_depends_on_no_other_condition() -> None:
    plain = fates(Conditions(loss=0.1))
    assert fates(Conditions(loss=0.1, delay=0.1, jitter=0.1, reordering=0.5)) == plain
    worse = fates(Conditions(loss=0.2))
    assert all(not then for now, then in zip(plain, worse, strict=True) if not now)


def test_a_rate_spaces_packets_out() -> None:
    arrivals, counts = journey(Conditions(rate=100_000, delay=0.05), packets=10, apart=0.0)
    assert [each[0] for each in arrivals] == pytest.approx([0.05 + 0.01 * (n + 1) for n in range(10)])
    assert counts.overflowed == 0


def test_an_idle_line_saves_nothing_up() -> None:
    direction = Direction(Conditions(rate=100_000), 1)
    assert direction.arrivals(SIZE, 0.0) == pytest.approx((0.01,))
    assert direction.arrivals(SIZE, 5.0) == pytest.approx((5.01,))


def test_what_does_not_fit_into_the_queue_is_dropped_until_it_has_drained() -> None:
    direction = Direction(Conditions(rate=100_000, queue=3 * SIZE), 1)
    assert [len(direction.arrivals(SIZE, 0.0)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert direction.arrivals(SIZE, 0.0099) == ()
    assert direction.arrivals(SIZE, 0.0101) == pytest.approx((0.04,))
    assert direction.counts == Counts(offered=7, overflowed=3)


def test_what_goes_through_is_what_the_rate_allows() -> None:
    arrivals, _ = journey(Conditions(rate=500_000), packets=2000, apart=0.001)  # twice too much
    arrived = sum(len(each) for each in arrivals if each and each[0] <= 2.0)
    assert arrived * SIZE == pytest.approx(1_000_000, rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("loss", 1.1), ("delay", -0.1), ("rate", float("nan"))])
def test_impossible_conditions_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Conditions(**{name: value})  # type: ignore[arg-type]  # one of the numbers
