"""Commands that are judged before it is known what they will reach."""

import pytest

from socks6.message.codes import Command
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy, Rule

ALICE = Identity(name="alice")
UDP = Command.UDP_ASSOCIATE


def test_without_rules_every_command_may_begin() -> None:
    assert Policy().judge_command(ANONYMOUS, UDP).allowed


def test_a_command_that_is_denied_everywhere_is_refused_at_once() -> None:
    policy = Policy(rules=(Rule.parse("deny", commands=["udp"]),))
    assert policy.judge_command(ANONYMOUS, UDP).reason == "denied by rule 1"
    assert policy.judge_command(ANONYMOUS, Command.CONNECT).allowed


def test_a_rule_is_for_its_users() -> None:
    policy = Policy(rules=(Rule.parse("deny", users=["alice"]),))
    assert not policy.judge_command(ALICE, UDP).allowed
    assert policy.judge_command(ANONYMOUS, UDP).allowed


@pytest.mark.parametrize("some", [{"hosts": ["192.0.2.1"]}, {"ports": ["53"]}])
def test_a_command_that_is_denied_to_some_places_may_begin(some: dict[str, list[str]]) -> None:
    policy = Policy(rules=(Rule.parse("deny", **some),))
    assert policy.judge_command(ANONYMOUS, UDP).allowed


def test_what_is_allowed_somewhere_may_begin() -> None:
    policy = Policy(rules=(Rule.parse("allow", hosts=["192.0.2.1"]), Rule.parse("deny")))
    assert policy.judge_command(ANONYMOUS, UDP).allowed
