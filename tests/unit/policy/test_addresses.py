"""Special networks, and the addresses that hide within others."""

import pytest

from socks6.policy.addresses import AddressBlock, NumericAddress, examine


def name_of(address: str) -> str:
    """Return the name of the special network that `address` belongs to; "" for none."""
    facts = examine(address)
    assert facts is not None
    return "" if facts.special is None else facts.special.name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.255.255.255", "unspecified"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "shared"),
        ("100.127.255.255", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.0.1", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.168.255.255", "private"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "private"),
        ("fc00::1", "private"),
        ("fdff:ffff::1", "private"),
        ("ff02::1", "multicast"),
        ("100::1", "reserved"),
        ("5f00::1", "private"),
        ("4000::1", "reserved"),
        ("e000::1", "reserved"),
        ("2001:2::1", "benchmarking"),
        ("2001:10::1", "reserved"),
        ("64:ff9b:1::1", "translation"),
        ("169.254.169.254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::a9fe:a9fe", "metadata"),
        ("fe80::a9fe:a9fe%2", "metadata"),
    ],
)
def test_special_addresses_are_known_by_name(address: str, name: str) -> None:
    assert name_of(address) == name


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::",
        "2606:4700:4700::1111",
        "3fff:ffff:ffff::1",
    ],
)
def test_their_neighbours_are_public(address: str) -> None:
    assert name_of(address) == ""


@pytest.mark.parametrize(
    "wrapped",
    [
        "::ffff:127.0.0.1",  # mapped
        "64:ff9b::127.0.0.1",  # NAT64
        "2002:7f00:1::1",  # 6to4
        "2001:0:7f00:1::f5f5:f5f5",  # Teredo: its server
        "2001:0:808:808::80ff:fffe",  # Teredo: its client, with flipped bits
    ],
)
def test_a_wrapped_loopback_address_is_loopback(wrapped: str) -> None:
    assert name_of(wrapped) == "loopback"


@pytest.mark.parametrize(
    "wrapped",
    [
        "::169.254.169.254",  # compatible
        "::ffff:0:169.254.169.254",  # translated
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",  # a NAT64 prefix of 96 bits
        "64:ff9b:1:0:a9:fea9:fe00::",  # of 64
        "64:ff9b:1:a9:fe:a9fe::",  # of 56
        "64:ff9b:1:a9fe:a9:fe00::",  # of 48
        "2002:a9fe:a9fe::",
        "2001:0:a9fe:a9fe::",
    ],
)
def test_metadata_shows_through_every_wrapping(wrapped: str) -> None:
    assert name_of(wrapped) == "metadata"


@pytest.mark.parametrize("wrapped", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_a_wrapped_public_address_is_public(wrapped: str) -> None:
    assert name_of(wrapped) == ""


@pytest.mark.parametrize("wrapped", ["::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b:1::8.8.8.8"])
def test_wrappings_of_no_public_use_stay_special(wrapped: str) -> None:
    assert name_of(wrapped) != ""


def test_a_mapped_address_is_the_same_host() -> None:
    facts = examine("::ffff:8.8.8.8")
    assert facts is not None
    assert NumericAddress(4, 0x08080808) in facts.spellings
    assert facts.carried == ()


def test_a_6to4_address_only_leads_to_the_other() -> None:
    facts = examine("2002:808:808::1")
    assert facts is not None
    assert facts.spellings == (NumericAddress(6, 0x2002_0808_0808 << 80 | 1),)
    assert facts.carried == (NumericAddress(4, 0x08080808),)


@pytest.mark.parametrize(
    "text", ["", "example.com", "127.1", "0177.0.0.1", "1.2.3.4.5", "[::1]", ":::", "1.2.3.4 "]
)
def test_what_is_no_literal_is_not_examined(text: str) -> None:
    assert examine(text) is None


def test_a_block_holds_its_first_and_last_address() -> None:
    block = AddressBlock.parse("10.0.0.0/8")
    assert block.holds(NumericAddress(4, 0x0A00_0000))
    assert block.holds(NumericAddress(4, 0x0AFF_FFFF))
    assert not block.holds(NumericAddress(4, 0x0B00_0000))
    assert not block.holds(NumericAddress(4, 0x09FF_FFFF))


def test_a_block_holds_no_address_of_the_other_family() -> None:
    assert not AddressBlock.parse("::/0").holds(NumericAddress(4, 1))


def test_a_block_lies_within_itself_and_wider_ones() -> None:
    block = AddressBlock.parse("10.1.0.0/16")
    assert block.lies_within(block)
    assert block.lies_within(AddressBlock.parse("10.0.0.0/8"))
    assert not AddressBlock.parse("10.0.0.0/8").lies_within(block)
    assert not block.lies_within(AddressBlock.parse("::/0"))


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.com", "fc00::/129"])
def test_what_is_no_network_is_no_block(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        AddressBlock.parse(text)


@pytest.mark.parametrize("prefix", ["2606:4700:1:2:", "2001:4860:0:0:", "fe80:0:0:0:", "2002:808:808:0:"])
@pytest.mark.parametrize("mark", ["0:5efe:", "200:5efe:", "100:5efe:", "300:5efe:"])
def test_an_isatap_address_carries_another_under_any_prefix(prefix: str, mark: str) -> None:
    facts = examine(f"{prefix}{mark}169.254.169.254")
    assert facts is not None
    assert NumericAddress(4, 0xA9FE_A9FE) in facts.carried
    assert name_of(f"{prefix}{mark}169.254.169.254") == "metadata"


@pytest.mark.parametrize(
    "address", ["2606:4700::5efe:93.184.216.34", "2606:4700::400:5eff:10.0.0.1", "2606:4700::5eff:10.0.0.1"]
)
def test_what_is_no_isatap_address_or_carries_a_public_one_is_public(address: str) -> None:
    assert name_of(address) == ""
