"""Penalties for guessing."""

import pytest

from socks6.proxy.authentication.penalty import FailurePenalties

SOURCE = "203.0.113.5"


def fail(penalties: FailurePenalties, source: str, times: int, now: float = 0.0) -> None:
    """Fail so often at one moment."""
    for _ in range(times):
        penalties.failed(source, now)


def test_a_few_failures_are_forgiven() -> None:
    penalties = FailurePenalties(limit=3)
    fail(penalties, SOURCE, 2)
    assert not penalties.blocked(SOURCE, 0.0)


def test_too_many_cost_a_while() -> None:
    penalties = FailurePenalties(limit=3, penalty=60.0)
    fail(penalties, SOURCE, 3, now=5.0)
    assert penalties.blocked(SOURCE, 5.0)
    assert penalties.blocked(SOURCE, 64.9)
    assert not penalties.blocked(SOURCE, 65.0)


def test_others_are_not_touched() -> None:
    penalties = FailurePenalties(limit=1)
    fail(penalties, SOURCE, 1)
    assert not penalties.blocked("203.0.113.6", 0.0)


def test_old_failures_do_not_count() -> None:
    penalties = FailurePenalties(limit=3, window=120.0)
    fail(penalties, SOURCE, 2, now=0.0)
    fail(penalties, SOURCE, 2, now=121.0)
    assert not penalties.blocked(SOURCE, 121.0)
    fail(penalties, SOURCE, 1, now=122.0)
    assert penalties.blocked(SOURCE, 122.0)


def test_the_count_begins_anew_after_a_penalty() -> None:
    penalties = FailurePenalties(limit=2, penalty=60.0)
    fail(penalties, SOURCE, 2)
    fail(penalties, SOURCE, 1, now=61.0)
    assert not penalties.blocked(SOURCE, 61.0)
    fail(penalties, SOURCE, 1, now=62.0)
    assert penalties.blocked(SOURCE, 62.0)


def test_a_new_window_does_not_end_a_penalty() -> None:
    penalties = FailurePenalties(limit=2, window=10.0, penalty=60.0)
    fail(penalties, SOURCE, 2)
    fail(penalties, SOURCE, 1, now=20.0)
    assert penalties.blocked(SOURCE, 21.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_sources_of_one_owner_count_together(one: str, other: str) -> None:
    penalties = FailurePenalties(limit=1)
    fail(penalties, one, 1)
    assert penalties.blocked(other, 0.0)


def test_sources_of_two_owners_do_not() -> None:
    penalties = FailurePenalties(limit=1)
    fail(penalties, "2001:db8:1:2::1", 1)
    assert not penalties.blocked("2001:db8:1:3::1", 0.0)
    assert not penalties.blocked("0.0.0.1", 0.0)


@pytest.mark.parametrize("source", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "unix", ""])
def test_this_machine_is_exempt(source: str) -> None:
    penalties = FailurePenalties(limit=1)
    fail(penalties, source, 5)
    assert not penalties.blocked(source, 0.0)
    assert len(penalties) == 0


def test_the_quietest_source_is_forgotten_first() -> None:
    penalties = FailurePenalties(limit=2, table_size=2)
    for source in ("203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.3"):
        fail(penalties, source, 1)
    assert penalties.blocked("203.0.113.1", 0.0)
    assert len(penalties) == 2
    fail(penalties, "203.0.113.2", 1)
    assert not penalties.blocked("203.0.113.2", 0.0)


@pytest.mark.parametrize("sizes", [{"limit": 0}, {"name_limit": 0}, {"table_size": 0}])
def test_no_limit_is_no_setting(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FailurePenalties(**{"limit": 1, "name_limit": 1, "table_size": 1, **sizes})  # type: ignore[arg-type]  # names are the test's


def test_each_penalty_is_reported_once() -> None:
    reported: list[tuple[str, bytes | None, float]] = []
    penalties = FailurePenalties(
        limit=3, name_limit=2, penalty=60.0, on_penalty=lambda *penalty: reported.append(penalty)
    )
    for _ in range(3):
        penalties.failed("203.0.113.1", 0.0, name=b"alice")
    assert reported == [("203.0.113.1", b"alice", 60.0), ("203.0.113.1", None, 60.0)]


def test_guesses_at_one_name_shut_out_that_name_alone() -> None:
    penalties = FailurePenalties(limit=8, name_limit=3)
    for _ in range(3):
        penalties.failed(SOURCE, 0.0, name=b"alice")
    assert penalties.blocked(SOURCE, 0.0, name=b"alice")
    assert not penalties.blocked(SOURCE, 0.0, name=b"bob")
    assert not penalties.blocked(SOURCE, 0.0)


def test_guesses_at_many_names_shut_out_the_source() -> None:
    penalties = FailurePenalties(limit=8, name_limit=3)
    for number in range(8):
        assert not penalties.blocked(SOURCE, 0.0, name=b"bob")
        penalties.failed(SOURCE, 0.0, name=b"user%d" % number)
    assert penalties.blocked(SOURCE, 0.0, name=b"bob")


@pytest.mark.parametrize(("subnet", "times"), [("2001:db8:0:12{:02x}::1", 2), ("2001:db8:0:{:x}00::1", 3)])
def test_wider_networks_have_wider_bounds(subnet: str, times: int) -> None:
    penalties = FailurePenalties(limit=20, name_limit=20)
    for number in range(20 * times):
        assert not penalties.blocked(subnet.format(255), 0.0)
        penalties.failed(subnet.format(number), 0.0, name=b"alice")
    assert penalties.blocked(subnet.format(255), 0.0)
    assert not penalties.blocked("2001:db8:1::1", 0.0)


def test_attempts_under_way_are_counted_ahead() -> None:
    penalties = FailurePenalties(limit=9, name_limit=3)
    assert [penalties.reserve(SOURCE, 0.0, name=b"alice") for _ in range(4)] == [True, True, True, False]
    assert penalties.reserve(SOURCE, 0.0, name=b"bob")
    assert not penalties.blocked(SOURCE, 0.0, name=b"alice")
    penalties.settle(SOURCE, 0.0, name=b"alice", failed=False)
    assert penalties.reserve(SOURCE, 0.0, name=b"alice")
    for _ in range(3):
        penalties.settle(SOURCE, 0.0, name=b"alice", failed=True)
    assert penalties.blocked(SOURCE, 0.0, name=b"alice")
    assert not penalties.blocked(SOURCE, 0.0, name=b"bob")


def test_failures_of_long_ago_reserve_nothing() -> None:
    penalties = FailurePenalties(limit=2, window=120.0)
    penalties.failed(SOURCE, 0.0)
    assert penalties.reserve(SOURCE, 0.0)
    assert not penalties.reserve(SOURCE, 0.0)
    assert penalties.reserve(SOURCE, 121.0)


def test_this_machine_may_have_any_number_under_way() -> None:
    penalties = FailurePenalties(limit=1)
    assert all(penalties.reserve("127.0.0.1", 0.0) for _ in range(5))


def test_a_failure_may_say_less_than_others() -> None:
    penalties = FailurePenalties(limit=2)
    for _ in range(7):
        penalties.failed(SOURCE, 0.0, weight=0.25)
    assert not penalties.blocked(SOURCE, 0.0)
    penalties.failed(SOURCE, 0.0, weight=0.25)
    assert penalties.blocked(SOURCE, 0.0)


def test_penalties_that_last_are_listed_and_lifted_by_address_and_by_network() -> None:
    penalties = FailurePenalties(limit=2, name_limit=1)
    penalties.failed("192.0.2.7", 0.0, name=b"alice")
    for _ in range(2):
        penalties.failed("2001:db8::1", 0.0)
    assert {(one.source, one.user, one.seconds) for one in penalties.active(10.0)} == {
        ("192.0.2.7", "alice", 50.0),
        ("2001:db8::/64", "", 50.0),
    }
    assert not penalties.active(60.0)
    assert penalties.lift("198.51.100.0/24", 10.0) == 0
    assert penalties.lift("192.0.2.0/24", 10.0) == 1
    assert penalties.lift("2001:db8::9", 10.0) == 1
    assert len(penalties) == 0
    assert not penalties.blocked("2001:db8::1", 10.0)
    with pytest.raises(ValueError, match="nonsense"):
        penalties.lift("nonsense", 10.0)
