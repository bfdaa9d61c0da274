"""Who gives way when places are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.eviction import NO_NETWORKS, ClientsByNetwork, Networks, networks_of


def crowd_of(hosts: list[str]) -> ClientsByNetwork[int]:
    crowd: ClientsByNetwork[int] = ClientsByNetwork()
    for number, host in enumerate(hosts):
        crowd.add(number, host)
    return crowd


def chosen(hosts: list[str], wanted: int) -> list[int]:
    """Return the numbers of those who go first, one after another."""
    crowd = crowd_of(hosts)
    gone: list[int] = []
    for _ in range(wanted):
        gone.append(crowd.next_to_evict())
        crowd.discard(gone[-1])
    return gone


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


def test_keys_are_listed_from_the_oldest_on() -> None:
    crowd = crowd_of(["192.0.2.1", "192.0.2.2", "192.0.2.1"])
    crowd.discard(1)
    assert list(crowd) == [0, 2]


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


def test_where_all_are_alone_the_oldest_goes_first() -> None:
    assert chosen([f"192.0.{n}.1" for n in range(4)], 4) == [0, 1, 2, 3]


def test_of_nobody_nobody_goes_first() -> None:
    crowd = crowd_of(["192.0.2.1"])
    crowd.discard(0)
    crowd.discard(0)
    assert len(crowd) == 0
    with pytest.raises(LookupError):
        crowd.next_to_evict()


HOSTS = [
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.1",
    "",
    *(f"2001:db8:{n}::1" for n in ("a:1", "a:2", "a:102", "b")),
]


@given(st.lists(st.sampled_from(HOSTS), min_size=1), st.data())
def test_whoever_goes_is_the_oldest_of_the_most_crowded(hosts: list[str], data: st.DataObject) -> None:
    crowd = crowd_of(hosts)
    left = dict(enumerate(hosts))
    for number in data.draw(st.lists(st.sampled_from(range(len(hosts))), unique=True)):
        crowd.discard(number)
        del left[number]
    assert len(crowd) == len(left)
    while left:
        goes = crowd.next_to_evict()
        here = {number: networks_of(host) for number, host in left.items()}
        for size, within in (("large", None), ("middle", "large"), ("small", "middle")):
            rivals = [
                getattr(networks, size)
                for networks in here.values()
                if within is None or getattr(networks, within) == getattr(here[goes], within)
            ]
            assert rivals.count(getattr(here[goes], size)) == max(map(rivals.count, rivals))
        assert goes == min(number for number, networks in here.items() if networks == here[goes])
        crowd.discard(goes)
        del left[goes]
