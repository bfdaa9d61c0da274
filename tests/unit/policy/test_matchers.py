"""What rules may be about."""

import pytest

from socks6.errors import ConfigurationError
from socks6.policy.addresses import AddressBlock, NumericAddress
from socks6.policy.matchers import EVERY_HOST, EVERY_PORT, HostMatcher, NameMatcher, PortMatcher


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("example.com", "example.com", True),
        ("EXAMPLE.com.", "example.com", True),
        ("example.com", "www.example.com", False),
        (".example.com", "example.com", True),
        (".example.com", "a.b.example.com", True),
        (".example.com", "notexample.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "notexample.com", False),
        ("*.BÜCHER.example", "www.xn--bcher-kva.example", True),
    ],
)
def test_names_match_as_written(pattern: str, name: str, meant: bool) -> None:
    assert NameMatcher.parse(pattern).matches(name) is meant


@pytest.mark.parametrize(
    "pattern",
    ["", "*", ".", "*.", "**.example.com", "a.*.b", "..a", "exa mple", "2130706433", "*.10.0.0.1", "a@b"],
)
def test_what_is_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host"):
        NameMatcher.parse(pattern)


def test_hosts_are_sorted_into_names_and_networks() -> None:
    hosts = HostMatcher.parse(["example.com", "10.0.0.0/8", "::1"])
    assert hosts.names == (NameMatcher.parse("example.com"),)
    assert hosts.networks == (AddressBlock.parse("10.0.0.0/8"), AddressBlock.parse("::1"))


def test_no_hosts_means_every_name() -> None:
    assert EVERY_HOST.match_name("example.com")


def test_networks_mean_no_name() -> None:
    assert not HostMatcher.parse(["10.0.0.0/8"]).match_name("example.com")


def test_one_matching_name_is_enough() -> None:
    hosts = HostMatcher.parse(["a.example", "b.example"])
    assert hosts.match_name("b.example")
    assert not hosts.match_name("c.example")


def test_networks_that_hold_an_address_are_told() -> None:
    hosts = HostMatcher.parse(["10.0.0.0/8", "10.1.0.0/16", "fc00::/7"])
    assert hosts.matching_networks((NumericAddress(4, 0x0A02_0001),)) == (AddressBlock.parse("10.0.0.0/8"),)
    assert hosts.matching_networks((NumericAddress(6, 1), NumericAddress(4, 1))) == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.1/8", "do you mean 10.0.0.0/8 or 10.0.0.1"),
        ("10.0.0.0/33", "is no network"),
        ("example.com/8", "is no network"),
        ("fc00::/129", "is no network"),
        ("[::1]", "is no network"),
        ("exa mple", "is no host"),
    ],
)
def test_bad_hosts_are_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        HostMatcher.parse([text])


@pytest.mark.parametrize(
    ("texts", "port", "meant"),
    [
        (["443"], 443, True),
        (["443"], 444, False),
        (["80", "8000-8999"], 8000, True),
        (["80", "8000-8999"], 8999, True),
        (["80", "8000-8999"], 9000, False),
        (["0-65535"], 65535, True),
    ],
)
def test_ports_match_as_written(texts: list[str], port: int, meant: bool) -> None:
    assert PortMatcher.parse(texts).match(port) is meant


def test_no_ports_means_every_port() -> None:
    assert EVERY_PORT.match(1)


@pytest.mark.parametrize(
    "text", ["", "https", "80-", "-80", "80-90-100", "65536", "90-80", "1-70000", "٣", "8 0"]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no"):
        PortMatcher.parse([text])
