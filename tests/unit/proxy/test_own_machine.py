"""What a proxy takes for its own machine."""

import pytest

from socks6.message.codes import Command
from socks6.net.stream import NO_ENDPOINT, Endpoint
from socks6.policy.addresses import NumericAddress, examine
from socks6.proxy.own_machine import LocalEndpoints, OwnMachine

OWN, OTHER, OWN_V6 = "203.0.113.1", "203.0.113.2", "2001:db8:1::1"
ADVERTISED = "198.51.100.1"
TCP, UDP = Command.CONNECT, Command.UDP_ASSOCIATE


def number(host: str) -> NumericAddress:
    facts = examine(host)
    assert facts is not None
    return facts.spellings[0]


LOCAL = {number(host) for host in (OWN, OWN_V6, "127.0.0.1", "::1")}


@pytest.fixture
def machine() -> OwnMachine:
    """Give one with two addresses, that is called by a third, and by a name."""
    return OwnMachine(
        lambda packed: NumericAddress(4 if len(packed) == 4 else 6, int.from_bytes(packed)) in LOCAL,
        [ADVERTISED, "proxy.example"],
    )


def owns(machine: OwnMachine, host: str, port: int = 80, command: Command = TCP) -> bool:
    return machine.owns(command, number(host), port)


def serves(machine: OwnMachine, host: str, port: int = 1080, command: Command = TCP) -> bool:
    return machine.serves(command, number(host), port)


def test_its_addresses_and_those_it_is_called_by_are_its_own(machine: OwnMachine) -> None:
    assert all(owns(machine, host) for host in (OWN, OWN_V6, "127.0.0.1", ADVERTISED))
    assert not owns(machine, OTHER)


def test_so_are_those_that_its_name_leads_to_now(machine: OwnMachine) -> None:
    machine.advertised_names_led_to(["198.51.100.7", "2001:db8:9::7"])
    assert owns(machine, "198.51.100.7")
    assert owns(machine, "2001:db8:9::7")
    machine.advertised_names_led_to(["198.51.100.8"])
    assert not owns(machine, "198.51.100.7")
    assert owns(machine, "198.51.100.8")


def test_a_port_bound_for_a_client_is_the_clients(machine: OwnMachine) -> None:
    machine.bound.add(Endpoint(OWN, 5000), udp=False)
    assert not owns(machine, OWN, 5000)
    assert not owns(machine, ADVERTISED, 5000)
    assert owns(machine, OWN, 5001)
    assert owns(machine, OWN, 5000, UDP)
    assert owns(machine, "127.0.0.1", 5000)
    assert owns(machine, OWN_V6, 5000)
    machine.bound.remove(Endpoint(OWN, 5000), udp=False)
    assert owns(machine, OWN, 5000)


def test_one_bound_everywhere_is_so_in_its_family(machine: OwnMachine) -> None:
    machine.bound.add(Endpoint("0.0.0.0", 5000), udp=True)
    assert not owns(machine, OWN, 5000, UDP)
    assert owns(machine, OWN_V6, 5000, UDP)
    assert owns(machine, OWN, 5000, TCP)


def test_where_it_listens_it_serves(machine: OwnMachine) -> None:
    machine.listeners.add(Endpoint(OWN, 1080), udp=False)
    assert serves(machine, OWN)
    assert not serves(machine, OWN, 1081)
    assert not serves(machine, OWN, command=UDP)
    assert not serves(machine, "127.0.0.1")
    assert not serves(machine, OTHER)
    machine.listeners.remove(Endpoint(OWN, 1080), udp=False)
    assert not serves(machine, OWN)


def test_a_wildcard_listener_serves_at_every_address_of_the_machine(machine: OwnMachine) -> None:
    machine.listeners.add(Endpoint("::", 1080), udp=False)
    assert all(serves(machine, host) for host in (OWN, OWN_V6, "127.0.0.1", "::1", ADVERTISED))
    assert not serves(machine, OTHER)
    assert not serves(machine, "::")  # leads nowhere by itself


def test_places_are_kept_as_often_as_they_were_added() -> None:
    places = LocalEndpoints()
    for _ in range(2):
        places.add(Endpoint(OWN, 5000), udp=False)
    places.add(Endpoint("0.0.0.0", 5000), udp=False)
    places.add(NO_ENDPOINT, udp=False)  # a Unix socket
    places.remove(NO_ENDPOINT, udp=False)
    places.remove(Endpoint(OWN, 5000), udp=False)
    assert set(places.at(5000, udp=False)) == {number(OWN), number("0.0.0.0")}
    places.remove(Endpoint(OWN, 5000), udp=False)
    places.remove(Endpoint("0.0.0.0", 5000), udp=False)
    assert len(places) == 0
