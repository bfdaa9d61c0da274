"""Who gives way when places are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.crowding import NO_NETWORKS, Networks, most_crowded, networks_of


def chosen(hosts: list[str], wanted: int) -> list[int]:
    return most_crowded([(number, networks_of(host)) for number, host in enumerate(hosts)], wanted)


@pytest.mark.parametrize(
    ("host", "networks"),
    [
        ("192.0.2.7", ("c0000207", "c00002", "c00002")),
        ("::ffff:192.0.2.7", ("c0000207", "c00002", "c00002")),
        ("2001:db8:1:2345::1", ("20010db800012345", "20010db8000123", "20010db80001")),
        ("fe80::1%eth0", ("fe80000000000000", "fe800000000000", "fe8000000000")),
    ],
)
def test_networks_are_those_of_the_address(host: str, networks: tuple[str, str, str]) -> None:
    assert networks_of(host) == Networks(*map(bytes.fromhex, networks))


def test_local_clients_are_all_of_one_network() -> None:
    assert networks_of("") == NO_NETWORKS


def test_the_oldest_of_the_most_crowded_source_goes_first() -> None:
    assert chosen(["192.0.2.1", "198.51.100.2", "198.51.100.2", "198.51.100.2"], 1) == [1]


def test_many_networks_of_one_48_are_one_crowd() -> None:
    crowd = [f"2001:db8:a:{n:x}::1" for n in range(8)]
    taken = chosen([*crowd, "192.0.2.1", "192.0.2.1", "192.0.2.1"], 5)
    assert sorted(taken) == [0, 1, 2, 3, 4]


def test_within_a_48_the_most_crowded_64_goes_first() -> None:
    hosts = ["2001:db8:a:100::1", "2001:db8:a:200::1", "2001:db8:a:200::2", "2001:db8:a:200::3"]
    assert chosen(hosts, 1) == [1]


def test_none_goes_if_none_is_wanted() -> None:
    assert chosen(["192.0.2.1"], 0) == []


@given(st.lists(st.sampled_from(["192.0.2.1", "198.51.100.1", "203.0.113.1"])), st.integers(0, 40))
def test_what_is_left_is_as_even_as_can_be(hosts: list[str], wanted: int) -> None:
    gone = set(chosen(hosts, wanted))
    assert len(gone) == min(wanted, len(hosts))
    left = [host for number, host in enumerate(hosts) if number not in gone]
    losers = {hosts[number] for number in gone}
    for loser in losers:  # whoever lost one has, but for one, as many as the richest at least
        assert left.count(loser) + 1 >= max(map(left.count, left), default=0)
