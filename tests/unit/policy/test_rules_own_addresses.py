"""The addresses of the machine that a policy guards, and the places where its proxy listens."""

import pytest
from typing_extensions import override

from socks6.message.codes import Command
from socks6.policy.addresses import NumericAddress, examine
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import ALLOWED, Decision, LocalMachine, Policy, Rule, refused

OWN, OWN_V6 = "203.0.113.1", "2001:db8:1::1"
ELSEWHERE = "203.0.113.2"
HERE = refused("an address of this machine")
LISTENER = refused("a listener of this proxy")


def number(host: str) -> NumericAddress:
    facts = examine(host)
    assert facts is not None
    return facts.spellings[0]


class Scripted(LocalMachine):
    """Has two addresses, and its loopback ones; listens at port 1080 of all, and has bound 5000 for a client."""

    addresses = frozenset(map(number, (OWN, OWN_V6, "127.0.0.1", "10.0.0.5")))

    @override
    def serves(self, command: int, address: NumericAddress, port: int) -> bool:
        return port == 1080 and command == Command.CONNECT and address in self.addresses

    @override
    def owns(self, command: int, address: NumericAddress, port: int) -> bool:
        return port != 5000 and address in self.addresses


def judge(
    host: str, *rules: Rule, port: int = 80, command: int = Command.CONNECT, allow_private: bool = False
) -> Decision:
    policy = Policy(allow_private=allow_private, rules=rules, machine=Scripted())
    by_address = policy.judge_address(ANONYMOUS, command, "", host, port)
    assert policy.judge_name(ANONYMOUS, command, host, port) == by_address
    return by_address


@pytest.mark.parametrize(
    "host",
    [
        OWN,
        OWN_V6,
        f"::ffff:{OWN}",
        f"64:ff9b::{OWN}",
        "2002:cb00:7101::1",  # 6to4 of it
        "2606:4700::5efe:cb00:7101",  # ISATAP of it
    ],
)
@pytest.mark.parametrize("command", [Command.CONNECT, Command.UDP_ASSOCIATE])
def test_its_own_addresses_are_shut_like_loopback(host: str, command: Command) -> None:
    assert judge(host, command=command) == HERE
    assert judge(host, command=command, allow_private=True) == ALLOWED


def test_other_addresses_are_open() -> None:
    assert judge(ELSEWHERE) == ALLOWED


def test_a_name_that_leads_there_is_judged_by_its_address() -> None:
    policy = Policy(rules=(Rule.parse("allow", hosts=["own.example"]),), machine=Scripted())
    assert policy.judge_name(ANONYMOUS, Command.CONNECT, "own.example", 80) == ALLOWED
    assert policy.judge_address(ANONYMOUS, Command.CONNECT, "own.example", OWN, 80) == HERE


def test_a_rule_that_names_the_single_address_opens_it_and_a_wider_one_does_not() -> None:
    assert judge(OWN, Rule.parse("allow", hosts=[OWN])) == ALLOWED
    assert judge(OWN_V6, Rule.parse("allow", hosts=[f"{OWN_V6}/128"])) == ALLOWED
    for wide in ("0.0.0.0/0", "203.0.113.0/24", "203.0.113.0/31"):
        assert judge(OWN, Rule.parse("allow", hosts=[wide])) == HERE
    assert judge(OWN, Rule.parse("allow")) == HERE
    assert judge(OWN, Rule.parse("allow", hosts=[OWN], ports=["443"])) == HERE


def test_a_rule_opens_a_private_network_but_not_the_machine_within() -> None:
    network = Rule.parse("allow", hosts=["10.0.0.0/24"])
    assert judge("10.0.0.6", network) == ALLOWED
    assert judge("10.0.0.5", network) == HERE
    assert judge("10.0.0.5", Rule.parse("allow", hosts=["10.0.0.5"])) == ALLOWED


def test_loopback_has_its_own_row_in_the_table() -> None:
    assert judge("127.0.0.1") == refused("loopback address")
    assert judge("127.0.0.1", Rule.parse("allow", hosts=["127.0.0.0/8"])) == ALLOWED


def test_a_rule_that_denies_says_so() -> None:
    assert judge(OWN, Rule.parse("deny", hosts=[OWN])) == refused("denied by rule 1")


def test_what_is_bound_for_a_client_is_open() -> None:
    assert judge(OWN, port=5000) == ALLOWED


@pytest.mark.parametrize("host", [OWN, "127.0.0.1", f"::ffff:{OWN}", "2002:cb00:7101::1"])
def test_the_proxys_own_listeners_are_always_shut(host: str) -> None:
    open_to_them = Rule.parse("allow", hosts=[OWN, "127.0.0.1"], users=[""])
    assert judge(host, port=1080, allow_private=True) == LISTENER
    assert judge(host, open_to_them, port=1080, allow_private=True) == LISTENER


def test_a_listener_of_tcp_shuts_no_port_of_udp() -> None:
    assert judge(OWN, port=1080, command=Command.UDP_ASSOCIATE, allow_private=True) == ALLOWED


def test_its_addresses_may_be_bound() -> None:
    policy = Policy(machine=Scripted())
    assert policy.judge_address(ANONYMOUS, Command.BIND, "", OWN, 0) == ALLOWED
    assert policy.judge_peer(ANONYMOUS, OWN, 1080) == ALLOWED


# Where another proxy reaches the destinations, this machine's addresses are as good as any.


def test_through_another_proxy_its_addresses_are_open() -> None:
    policy = Policy(machine=Scripted())
    assert policy.judge_name(Identity(name="alice"), Command.CONNECT, OWN, 80, final=True) == ALLOWED


def test_through_another_proxy_its_listeners_are_not_met_again() -> None:
    policy = Policy(allow_private=True, machine=Scripted())
    assert policy.judge_name(ANONYMOUS, Command.CONNECT, OWN, 1080, final=True) == LISTENER
    # a loopback address is another machine's there
    assert policy.judge_name(ANONYMOUS, Command.CONNECT, "127.0.0.1", 1080, final=True) == ALLOWED
