"""Rules and the policy that they make."""

import pytest

from socks6.errors import ConfigurationError
from socks6.message.codes import Command
from socks6.policy import rules
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.matchers import HostMatcher, PortMatcher
from socks6.policy.rules import ALLOWED, Action, Decision, Policy, Rule, refused

ALICE = Identity(name="alice")
BOB = Identity(name="bob")

PUBLIC = "93.184.216.34"


def allow(*hosts: str) -> Rule:
    return Rule.parse("allow", hosts=hosts)


def deny(*hosts: str) -> Rule:
    return Rule.parse("deny", hosts=hosts)


def judge_name(policy: Policy, host: str, *, who: Identity = ANONYMOUS, final: bool = False) -> Decision:
    return policy.judge_name(who, Command.CONNECT, host, 443, final=final)


def judge_address(policy: Policy, address: str, *, name: str = "example.com") -> Decision:
    return policy.judge_address(ANONYMOUS, Command.CONNECT, name, address, 443)


# Without rules


@pytest.mark.parametrize("host", ["example.com", PUBLIC, "2606:4700:4700::1111", "134744072"])
def test_the_world_is_open(host: str) -> None:
    assert judge_name(Policy(), host) == ALLOWED


def test_a_public_address_is_open() -> None:
    assert judge_address(Policy(), PUBLIC) == ALLOWED


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "loopback address"),
        ("localhost", "loopback address"),
        ("api.localhost.", "loopback address"),
        ("0x7f.1", "loopback address"),
        ("::ffff:10.0.0.1", "private address"),
        ("0.0.0.0", "unspecified address"),
        ("metadata.google.internal", "metadata address"),
        ("100.100.100.200", "metadata address"),
        ("999.1", "not a host name"),
        ("", "not a host name"),
    ],
)
def test_special_hosts_are_refused_before_anything_is_resolved(host: str, reason: str) -> None:
    assert judge_name(Policy(), host) == refused(reason)


def test_a_public_name_with_a_private_address_is_refused() -> None:
    assert judge_address(Policy(), "10.0.0.1") == refused("private address")


def test_what_is_no_address_is_refused() -> None:
    assert judge_address(Policy(), "example.com") == refused("not an address")


def test_private_networks_can_be_opened_all_at_once() -> None:
    policy = Policy(allow_private=True)
    assert judge_name(policy, "localhost") == ALLOWED
    assert judge_address(policy, "10.0.0.1") == ALLOWED
    assert judge_address(policy, "ff02::1") == ALLOWED


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b:1::a9fe:a9fe", "fd00:ec2::254"]
)
def test_a_rule_shuts_metadata_again(address: str) -> None:
    networks = ["169.254.169.254", "fd00:ec2::254"]
    policy = Policy(allow_private=True, rules=(Rule.parse("deny", hosts=networks),))
    assert judge_address(Policy(allow_private=True), address) == ALLOWED
    assert judge_address(policy, address) == refused("denied by rule 1")


# What a rule is about


def test_a_rule_without_conditions_is_about_everything() -> None:
    assert judge_name(Policy(rules=(Rule(action=Action.DENY),)), "example.com") == refused("denied by rule 1")


def test_a_rule_can_be_about_users() -> None:
    policy = Policy(rules=(Rule.parse("deny", users=["bob"]),))
    assert judge_name(policy, "example.com", who=ALICE) == ALLOWED
    assert not judge_name(policy, "example.com", who=BOB).allowed


def test_a_rule_can_be_about_commands() -> None:
    policy = Policy(rules=(Rule.parse("deny", commands=["bind", "udp"]),))
    assert policy.judge_name(ALICE, Command.CONNECT, "example.com", 80).allowed
    assert not policy.judge_name(ALICE, Command.BIND, "example.com", 80).allowed
    assert not policy.judge_name(ALICE, Command.UDP_ASSOCIATE, "example.com", 80).allowed


def test_a_rule_can_be_about_ports() -> None:
    policy = Policy(rules=(Rule.parse("deny", ports=["25"]),))
    assert policy.judge_name(ALICE, Command.CONNECT, "example.com", 80).allowed
    assert not policy.judge_name(ALICE, Command.CONNECT, "example.com", 25).allowed


def test_a_rule_is_read_as_a_configuration_writes_it() -> None:
    rule = Rule.parse("allow", users=["alice"], hosts=["10.0.0.0/8"], ports=["80"], commands=["connect"])
    assert rule == Rule(
        action=Action.ALLOW,
        users=frozenset({"alice"}),
        hosts=HostMatcher.parse(["10.0.0.0/8"]),
        ports=PortMatcher.parse(["80"]),
        commands=frozenset({Command.CONNECT}),
    )


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'permit' is no action: write allow or deny"):
        Rule.parse("permit")


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="'ping' is no command: write noop, connect, bind, udp, peer"
    ):
        Rule.parse("allow", commands=["connect", "ping"])


# Names


def test_the_first_matching_rule_decides() -> None:
    policy = Policy(rules=(allow("www.example.com"), deny(".example.com"), deny("example.org")))
    assert judge_name(policy, "www.example.com") == ALLOWED
    assert judge_name(policy, "ftp.example.com") == refused("denied by rule 2")
    assert judge_name(policy, "example.org") == refused("denied by rule 3")
    assert judge_name(policy, "example.net") == ALLOWED


def test_spelling_does_not_get_around_a_rule() -> None:
    policy = Policy(rules=(deny("example.com"),))
    assert not judge_name(policy, "EXAMPLE.com.").allowed
    assert not judge_address(policy, PUBLIC, name="EXAMPLE.com.").allowed


def test_a_name_is_not_refused_while_its_address_may_redeem_it() -> None:
    policy = Policy(rules=(allow("93.184.0.0/16"), deny()))
    assert judge_name(policy, "example.com") == ALLOWED
    assert judge_address(policy, PUBLIC) == ALLOWED
    assert judge_address(policy, "8.8.8.8") == refused("denied by rule 2")


def test_a_name_is_refused_when_no_address_can_redeem_it() -> None:
    policy = Policy(rules=(deny("8.8.8.8"), deny()))
    assert judge_name(policy, "example.com") == refused("denied by rule 2")


def test_no_address_redeems_a_name_that_another_proxy_resolves() -> None:
    policy = Policy(rules=(allow("93.184.0.0/16"), deny()))
    assert judge_name(policy, "example.com", final=True) == refused("denied by rule 2")
    assert judge_name(policy, PUBLIC, final=True) == ALLOWED


def test_a_rule_may_name_a_fixed_name() -> None:
    policy = Policy(allow_private=True, rules=(deny("localhost"),))
    assert judge_name(policy, "localhost") == refused("denied by rule 1")
    assert judge_name(policy, "127.0.0.1") == ALLOWED


# Addresses


def test_a_literal_is_judged_wholly() -> None:
    policy = Policy(rules=(deny("93.184.216.0/24"),))
    assert judge_name(policy, PUBLIC) == refused("denied by rule 1")
    assert judge_name(policy, "93.12113954") == refused("denied by rule 1")


@pytest.mark.parametrize("wrapped", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_wrapping_does_not_get_around_a_rule(wrapped: str) -> None:
    assert judge_address(Policy(rules=(deny("8.8.8.8"),)), wrapped) == refused("denied by rule 1")


def test_an_allowed_address_may_be_spelled_as_ipv6() -> None:
    policy = Policy(rules=(allow("8.8.8.8"), deny()))
    assert judge_address(policy, "64:ff9b::8.8.8.8") == ALLOWED
    assert judge_address(policy, "2002:808:808::1") == refused("denied by rule 2")


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.2.3", "::ffff:10.1.2.3"),
        ("fd00::/8", "fd00::1"),
        ("169.254.169.254", "169.254.169.254"),
    ],
)
def test_a_rule_opens_a_special_network_by_naming_a_part_of_it(network: str, address: str) -> None:
    assert judge_address(Policy(rules=(allow(network),)), address) == ALLOWED


@pytest.mark.parametrize(
    ("host", "address", "reason"),
    [
        ("0.0.0.0/0", "10.1.2.3", "private address"),
        ("::/0", "::1", "loopback address"),
        ("169.254.0.0/16", "169.254.169.254", "metadata address"),
        ("example.com", "10.1.2.3", "private address"),
        ("2002::/16", "2002:a01:203::1", "private address"),
    ],
)
def test_a_rule_opens_no_special_network_by_the_way(host: str, address: str, reason: str) -> None:
    assert judge_address(Policy(rules=(allow(host),)), address) == refused(reason)


def test_a_rule_without_hosts_opens_no_special_network() -> None:
    assert judge_address(Policy(rules=(Rule.parse("allow"),)), "127.0.0.1") == refused("loopback address")


def test_a_denied_network_stays_shut_when_private_networks_are_open() -> None:
    policy = Policy(allow_private=True, rules=(deny("10.0.0.0/8"),))
    assert judge_address(policy, "10.0.0.1") == refused("denied by rule 1")
    assert judge_address(policy, "192.168.0.1") == ALLOWED


def test_decisions_are_remembered_for_what_was_asked_alone() -> None:
    rules_ = (
        Rule.parse(
            "deny", users=["bob"], commands=["connect"], hosts=["93.184.0.0/16", "a.example"], ports=["5000"]
        ),
    )
    policy = Policy(rules=rules_)
    questions = [
        (who, command, name, address, port, final)
        for who in (ALICE, BOB)
        for command in (Command.CONNECT, Command.BIND)
        for name in ("a.example", "b.example")
        for address in (PUBLIC, "8.8.8.8")
        for port in (80, 5000)
        for final in (False, True)
    ]
    for who, command, name, address, port, final in questions + questions[::-1]:
        asked = policy.judge_address(who, command, name, address, port, final=final)
        assert asked == Policy(rules=rules_).judge_address(who, command, name, address, port, final=final)


def test_so_many_decisions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "CACHED_DECISIONS", 3)
    policy = Policy()
    for port in range(10):
        assert policy.judge_address(ALICE, Command.CONNECT, "", PUBLIC, port) == ALLOWED
        assert 0 < len(policy._judged) <= 3
