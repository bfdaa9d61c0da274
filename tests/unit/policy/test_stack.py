"""Bounds of stack options."""

import pytest

from socks6.errors import ConfigurationError
from socks6.message.codes import Availability, Leg
from socks6.message.options import HappyEyeballs, Multipath, StackOption, Tfo, Tos, Ttl
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.stack import StackRule, permit_options

ALICE = Identity(name="alice")
LOW_TTL = Ttl(leg=Leg.PROXY_REMOTE, ttl=3)
EXPEDITED = Tos(leg=Leg.BOTH, tos=46 << 2 | 1)


def permit(rule: StackRule, *options: StackOption, identity: Identity = ANONYMOUS) -> tuple[StackOption, ...]:
    return permit_options((rule,), identity, options)


def test_without_rules_everything_is_applied() -> None:
    assert permit_options((), ANONYMOUS, (LOW_TTL, EXPEDITED)) == (LOW_TTL, EXPEDITED)


def test_a_forbidden_option_is_not_applied() -> None:
    rule = StackRule.parse(forbid=["tfo", "multipath"])
    options = Tfo(payload_size=9), LOW_TTL, Multipath(availability=Availability.YES)
    assert permit(rule, *options) == (LOW_TTL,)


def test_forbidden_happy_eyeballs_are_not_done() -> None:
    wish = HappyEyeballs(availability=Availability.YES)
    assert permit(StackRule.parse(forbid=["happy-eyeballs"]), wish) == (
        HappyEyeballs(availability=Availability.NO),
    )


def test_a_ttl_under_the_floor_is_raised_to_it() -> None:
    rule = StackRule.parse(lowest_ttl=32)
    assert permit(rule, LOW_TTL) == (Ttl(leg=Leg.PROXY_REMOTE, ttl=32),)
    assert permit(rule, Ttl(leg=Leg.BOTH, ttl=32)) == (Ttl(leg=Leg.BOTH, ttl=32),)


def test_only_allowed_code_points_are_applied() -> None:
    assert permit(StackRule.parse(dscp=[46, 0]), EXPEDITED) == (EXPEDITED,)
    assert permit(StackRule.parse(dscp=[0]), EXPEDITED) == ()


def test_the_first_rule_about_the_user_decides() -> None:
    rules = (StackRule.parse(users=["alice"]), StackRule.parse(forbid=["ttl"]))
    assert permit_options(rules, ALICE, (LOW_TTL,)) == (LOW_TTL,)
    assert permit_options(rules, Identity(name="bob"), (LOW_TTL,)) == ()


@pytest.mark.parametrize("ttl", [0, 256])
def test_an_impossible_floor_is_refused(ttl: int) -> None:
    with pytest.raises(ConfigurationError, match=str(ttl)):
        StackRule.parse(lowest_ttl=ttl)


def test_an_impossible_code_point_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="64"):
        StackRule.parse(dscp=[64])


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="happy-eyeballs"):
        StackRule.parse(forbid=["nagle"])
