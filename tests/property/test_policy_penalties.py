"""Failure penalties, under any history."""

from hypothesis import given
from hypothesis import strategies as st

from socks6.proxy.authentication.penalty import FailurePenalties

SOURCES = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(["unix", "127.0.0.1", "203.0.113.1"]), st.text()
)
HISTORIES = st.lists(st.tuples(SOURCES, st.floats(0, 100)), max_size=60)


@given(HISTORIES, st.integers(1, 8), st.integers(1, 5))
def test_the_table_stays_bounded(history: list[tuple[str, float]], table_size: int, limit: int) -> None:
    penalties = FailurePenalties(limit=limit, table_size=table_size)
    now = 0.0
    for source, pause in history:
        now += pause
        penalties.failed(source, now)
        penalties.blocked(source, now)
        assert len(penalties) <= table_size


@given(HISTORIES)
def test_every_penalty_ends(history: list[tuple[str, float]]) -> None:
    penalties = FailurePenalties(limit=2, penalty=60.0)
    now = 0.0
    for source, pause in history:
        now += pause
        penalties.failed(source, now)
    assert not any(penalties.blocked(source, now + 60.0) for source, _ in history)


@given(st.lists(st.floats(0, 200), max_size=40), st.integers(1, 6))
def test_nobody_is_blocked_for_fewer_failures_than_the_limit(pauses: list[float], limit: int) -> None:
    penalties = FailurePenalties(limit=limit, window=120.0, penalty=60.0)
    now = 0.0
    for count, pause in enumerate(pauses, 1):
        now += pause
        penalties.failed("203.0.113.1", now)
        if penalties.blocked("203.0.113.1", now):
            assert count >= limit
