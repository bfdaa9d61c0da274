"""Who may bind which place, and who may connect to it."""

import pytest

from socks6.message.codes import Command
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import ALLOWED, Decision, Policy, Rule, refused

ALICE = Identity(name="alice")
OURS = "93.184.216.34"
LOW = refused("a port below 1024")
NAMED = refused("a port that neither a rule nor bind.ports opens")


def judge_place(
    *rules: Rule, address: str = OURS, port: int = 0, name: str = "", allow_private: bool = False
) -> Decision:
    policy = Policy(rules=rules, allow_private=allow_private)
    return policy.judge_address(ANONYMOUS, Command.BIND, name or address, address, port)


def judge_peer(*rules: Rule, address: str = "203.0.113.5", who: Identity = ANONYMOUS) -> Decision:
    return Policy(rules=rules).judge_peer(who, address, 51234)


@pytest.mark.parametrize("address", [OURS, "0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_a_free_port_of_any_place_of_this_machine_may_be_bound(address: str) -> None:
    assert judge_place(address=address) == ALLOWED


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1", "loopback"), ("10.0.0.1", "private"), ("0.0.0.1", "unspecified")]
)
def test_private_places_only_where_these_are_open(address: str, reason: str) -> None:
    assert judge_place(address=address) == refused(f"{reason} address")
    assert judge_place(address=address, allow_private=True) == ALLOWED
    assert judge_place(Rule.parse("allow", hosts=[f"{address}/32"]), address=address) == ALLOWED


def test_nowhere_is_no_destination_for_all_that() -> None:
    decision = Policy().judge_address(ANONYMOUS, Command.CONNECT, "0.0.0.0", "0.0.0.0", 80)
    assert decision == refused("unspecified address")


@pytest.mark.parametrize("port", [1024, 8080, 65535])
@pytest.mark.parametrize("allow_private", [True, False])
def test_a_port_that_is_named_needs_a_rule_that_means_it(port: int, allow_private: bool) -> None:
    assert judge_place(port=port, allow_private=allow_private) == NAMED
    for vague in ({}, {"commands": ["bind"]}, {"ports": ["1-65535"]}):
        assert judge_place(Rule.parse("allow", **vague), port=port) == NAMED
    assert judge_place(Rule.parse("allow", commands=["bind"], ports=["1024-65535"]), port=port) == ALLOWED


def test_or_it_is_one_of_those_that_clients_get_anyhow() -> None:
    policy = Policy(bind_ports=range(900, 9000), rules=(Rule.parse("deny", ports=["7000"]),))

    def judged(port: int) -> Decision:
        return policy.judge_address(ANONYMOUS, Command.BIND, "", OURS, port)

    assert judged(8999) == judged(900) == ALLOWED
    assert judged(9000) == NAMED
    assert judged(899) == LOW
    assert judged(7000) == refused("denied by rule 1")


def test_a_group_that_is_open_may_be_joined_at_any_port() -> None:
    assert judge_place(address="239.1.2.3", port=5353) == refused("multicast address")
    assert judge_place(address="239.1.2.3", port=5353, allow_private=True) == ALLOWED
    assert judge_place(Rule.parse("allow", hosts=["239.0.0.0/8"]), address="239.1.2.3", port=5353) == ALLOWED
    assert judge_place(address="239.1.2.3", port=53, allow_private=True) == LOW


def test_what_another_proxy_binds_is_for_its_rules_to_judge() -> None:
    assert Policy().judge_name(ANONYMOUS, Command.BIND, "0.0.0.0", 8080, final=True) == ALLOWED
    assert Policy().judge_name(ANONYMOUS, Command.BIND, "0.0.0.0", 80, final=True) == LOW


@pytest.mark.parametrize("port", [1, 80, 1023])
def test_low_ports_need_a_rule_that_means_them(port: int) -> None:
    assert judge_place(port=port, allow_private=True) == LOW
    for vague in ({}, {"commands": ["bind"]}, {"ports": ["1-1023"]}):
        assert judge_place(Rule.parse("allow", **vague), port=port) == LOW
    assert judge_place(Rule.parse("allow", commands=["bind"], ports=["1-1023"]), port=port) == ALLOWED
    assert judge_place(Rule.parse("deny", commands=["bind"], ports=["1-1023"]), port=port) == LOW


def test_such_a_rule_may_be_about_a_name() -> None:
    rule = Rule.parse("allow", commands=["bind"], ports=["80"], hosts=["www.example"])
    assert judge_place(rule, name="www.example", port=80) == ALLOWED
    assert judge_place(rule, name="ftp.example", port=80) == LOW


def test_rules_say_which_ports_may_be_bound() -> None:
    rules = (
        Rule.parse("allow", commands=["bind"], ports=["8000-8999"]),
        Rule.parse("deny", commands=["bind"]),
    )
    assert judge_place(*rules, port=8080) == ALLOWED
    assert judge_place(*rules, port=9000) == refused("denied by rule 2")
    assert judge_place(*rules, port=0) == refused("denied by rule 2")


@pytest.mark.parametrize("address", ["203.0.113.5", "10.0.0.5", "127.0.0.1", "::1", "::ffff:10.0.0.5"])
def test_any_peer_may_come(address: str) -> None:
    assert judge_peer(address=address) == ALLOWED


@pytest.mark.parametrize("commands", [["peer"], []])
def test_a_rule_keeps_peers_away(commands: list[str]) -> None:
    rule = Rule.parse("deny", hosts=["203.0.113.0/24"], commands=commands)
    assert judge_peer(rule) == refused("denied by rule 1")
    assert judge_peer(rule, address="::ffff:203.0.113.5") == refused("denied by rule 1")
    assert judge_peer(rule, address="203.0.114.5") == ALLOWED


def test_rules_let_only_some_peers_in() -> None:
    rules = (
        Rule.parse("allow", hosts=["203.0.113.0/24"], commands=["peer"]),
        Rule.parse("deny", commands=["peer"]),
    )
    assert judge_peer(*rules) == ALLOWED
    assert judge_peer(*rules, address="10.0.0.5") == refused("denied by rule 2")


def test_a_rule_about_peers_is_about_whose_listener_it_is() -> None:
    rule = Rule.parse("deny", users=["alice"], commands=["peer"])
    assert judge_peer(rule, who=ALICE) == refused("denied by rule 1")
    assert judge_peer(rule) == ALLOWED


def test_rules_about_other_commands_or_names_are_not_about_peers() -> None:
    assert judge_peer(Rule.parse("deny", commands=["bind", "connect"])) == ALLOWED
    assert judge_peer(Rule.parse("deny", hosts=["*.example"])) == ALLOWED


def test_a_peer_without_an_address_stays_outside() -> None:
    assert judge_peer(address="somewhere") == refused("not an address")
