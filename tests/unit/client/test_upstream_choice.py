"""Which upstream a request tries first, whatever happened before."""

from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.client.upstream_choice import ATTEMPT_SECONDS, MAX_PAUSE_SECONDS, UpstreamChoice, UpstreamOrder

FOREVER: Final = MAX_PAUSE_SECONDS + ATTEMPT_SECONDS
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["attempt", "check", "worked", "failed", "measured", "turn"]),
        st.integers(0, 3),
        st.floats(0, 100),
    ),
    max_size=60,
)


def fail(choice: UpstreamChoice, index: int, now: float) -> None:
    choice.failed(index, now, choice.attempt(index, now))


@given(STEPS, st.sampled_from(UpstreamOrder))
def test_every_upstream_is_tried_once_and_one_that_failed_not_first_for_ever(
    steps: list[tuple[str, int, float]], order: UpstreamOrder
) -> None:
    choice, now, attempts = UpstreamChoice(4, order), 0.0, [0] * 4
    for what, index, number in steps:
        now += number
        if what in ("attempt", "check"):
            attempts[index] = choice.attempt(index, now, is_check=what == "check")
        else:
            happenings: dict[str, Callable[[], None]] = {
                "worked": partial(choice.worked, index),
                "failed": partial(choice.failed, index, now, attempts[index]),
                "measured": partial(choice.measured, index, number),
                "turn": choice.next_turn,
            }
            happenings[what]()
        assert sorted(choice.ranked(now)) == [0, 1, 2, 3]
    firsts = set()
    for _ in range(4):  # nothing is skipped any more
        firsts.add(choice.ranked(now + FOREVER)[0])
        choice.next_turn()
    assert len(firsts) == (4 if order is UpstreamOrder.ROUND_ROBIN else 1)
    assert order is not UpstreamOrder.FAILOVER or firsts == {0}


def test_an_upstream_that_failed_is_skipped_for_ever_longer_pauses_up_to_a_bound() -> None:
    choice, now, pauses = UpstreamChoice(2, UpstreamOrder.FAILOVER), 0.0, []
    for _ in range(9):
        fail(choice, 0, now)
        began = now
        while choice.ranked(now)[0] == 1:
            now += 0.5
        pauses.append(now - began)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_failures_that_were_under_way_together_count_once() -> None:
    choice = UpstreamChoice(2, UpstreamOrder.FAILOVER)
    attempts = [choice.attempt(0, 0.0) for _ in range(50)]
    for attempt in attempts:
        choice.failed(0, 0.5, attempt)
    assert choice.ranked(1.4) == [1, 0]
    assert choice.ranked(1.5) == [0, 1]


def test_attempts_while_all_upstreams_are_down_make_no_pause_longer() -> None:
    choice = UpstreamChoice(2, UpstreamOrder.FAILOVER)
    fail(choice, 0, 0.0)
    fail(choice, 1, 0.0)
    for _ in range(50):
        fail(choice, 0, 0.5)
    assert choice.ranked(0.9) == [0, 1]
    assert choice.ranked(1.0) == [0, 1]
    fail(choice, 0, 1.0)
    assert choice.ranked(1.1) == [1, 0]


def test_after_the_pause_one_request_tries_and_the_others_still_skip() -> None:
    choice = UpstreamChoice(2, UpstreamOrder.FAILOVER)
    fail(choice, 0, 0.0)
    assert choice.ranked(1.0)[0] == 0
    choice.attempt(0, 1.0)
    assert choice.ranked(1.0)[0] == 1
    choice.worked(0)
    assert choice.ranked(1.0)[0] == 0


def test_round_robin_shares_what_is_left_evenly() -> None:
    choice, firsts = UpstreamChoice(3, UpstreamOrder.ROUND_ROBIN), []
    fail(choice, 1, 0.0)
    for _ in range(6):
        firsts.append(choice.ranked(0.0)[0])
        choice.next_turn()
    assert firsts == [0, 2] * 3


@pytest.mark.parametrize(("newest", "first"), [(0.05, 1), (0.5, 0)])
def test_the_upstream_that_answers_soonest_goes_first(newest: float, first: int) -> None:
    choice = UpstreamChoice(3, UpstreamOrder.LEAST_LATENCY)
    choice.measured(0, 0.1)
    choice.measured(1, 0.12)
    choice.measured(1, newest)
    assert choice.ranked(0.0)[0] == first
    assert choice.ranked(0.0)[-1] == 2  # not measured yet
