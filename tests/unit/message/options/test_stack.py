"""Stack options, one by one."""

from collections.abc import Callable

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options import (
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    PortParity,
    StackOption,
    Tfo,
    Tos,
    Ttl,
    UdpError,
)
from socks6.message.options.stack import STACK_OPTIONS

BODIES: list[tuple[str, StackOption]] = [
    ("41 01 00", Tos(leg=1, tos=0)),
    ("81 01 b8", Tos(leg=2, tos=0xB8)),
    ("c1 01 ff", Tos(leg=3, tos=255)),
    ("81 02 01", HappyEyeballs(availability=1)),
    ("81 02 02", HappyEyeballs(availability=2)),
    ("41 03 01", Ttl(leg=1, ttl=1)),
    ("c1 03 ff", Ttl(leg=3, ttl=255)),
    ("41 04 01", NoFragmentation(leg=1, availability=1)),
    ("c1 04 02", NoFragmentation(leg=3, availability=2)),
    ("84 01 0000", Tfo(payload_size=0)),
    ("84 01 ffff", Tfo(payload_size=65535)),
    ("84 02 01", Multipath(availability=1)),
    ("84 02 02", Multipath(availability=2)),
    ("84 03 0000", ListenBacklog(backlog=0)),
    ("84 03 ffff", ListenBacklog(backlog=65535)),
    ("85 01 01", UdpError(availability=1)),
    ("85 01 02", UdpError(availability=2)),
    ("85 02 00 00", PortParity(parity=0)),
    ("85 02 01 01", PortParity(parity=1, reserve=1)),
    ("85 02 02 00", PortParity(parity=2, reserve=0)),
]
ANY_LEG = {"Tos": "01 01 40", "Ttl": "01 03 40", "NoFragmentation": "01 04 02"}
REMOTE_LEG = {
    "HappyEyeballs": "01 02 02",
    "Tfo": "04 01 05b4",
    "Multipath": "04 02 02",
    "ListenBacklog": "04 03 000a",
    "UdpError": "05 01 02",
    "PortParity": "05 02 01 01",
}
CLASSES: dict[str, type[StackOption]] = {type(option).__name__: type(option) for _, option in BODIES}


def with_leg(leg: int, text: str) -> Reader:
    body = bytes.fromhex(text)
    return Reader(bytes((leg << 6 | body[0],)) + body[1:])


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_options_become_bodies(text: str, option: StackOption) -> None:
    assert option.encode_body() == bytes.fromhex(text)


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_bodies_become_options(text: str, option: StackOption) -> None:
    assert type(option).decode_body(Reader(bytes.fromhex(text))) == option


@pytest.mark.parametrize("leg", [1, 2, 3])
@pytest.mark.parametrize("name", ANY_LEG)
def test_some_options_are_about_any_leg(name: str, leg: int) -> None:
    assert CLASSES[name].decode_body(with_leg(leg, ANY_LEG[name])).leg == leg


@pytest.mark.parametrize("name", ANY_LEG)
def test_there_is_no_leg_0(name: str) -> None:
    with pytest.raises(ValueError, match="leg is 0"):
        CLASSES[name].decode_body(with_leg(0, ANY_LEG[name]))


@pytest.mark.parametrize("name", REMOTE_LEG)
def test_other_options_are_about_the_proxy_remote_leg(name: str) -> None:
    assert CLASSES[name].decode_body(with_leg(2, REMOTE_LEG[name])).leg == 2


@pytest.mark.parametrize("leg", [0, 1, 3])
@pytest.mark.parametrize("name", REMOTE_LEG)
def test_and_about_no_other_leg(name: str, leg: int) -> None:
    with pytest.raises(DecodeError, match=f"leg {leg}"):
        CLASSES[name].decode_body(with_leg(leg, REMOTE_LEG[name]))


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_a_body_cut_short_is_impossible(text: str, option: StackOption) -> None:
    body = bytes.fromhex(text)
    for end in range(len(body)):
        with pytest.raises(DecodeError):
            type(option).decode_body(Reader(body[:end]))


IMPOSSIBLE: dict[str, Callable[[], StackOption]] = {
    "Tos 256": lambda: Tos(leg=1, tos=256),
    "TOS -1": lambda: Tos(leg=1, tos=-1),
    "TOS leg 0": lambda: Tos(leg=0, tos=0),
    "TOS leg 4": lambda: Tos(leg=4, tos=0),
    "Ttl 0": lambda: Ttl(leg=1, ttl=0),
    "Ttl 256": lambda: Ttl(leg=1, ttl=256),
    "TTL leg 4": lambda: Ttl(leg=4, ttl=1),
    "No Fragmentation 0": lambda: NoFragmentation(leg=1, availability=0),
    "No Fragmentation 3": lambda: NoFragmentation(leg=1, availability=3),
    "No Fragmentation leg 4": lambda: NoFragmentation(leg=4, availability=1),
    "Happy Eyeballs 0": lambda: HappyEyeballs(availability=0),
    "Happy Eyeballs 3": lambda: HappyEyeballs(availability=3),
    "Multipath 0": lambda: Multipath(availability=0),
    "Multipath 3": lambda: Multipath(availability=3),
    "UDP Error 0": lambda: UdpError(availability=0),
    "UDP Error 3": lambda: UdpError(availability=3),
    "TFO -1": lambda: Tfo(payload_size=-1),
    "Tfo 65536": lambda: Tfo(payload_size=65536),
    "Backlog -1": lambda: ListenBacklog(backlog=-1),
    "Backlog 65536": lambda: ListenBacklog(backlog=65536),
    "Parity 3": lambda: PortParity(parity=3),
    "Reserve 2": lambda: PortParity(parity=1, reserve=2),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_values_are_not_built(what: str) -> None:
    with pytest.raises(ValueError, match="is"):
        IMPOSSIBLE[what]()


@pytest.mark.parametrize(
    "text",
    ["81 02 00", "81 02 03", "81 04 00", "84 02 ff", "85 01 00", "81 03 00", "85 02 03 00", "85 02 01 02"],
)
def test_impossible_values_are_not_decoded(text: str) -> None:
    code = text[1:5]  # level and code
    option = next(type(option) for body, option in BODIES if body[1:5] == code)
    with pytest.raises(ValueError, match="is"):
        option.decode_body(Reader(bytes.fromhex(text)))


def test_both_legs_claim_each_leg() -> None:
    assert set(Tos(leg=3, tos=1).claims()) == {*Tos(leg=1, tos=1).claims(), *Tos(leg=2, tos=2).claims()}


def test_different_legs_claim_different_things() -> None:
    assert set(Tos(leg=1, tos=1).claims()).isdisjoint(Tos(leg=2, tos=1).claims())


def test_different_options_claim_different_things() -> None:
    assert set(Tos(leg=1, tos=1).claims()).isdisjoint(Ttl(leg=1, ttl=1).claims())


def test_a_leg_by_its_nature_is_not_given() -> None:
    with pytest.raises(TypeError):
        Tfo(leg=1, payload_size=0)  # type: ignore[call-arg]  # that is the test


@pytest.mark.parametrize("leg", [0, 4])
def test_an_option_of_your_own_has_a_leg_too(leg: int) -> None:
    with pytest.raises(ValueError, match="leg is"):
        StackOption(leg=leg)


def test_an_option_has_one_value() -> None:
    assert (Tos(leg=1, tos=8).value, Multipath(availability=2).value, PortParity(parity=1).value) == (8, 2, 1)


def test_an_option_is_made_of_a_value() -> None:
    assert Ttl.of(9, 3) == Ttl(leg=3, ttl=9)
    assert Tfo.of(9) == Tfo(payload_size=9)
    assert (NoFragmentation.of(True), UdpError.of(False)) == (
        NoFragmentation(leg=2, availability=2),
        UdpError(availability=1),
    )


def test_another_value_is_about_a_leg_that_the_option_is_about() -> None:
    assert Ttl(leg=3, ttl=9).replaced(8, 1) == Ttl(leg=1, ttl=8)
    assert Multipath(availability=2).replaced(1, 2) == Multipath(availability=1)


def test_names_and_numbers_are_each_ones_own() -> None:
    for what in ("name", "table_key"):
        values = [getattr(option, what) for option in STACK_OPTIONS]
        assert len({value if isinstance(value, str) else value() for value in values}) == len(STACK_OPTIONS)
