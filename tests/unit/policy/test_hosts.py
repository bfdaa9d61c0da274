"""What a client's host text means."""

import pytest

from socks6.policy.hosts import ParsedHost, canonical_name, is_name, parse_host


@pytest.mark.parametrize(
    "name", ["example.com", "a", "xn--bcher-kva.example", "_dns.example", "1and1.example", "3com"]
)
def test_a_name_stays_a_name(name: str) -> None:
    assert parse_host(name) == ParsedHost(name, "")


def test_case_and_the_roots_dot_do_not_matter() -> None:
    assert parse_host("EXAMPLE.com.") == ParsedHost("example.com", "")
    assert canonical_name("EXAMPLE.com.") == "example.com"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("localhost", "127.0.0.1"),
        ("LOCALHOST.", "127.0.0.1"),
        ("a.b.localhost", "127.0.0.1"),
        ("localhost.localdomain", "127.0.0.1"),
        ("ip6-localhost", "::1"),
        ("metadata.google.internal", "169.254.169.254"),
    ],
)
def test_fixed_names_need_no_resolving(name: str, address: str) -> None:
    assert parse_host(name) == ParsedHost(canonical_name(name), address)


@pytest.mark.parametrize("name", ["notlocalhost", "localhost.example.com"])
def test_names_that_only_look_local_are_names(name: str) -> None:
    assert parse_host(name) == ParsedHost(name, "")


@pytest.mark.parametrize("literal", ["127.0.0.1", "93.184.216.34", "::1", "2606:4700::1111", "fe80::1%eth0"])
def test_a_literal_is_its_own_address(literal: str) -> None:
    assert parse_host(literal) == ParsedHost(literal, literal)


def test_a_literal_may_end_in_a_dot() -> None:
    assert parse_host("127.0.0.1.") == ParsedHost("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("127.1.", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("00000000177.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0x", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("0xa9.0xfe.0xa9fe", "169.254.169.254"),
        ("1.16777215", "1.255.255.255"),
        ("4294967295", "255.255.255.255"),
    ],
)
def test_numbers_are_read_as_the_c_library_reads_them(text: str, address: str) -> None:
    assert parse_host(text) == ParsedHost(canonical_name(text), address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        ".example.com",
        "example.com..",
        "exam ple.com",
        "127.0.0.1 example.com",
        "example.com\n",
        "example.com\x00.evil",
        "user@example.com",
        "example.com:80",
        "[::1]",
        "::1::",
        "bücher.example",
        "127\u30020\u30020\u30021",  # ideographic full stops
        "\uff11\uff12\uff17.0.0.1",  # full-width digits
        "08.8.8.8",
        "256.1.1.1",
        "1.2.3.256",
        "1.16777216",
        "4294967296",
        "1.2.3.4.5",
        "1.2.3.4.0",
        "1.2.3.4.0.0",
        "1_0.1",
        "1..2",
        "example.1",
        "example.0x7f",
        "9" * 250,
        "a" * 254,
        "1" * 5000,
    ],
)
def test_what_can_be_neither_name_nor_address_is_nothing(text: str) -> None:
    assert parse_host(text) is None


def test_a_number_at_the_end_makes_it_no_name() -> None:
    assert is_name("example.com")
    assert not is_name("example.42")
