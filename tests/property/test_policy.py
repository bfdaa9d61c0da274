"""The policy, whatever clients and resolvers come up with."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from socks6.message.codes import Command
from socks6.policy.addresses import SPECIAL_NETWORKS, AddressBlock, SpecialNetwork, examine
from socks6.policy.hosts import parse_host
from socks6.policy.identity import ANONYMOUS
from socks6.policy.rules import Policy, Rule

CLOSED: Final = Policy()
OPEN: Final = Policy(allow_private=True)
RULED: Final = Policy(
    rules=(Rule.parse("allow", hosts=["10.0.0.0/8", "*.example"]), Rule.parse("deny", ports=["25"]))
)

WRAPPERS: Final[tuple[Callable[[int], int], ...]] = (
    lambda v4: 0xFFFF << 32 | v4,  # mapped
    lambda v4: v4,  # compatible
    lambda v4: 0xFFFF << 48 | v4,  # translated
    lambda v4: 0x0064_FF9B << 96 | v4,  # NAT64
    lambda v4: 0x0064_FF9B_0001 << 80 | v4,  # NAT64 of the site, in its four lengths
    lambda v4: 0x0064_FF9B_0001 << 80 | v4 << 24,
    lambda v4: 0x0064_FF9B_0001 << 80 | (v4 >> 24) << 64 | (v4 & 0xFF_FFFF) << 32,
    lambda v4: 0x0064_FF9B_0001 << 80 | (v4 >> 16) << 64 | (v4 & 0xFFFF) << 40,
    lambda v4: 0x2002 << 112 | v4 << 80 | 1,  # 6to4
    lambda v4: 0x2001 << 112 | v4 << 64 | 0xF7F7_F7F7,  # Teredo: server 'v4', client 8.8.8.8
    lambda v4: 0x2001 << 112 | 0x0808_0808 << 64 | v4 ^ 0xFFFF_FFFF,  # the other way round
    lambda v4: 0x2606_4700_0000_0001 << 64 | 0x5EFE << 32 | v4,  # ISATAP, under any prefix
    lambda v4: 0x2606_4700_0000_0001 << 64 | 0x0200_5EFE << 32 | v4,
)

SPECIAL_BLOCKS: Final = [network.block for network in SPECIAL_NETWORKS]
METADATA: Final = [network for network in SPECIAL_NETWORKS if network.name == "metadata"]


def text(version: int, value: int) -> str:
    """Return an address as text."""
    return str(IPv4Address(value) if version == 4 else IPv6Address(value))


@st.composite
def special_addresses(draw: st.DrawFn) -> str:
    """Addresses of special networks, as they are or wrapped in IPv6."""
    block: AddressBlock = draw(st.sampled_from(SPECIAL_BLOCKS))
    value = draw(st.integers(block.first, block.last))
    if block.version == 4 and draw(st.booleans()):
        return text(6, draw(st.sampled_from(WRAPPERS))(value))
    return text(block.version, value)


def is_public_by_wrapping(address: str) -> bool:
    """Return whether an address of ::/3 is NAT64's or mapped: the reserved row covers these, but they pass."""
    value = int(IPv6Address(address)) if ":" in address else 0
    return value >> 32 in {0xFFFF, 0x0064_FF9B << 64}


@given(special_addresses().filter(lambda address: not is_public_by_wrapping(address)))
def test_every_address_of_every_special_network_is_refused(address: str) -> None:
    assert not CLOSED.judge_address(ANONYMOUS, Command.CONNECT, "example.com", address, 80).allowed
    assert not CLOSED.judge_name(ANONYMOUS, Command.CONNECT, address, 80).allowed
    assert not CLOSED.judge_name(ANONYMOUS, Command.CONNECT, address + ".", 80).allowed


@given(
    st.sampled_from([block for block in SPECIAL_BLOCKS if block.version == 4]).flatmap(
        lambda block: st.integers(block.first, block.last)
    ),
    st.sampled_from(WRAPPERS),
)
def test_so_is_every_wrapping_of_it(value: int, wrap: Callable[[int], int]) -> None:
    address = text(6, wrap(value))
    assert not CLOSED.judge_address(ANONYMOUS, Command.CONNECT, "", address, 80).allowed


@given(st.sampled_from(METADATA), st.sampled_from(WRAPPERS))
def test_metadata_is_refused_in_every_wrapping(network: SpecialNetwork, wrap: Callable[[int], int]) -> None:
    block = network.block
    address = text(6, wrap(block.first) if block.version == 4 else block.first)
    assert not CLOSED.judge_address(ANONYMOUS, Command.CONNECT, "", address, 80).allowed


@given(
    st.integers(0, 0xFFFF_FFFF),
    st.lists(st.sampled_from([oct, hex, str]), min_size=4, max_size=4),
    st.integers(1, 4),
)
def test_every_spelling_of_an_ipv4_address_gets_the_same_verdict(
    value: int, spellings: list[Callable[[int], str]], parts: int
) -> None:
    room = 8 * (5 - parts)
    numbers = [*[value >> shift & 255 for shift in (24, 16, 8)][: parts - 1], value & (1 << room) - 1]
    spelled = ".".join(
        spell(number).replace("0o", "0") for spell, number in zip(spellings, numbers, strict=False)
    )
    assert CLOSED.judge_name(ANONYMOUS, Command.CONNECT, spelled, 80) == CLOSED.judge_address(
        ANONYMOUS, Command.CONNECT, "", text(4, value), 80
    )


HOST_TEXTS: Final = st.one_of(
    st.text(),
    st.text(alphabet="0123456789abcdefx.:%[]-_ "),
    st.ip_addresses().map(str),
    st.from_regex(r"\A[0-9a-fA-Fx.:]{0,60}\Z"),
)


@given(HOST_TEXTS, st.integers(), st.integers())
@example("::1%", 0, 0)
@example("%", 0, 0)
@example("\ud800", 0, 0)
@example("9" * 5000, 0, 0)
@example("::ffff:127.0.0.1%25", 0, 0)
def test_no_host_text_raises(host: str, command: int, port: int) -> None:
    for policy in (CLOSED, OPEN, RULED):
        policy.judge_name(ANONYMOUS, command, host, port)
        policy.judge_name(ANONYMOUS, command, host, port, final=True)
        policy.judge_address(ANONYMOUS, command, host, host, port)


@given(HOST_TEXTS)
def test_a_host_is_a_name_or_has_an_address_that_can_be_judged(host: str) -> None:
    meant = parse_host(host)
    if meant is not None:
        assert meant.address == "" or examine(meant.address) is not None


@given(st.ip_addresses())
def test_what_is_refused_by_default_is_what_is_special(address: IPv4Address | IPv6Address) -> None:
    facts = examine(str(address))
    assert facts is not None
    decision = CLOSED.judge_address(ANONYMOUS, Command.CONNECT, "", str(address), 80)
    assert decision.allowed == (facts.special is None)
