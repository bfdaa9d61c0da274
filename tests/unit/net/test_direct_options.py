"""The direct outbound by itself, with stack options; tests/e2e/test_stack_* has the packets."""

import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("loopback of other systems differs", allow_module_level=True)

from socks6.errors import ConnectionRefused
from socks6.message.options import (
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    StackOption,
    Tfo,
    Tos,
    Ttl,
)
from socks6.net.direct import DirectOutbound
from socks6.net.stream import Endpoint
from tests.kit.loops import Run
from tests.kit.reach import knowing, port_of, reached

RACED, NOT_RACED = HappyEyeballs(availability=2), HappyEyeballs(availability=1)
NAMES = {"one": ["127.0.0.1"], "more": ["127.0.0.2", "127.0.0.1"], "both": ["::1", "127.0.0.1"]}


@pytest.fixture
def port() -> Iterator[int]:
    """Give a port of 127.0.0.1 where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield port_of(server)


def answers(
    run: Run, host: str, port: int, *options: StackOption, racing: bool = True
) -> tuple[StackOption, ...]:
    """Connect; return what is told to be in force."""
    told: list[tuple[StackOption, ...]] = []

    async def play() -> None:
        way = DirectOutbound(knowing(NAMES), racing=racing)
        async with reached(host, port, *options, first_data=b"hello", outbound=way) as connection:
            told.append(connection.options)

    run(play())
    return told[0]


def test_every_supported_option_of_the_leg_is_answered(run: Run, port: int) -> None:
    asked = (
        Tos(leg=3, tos=0x48),
        Ttl(leg=2, ttl=33),
        NoFragmentation(leg=2, availability=2),
        Multipath(availability=2),
        Tfo(payload_size=9),
    )
    assert answers(run, "127.0.0.1", port, *asked) == (
        Tos(leg=2, tos=0x48),
        Ttl(leg=2, ttl=33),
        NoFragmentation(leg=2, availability=2),
        Multipath(availability=1),
        Tfo(payload_size=0),
    )


def test_what_is_not_supported_or_of_the_other_leg_is_not_answered(run: Run, port: int) -> None:
    assert answers(run, "127.0.0.1", port, Ttl(leg=1, ttl=33), ListenBacklog(backlog=9)) == ()


@pytest.mark.parametrize("host", ["more", "both"])
@pytest.mark.parametrize(
    ("asked", "racing", "told"),
    [
        ((), True, (RACED,)),
        ((), False, ()),
        ((RACED,), True, (RACED,)),
        ((RACED,), False, (RACED,)),
        ((NOT_RACED,), True, (NOT_RACED,)),
        ((NOT_RACED,), False, (NOT_RACED,)),
    ],
)
def test_the_client_decides_about_a_race_else_the_operator(
    run: Run,
    port: int,
    *,
    host: str,
    asked: tuple[StackOption, ...],
    racing: bool,
    told: tuple[StackOption, ...],
) -> None:
    assert answers(run, host, port, *asked, racing=racing) == told


def test_a_single_address_is_not_raced(run: Run, port: int) -> None:
    assert answers(run, "one", port, RACED) == (NOT_RACED,)
    assert answers(run, "one", port) == ()


def test_a_wish_to_race_a_literal_address_is_ignored(run: Run, port: int) -> None:
    assert answers(run, "127.0.0.1", port, RACED, Ttl(leg=2, ttl=33)) == (Ttl(leg=2, ttl=33),)


def test_the_dns_service_is_reached_with_the_options(run: Run, port: int) -> None:
    async def play() -> None:
        way = DirectOutbound(dns_server=Endpoint("127.0.0.1", port))
        async with reached("0.0.0.0", 53, Ttl(leg=2, ttl=33), outbound=way) as connection:
            assert connection.options == (Ttl(leg=2, ttl=33),)
            assert connection.bound == Endpoint("0.0.0.0", 0)

    run(play())


@pytest.mark.parametrize("options", [(Ttl(leg=2, ttl=33),), (NOT_RACED,), (Tfo(payload_size=0),)])
def test_a_refusal_is_told_as_ever(run: Run, options: tuple[StackOption, ...]) -> None:
    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = port_of(server)
        for host in ("127.0.0.1", "more"):
            with pytest.raises(ConnectionRefused):
                async with reached(host, port, *options, outbound=DirectOutbound(knowing(NAMES))):
                    pass

    run(play())
