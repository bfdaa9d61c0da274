"""Stack options as callers write them."""

import dataclasses

import pytest

from socks6.client.options import StackOptions, flatten, for_datagrams, with_defaults
from socks6.message.codes import Availability, Leg, Parity
from socks6.message.options import (
    HappyEyeballs,
    Multipath,
    NoFragmentation,
    PortParity,
    SessionRequest,
    Tfo,
    Tos,
    Ttl,
    UdpError,
)
from socks6.message.options.stack import STACK_OPTIONS

REMOTE = Leg.PROXY_REMOTE


def test_nothing_asked_is_no_option() -> None:
    assert StackOptions().to_wire() == ()


def test_each_field_is_an_option() -> None:
    asked = StackOptions(
        tos=16, ttl=64, no_fragmentation=True, happy_eyeballs=False, tfo=1460, multipath=True, leg=Leg.BOTH
    )
    assert asked.to_wire() == (
        Tos(leg=Leg.BOTH, tos=16),
        HappyEyeballs(availability=Availability.NO),
        Ttl(leg=Leg.BOTH, ttl=64),
        NoFragmentation(leg=Leg.BOTH, availability=Availability.YES),
        Tfo(payload_size=1460),
        Multipath(availability=Availability.YES),
    )


def test_every_option_of_a_socket_has_its_field() -> None:
    fields = {field.name for field in dataclasses.fields(StackOptions)} - {"leg", "parity", "reserve"}
    named = {option.name.replace("-", "_") for option in STACK_OPTIONS}
    assert fields == named - {"backlog", "port_parity"}  # bind's argument; `parity` and `reserve`


@pytest.mark.parametrize("wrong", [{"tos": 256}, {"ttl": 0}, {"ttl": 256}, {"tfo": 65536}, {"tos": -1}])
def test_numbers_out_of_range_are_refused_at_once(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        StackOptions(**wrong)  # type: ignore[arg-type]  # mypy takes the dict's values for any field's


def test_options_of_both_forms_go_together() -> None:
    near = StackOptions(ttl=3, leg=Leg.CLIENT_PROXY)
    assert flatten((near, SessionRequest())) == (Ttl(leg=Leg.CLIENT_PROXY, ttl=3), SessionRequest())
    assert flatten(near) == (Ttl(leg=Leg.CLIENT_PROXY, ttl=3),)
    assert flatten(()) == ()


def test_defaults_fill_what_is_not_said() -> None:
    assert with_defaults((Ttl(leg=REMOTE, ttl=3),), (Ttl(leg=REMOTE, ttl=9), Tos(leg=REMOTE, tos=1))) == (
        Ttl(leg=REMOTE, ttl=3),
        Tos(leg=REMOTE, tos=1),
    )


def test_a_default_for_both_legs_fills_the_leg_that_is_left() -> None:
    assert with_defaults((Ttl(leg=REMOTE, ttl=3),), (Ttl(leg=Leg.BOTH, ttl=9),)) == (
        Ttl(leg=REMOTE, ttl=3),
        Ttl(leg=Leg.CLIENT_PROXY, ttl=9),
    )


def test_associations_have_options_of_their_own() -> None:
    assert StackOptions(udp_error=True, parity=Parity.ODD, reserve=True).to_wire() == (
        UdpError(availability=Availability.YES),
        PortParity(parity=Parity.ODD, reserve=1),
    )
    assert StackOptions(udp_error=False, reserve=True).to_wire() == (
        UdpError(availability=Availability.NO),
        PortParity(parity=Parity.ANY, reserve=1),
    )


def test_datagrams_have_no_use_for_the_options_of_connections() -> None:
    both = (Tos(leg=REMOTE, tos=1), UdpError(availability=2))
    assert (
        for_datagrams((Tfo(payload_size=0), Multipath(availability=2), HappyEyeballs(availability=2), *both))
        == both
    )
