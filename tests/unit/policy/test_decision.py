"""Decisions."""

from socks6.policy.decision import ALLOWED, Decision, refused


def test_a_refusal_gives_its_reason() -> None:
    assert refused("loopback address") == Decision(allowed=False, reason="loopback address")


def test_an_allowance_needs_no_reason() -> None:
    assert Decision(allowed=True, reason="") == ALLOWED
