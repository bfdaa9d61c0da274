"""Identities."""

from socks6.policy.identity import ANONYMOUS, Identity


def test_the_anonymous_client_has_no_name() -> None:
    assert Identity(name="") == ANONYMOUS
