"""Bounds that many share."""

import pytest

from socks6.net.shares import Shares


def take_all(shares: Shares, *holders: str) -> dict[str, int]:
    """Have holders take one after the other, for as long as any may; return what each has got."""
    got = dict.fromkeys(holders, 0)
    while any(shares.may_take(holder) for holder in holders):
        for holder in holders:
            if shares.may_take(holder):
                shares.take(holder)
                got[holder] += 1
    return got


@pytest.mark.parametrize(("holders", "each"), [("a", 32), ("ab", 21), ("abc", 16), ("abcdefg", 8)])
def test_who_takes_all_it_can_get_leaves_as_much_to_the_next(holders: str, each: int) -> None:
    shares = Shares(64)
    got = take_all(shares, *holders)
    assert each <= min(got.values()) <= max(got.values()) <= each + 1
    assert shares.may_take("newcomer")


def test_somebody_new_finds_something_while_fewer_than_all_hold_any() -> None:
    shares = Shares(64)
    take_all(shares, *map(str, range(63)))
    assert shares.may_take("newcomer")
    shares.take("newcomer")
    assert shares.count == 64
    assert not shares.may_take("one more")


def test_what_is_given_back_may_be_taken_again() -> None:
    shares = Shares(2)
    shares.take("a")
    assert not shares.may_take("a")
    shares.give_back("a")
    assert shares.count == 0
    assert shares.may_take("a")
