"""Who may do what: rules in order, then the networks that strangers have no business in."""

from collections.abc import Iterable, Iterator
from dataclasses import field
from enum import Enum
from typing import Final, NamedTuple, Protocol

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.codes import Command
from socks6.policy.addresses import LOOPBACK, MULTICAST, AddressBlock, AddressFacts, NumericAddress, examine
from socks6.policy.hosts import canonical_name, parse_host
from socks6.policy.identity import Identity
from socks6.policy.matchers import (
    EVERY_HOST,
    EVERY_PORT,
    HostMatcher,
    PortMatcher,
    parse_pattern,
    parse_range,
)
from socks6.policy.stack import StackRule
from socks6.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy answers: yes or no; `reason` is why not, for the log, and never names the destination."""

    allowed: bool
    reason: str


ALLOWED: Final = Decision(allowed=True, reason="")


def refused(reason: str) -> Decision:
    """Return a no."""
    return Decision(allowed=False, reason=reason)


class LocalMachine(Protocol):
    """Knows which destinations are on the machine that a policy guards; `command` says whether TCP or UDP is meant."""

    def serves(self, command: int, address: NumericAddress, port: int) -> bool:
        """Return whether the proxy's own clients are served there."""

    def owns(self, command: int, address: NumericAddress, port: int) -> bool:
        """Return whether an address is one of this machine's, and nothing is bound for a client there."""


class Action(Enum):
    """What a rule does."""

    ALLOW = "allow"
    DENY = "deny"


PEER: Final = 0x100  # on no wire: a peer connects to a client's binding
COMMANDS: Final[dict[str, int]] = {
    "noop": Command.NOOP,
    "connect": Command.CONNECT,
    "bind": Command.BIND,
    "udp": Command.UDP_ASSOCIATE,
    "peer": PEER,
}
REACHING: Final = frozenset((Command.CONNECT, Command.UDP_ASSOCIATE))  # commands that name a destination
LOWEST_PORT: Final = 1024  # what is below is for the machine's own services (RFC 6335, section 6)
CACHED_DECISIONS: Final = 4096
NO_PORTS: Final = range(0)


def _parse_command(text: str) -> int:
    if text not in COMMANDS:
        raise ConfigurationError(f"{text!r} is no command: write {', '.join(COMMANDS)}")
    return COMMANDS[text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """[[policy.rules]]: the first rule that matches decides; what is left out matches everything."""

    action: Action = setting(
        Action.DENY,
        "what the rule says",
        values={action.value: action for action in Action},
        required=True,
        example='"deny"',
    )
    users: frozenset[str] = setting(
        frozenset(), "names of users", unit="NAME", many=True, collect=frozenset, example='["alice"]'
    )
    hosts: HostMatcher = setting(
        EVERY_HOST,
        "names, .domain (it and all below), *.domain (all below), addresses and networks",
        unit="HOST",
        many=True,
        parse=parse_pattern,
        collect=HostMatcher.of,
        example='["10.1.0.0/16", "*.example.com"]',
    )
    ports: PortMatcher = setting(
        EVERY_PORT,
        "ports and ranges of ports",
        unit="PORT",
        many=True,
        numbers=True,
        parse=parse_range,
        collect=lambda ranges: PortMatcher(ranges=ranges),
        example='[25, "6881-6999"]',
    )
    commands: frozenset[int] = setting(
        frozenset(),
        "noop, connect, bind, udp, and peer: a connection to a port that a client has bound",
        unit="COMMAND",
        many=True,
        parse=_parse_command,
        collect=frozenset,
        example='["connect"]',
    )

    @classmethod
    def parse(
        cls,
        action: str,
        *,
        users: Iterable[str] = (),
        hosts: Iterable[str] = (),
        ports: Iterable[str] = (),
        commands: Iterable[str] = (),
    ) -> "Rule":
        """Read a rule as a configuration writes it. Raises ConfigurationError."""
        if action not in (known.value for known in Action):
            raise ConfigurationError(f"{action!r} is no action: write allow or deny")
        return cls(
            action=Action(action),
            users=frozenset(users),
            hosts=HostMatcher.parse(hosts),
            ports=PortMatcher.parse(ports),
            commands=frozenset(map(_parse_command, commands)),
        )

    def applies(self, identity: Identity, command: int, port: int) -> bool:
        """Return whether the rule is about such a call, as far as can be known without the host."""
        if self.users and identity.name not in self.users:
            return False
        if self.commands and command not in self.commands:
            return False
        return self.ports.match(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Decides what each user may reach.

    The first rule that matches decides; without one, everything is allowed. Whatever the rules allow, the
    special networks (`socks6.policy.addresses`: loopback, private, link-local, multicast, ...) stay shut: every client
    of the proxy would otherwise have access to its operator's network. Two things open them:

    * `allow_private` opens them all, the metadata services of clouds too, which hand out the machine's own
      secrets: a rule that denies 169.254.169.254 shuts those again;
    * a rule opens a special network when it is the first to match and the network that it names lies wholly
      within: "allow 10.1.0.0/16" does, "allow 0.0.0.0/0" and "allow intranet.example" do not, since a name
      leads wherever the owner of its domain likes.

    The addresses of the `machine` itself, public ones too, are shut like loopback: what listens on all of them
    is often shut to the world by a firewall that a proxy stands behind. `allow_private` opens them, and a rule
    that names the single address; a rule about a wider network does not. Ports that are bound for
    clients are open as any destination is. No destination is a listener of the proxy itself: that would be a
    loop.

    For BIND, host and port are those to be bound. An unspecified address ("0.0.0.0", "::") is not special
    there. A port that a client names needs an allowing rule about "bind" that names it, or is one of
    `bind_ports`: any other might be that of a service of this machine which is just being started anew. A peer that connects to a
    binding is judged as the command "peer", by rules alone: an inbound connection gives the client no access. A UDP
    port that a client asks for is bound as well, and a host that sends to an association is a peer.

    IPv6 addresses that carry IPv4 addresses (mapped, NAT64, 6to4, Teredo, ...) are judged by these as well:
    rules that deny and special networks match any of them, rules that allow only what is the same host.
    """

    allow_private: bool = False
    rules: tuple[Rule, ...] = ()
    stack: tuple[StackRule, ...] = ()  # bounds of stack options; without one, any is applied
    bind_ports: range = field(default=NO_PORTS, compare=False)  # those that clients may bind without a rule
    machine: LocalMachine | None = field(
        default=None, repr=False, compare=False
    )  # where destinations are reached from; None: none of them is its own
    _judged: dict[tuple[str, int, str, str, int, bool], "_Judged"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # a reload makes another policy

    def judge_name(
        self, identity: Identity, command: int, host: str, port: int, *, final: bool = False
    ) -> Decision:
        """Judge a host as the client wrote it, before it is resolved; addresses are judged wholly.

        A name is refused only if no address could redeem it. `final` says that the address will not be judged,
        since another proxy resolves the name: then rules match names only.
        """
        meant = parse_host(host)
        if meant is None:
            return refused("not a host name")
        if meant.address:
            return self.judge_address(identity, command, meant.name, meant.address, port, final=final)
        for number, rule in self._rules_for(identity, command, port):
            if rule.hosts.match_name(meant.name):
                return ALLOWED if rule.action is Action.ALLOW else _denied(number)
            if rule.action is Action.ALLOW and rule.hosts.networks and not final:
                return ALLOWED
        return ALLOWED

    def judge_address(
        self, identity: Identity, command: int, name: str, address: str, port: int, *, final: bool = False
    ) -> Decision:
        """Judge a resolved address; `name` is what the client asked for, `final` as for `judge_name`."""
        key = identity.name, command, name, address, port, final
        judged = self._judged.get(key)
        if judged is None:
            judged = self._judge_by_rules(identity, command, name, address, port, final=final)
            if len(self._judged) >= CACHED_DECISIONS:
                self._judged.clear()
            self._judged[key] = judged
        decision, found, facts = judged
        if not decision.allowed or facts is None or self.machine is None or command not in REACHING:
            return decision
        here = self._from_elsewhere if final else self._from_here
        return here(self.machine, found, facts, command, port)

    def _judge_by_rules(
        self, identity: Identity, command: int, name: str, address: str, port: int, *, final: bool
    ) -> "_Judged":
        """Judge an address by what this policy alone says: the machine's own addresses and listeners may change."""
        facts = examine(address)
        if facts is None:
            return _Judged(refused("not an address"), None, None)
        found = next(self._matching(identity, command, name, facts, port), None)
        if command == Command.BIND and port and not (found and _opens_port(found.rule)):
            return _Judged(self._judge_named_port(found, facts, port, final=final), found, facts)
        return _Judged(self._judge_found(found, facts, command), found, facts)

    def judge_command(self, identity: Identity, command: int) -> Decision:
        """Judge a command before it is known what it will reach; refused if nothing could be allowed."""
        for number, rule in enumerate(self.rules, 1):
            if (rule.users and identity.name not in rule.users) or (
                rule.commands and command not in rule.commands
            ):
                continue
            if rule.action is Action.ALLOW:
                return ALLOWED
            if rule.hosts == EVERY_HOST and rule.ports == EVERY_PORT:
                return _denied(number)
        return ALLOWED

    def judge_peer(self, identity: Identity, address: str, port: int) -> Decision:
        """Judge a peer that connects to a client's binding."""
        facts = examine(address)
        if facts is None:
            return refused("not an address")
        found = next(self._matching(identity, PEER, "", facts, port), None)
        return _denied(found.number) if found and found.rule.action is Action.DENY else ALLOWED

    def _rules_for(self, identity: Identity, command: int, port: int) -> Iterator[tuple[int, Rule]]:
        return (
            (number, rule)
            for number, rule in enumerate(self.rules, 1)
            if rule.applies(identity, command, port)
        )

    def _matching(
        self, identity: Identity, command: int, name: str, facts: AddressFacts, port: int
    ) -> Iterator["_Match"]:
        """Return the rules about an address, in their order."""
        name = canonical_name(name)
        for number, rule in self._rules_for(identity, command, port):
            allows = rule.action is Action.ALLOW
            networks = rule.hosts.matching_networks(facts.spellings + (() if allows else facts.carried))
            if networks or rule.hosts.match_name(name):
                yield _Match(number, rule, networks)

    def _outcome(self, found: "_Match", facts: AddressFacts, command: int) -> Decision:
        if found.rule.action is Action.DENY:
            return _denied(found.number)
        special = facts.special
        if special is not None and any(network.lies_within(special.block) for network in found.networks):
            return ALLOWED
        return self._judge_unruled(facts, command)

    def _judge_named_port(
        self, found: "_Match | None", facts: AddressFacts, port: int, *, final: bool
    ) -> Decision:
        """Judge an endpoint to bind whose port no rule opens."""
        if port < LOWEST_PORT and port not in self.bind_ports:
            return refused(f"a port below {LOWEST_PORT}")
        decision = self._judge_found(found, facts, Command.BIND)
        # another proxy has services of its own, and rules about its ports; a multicast group's port cannot be chosen
        if not decision.allowed or final or port in self.bind_ports or _is_special(facts, MULTICAST):
            return decision
        return refused("a port that neither a rule nor bind.ports opens")

    def _judge_found(self, found: "_Match | None", facts: AddressFacts, command: int) -> Decision:
        """Judge by the first rule that matches, and the special networks."""
        return self._judge_unruled(facts, command) if found is None else self._outcome(found, facts, command)

    def _from_here(
        self, machine: LocalMachine, found: "_Match | None", facts: AddressFacts, command: int, port: int
    ) -> Decision:
        """Judge a destination, allowed so far, that is reached from this machine."""
        addresses = facts.spellings + facts.carried
        for address in addresses:
            if machine.serves(command, address, port):
                return OWN_LISTENER
        if (
            self.allow_private
            or _is_special(facts, LOOPBACK)
            or (found is not None and _names_one_address(found))
        ):
            return ALLOWED
        if any(machine.owns(command, address, port) for address in addresses):
            return OWN_ADDRESS
        return ALLOWED

    def _from_elsewhere(
        self, machine: LocalMachine, _: "_Match | None", facts: AddressFacts, command: int, port: int
    ) -> Decision:
        """Judge one that another proxy reaches: only an address that is the same host everywhere means anything."""
        if facts.special is None and any(machine.serves(command, own, port) for own in facts.spellings):
            return OWN_LISTENER
        return ALLOWED

    def _judge_unruled(self, facts: AddressFacts, command: int) -> Decision:
        special = facts.special
        if special is None or self.allow_private or _means_anywhere(facts, command):
            return ALLOWED
        return refused(f"{special.name} address")


OWN_LISTENER: Final = refused("a listener of this proxy")
OWN_ADDRESS: Final = refused("an address of this machine")


class _Match(NamedTuple):
    """A rule that is about an address, and the networks of its that hold it."""

    number: int
    rule: Rule
    networks: tuple[AddressBlock, ...]


class _Judged(NamedTuple):
    """What a policy says of an address, and what it is based on."""

    decision: Decision
    found: _Match | None
    facts: AddressFacts | None


def _denied(number: int) -> Decision:
    return refused(f"denied by rule {number}")


def _names_one_address(found: _Match) -> bool:
    return found.rule.action is Action.ALLOW and any(one.first == one.last for one in found.networks)


def _is_special(facts: AddressFacts, name: str) -> bool:
    """Return whether an address has been judged by this row of the table of special networks."""
    return facts.special is not None and facts.special.name == name


def _opens_port(rule: Rule) -> bool:
    """Return whether a rule about a port means it, and does not merely allow everything."""
    return rule.action is Action.ALLOW and Command.BIND in rule.commands and bool(rule.ports.ranges)


def _means_anywhere(facts: AddressFacts, command: int) -> bool:
    """Return whether an endpoint to bind is every address of this machine (§ Requests: no certain one is zeros)."""
    return command == Command.BIND and any(address.value == 0 for address in facts.spellings)
