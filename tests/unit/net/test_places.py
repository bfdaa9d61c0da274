"""Places for strangers: who has to give way."""

from hypothesis import given
from hypothesis import strategies as st

from socks6.net.places import Places

HOSTS = st.sampled_from([
    "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1",
    "2001:db8:2::1", "fe80::1%eth0",
])  # fmt: skip


def filled(size: int, *hosts: str) -> Places[int]:
    """Return places that have been taken by guests 0, 1, 2, ... from these hosts."""
    places: Places[int] = Places(size)
    for number, host in enumerate(hosts):
        assert places.enter(number, host) is None
    return places


def test_while_there_is_room_nobody_gives_way() -> None:
    places = filled(2, "192.0.2.1")
    assert places.enter(1, "192.0.2.1") is None
    assert list(places) == [0, 1]


def test_the_oldest_of_the_biggest_source_gives_way() -> None:
    places = filled(4, "192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2")
    assert places.enter(4, "192.0.2.3") == 1
    assert list(places) == [0, 2, 3, 4]


def test_who_has_most_takes_a_place_from_itself() -> None:
    places = filled(3, "192.0.2.1", "192.0.2.2", "192.0.2.2")
    assert [places.enter(number, "192.0.2.2") for number in (3, 4, 5)] == [1, 2, 3]
    assert 0 in places


def test_many_networks_of_one_customer_are_one_source() -> None:
    mine = [f"2001:db8:1:{number:x}::1" for number in range(8)]
    places = filled(10, "192.0.2.1", "2001:db8:2::1", *mine)
    assert places.enter(10, "2001:db8:1:ffff::1") == 2
    assert places.enter(11, "192.0.2.3") == 3


def test_within_a_customers_networks_the_biggest_gives_way() -> None:
    places = filled(3, "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:2::2")
    assert places.enter(3, "192.0.2.1") == 1


def test_of_strangers_with_one_place_each_the_first_gives_way() -> None:
    places = filled(3, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert places.enter(3, "192.0.2.4") == 0


def test_an_ipv4_address_is_the_same_source_however_it_is_written() -> None:
    places = filled(3, "192.0.2.2", "::ffff:192.0.2.1", "192.0.2.1")
    assert places.enter(3, "192.0.2.3") == 1


@given(st.lists(st.tuples(st.integers(0, 12), HOSTS | st.none()), max_size=60))
def test_places_are_never_more_than_there_are_and_none_is_lost(steps: list[tuple[int, str | None]]) -> None:
    places: Places[int] = Places(4)
    inside: dict[int, str] = {}
    for guest, host in steps:
        if host is None:
            places.leave(guest)
            inside.pop(guest, None)
        elif guest not in places:
            loser = places.enter(guest, host)
            assert (loser is None) == (len(inside) < 4)
            if loser is not None:
                del inside[loser]
            inside[guest] = host
        assert list(places) == list(inside)
        assert len(places) == len(inside)
    for guest in list(places):
        places.leave(guest)
    assert not places._wide
