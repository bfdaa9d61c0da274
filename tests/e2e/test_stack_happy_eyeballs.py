"""Happy Eyeballs over a network one half of which is dead."""

import socket
import time
from collections.abc import Iterator
from typing import Final

import pytest

from socks6.errors import ConnectionTimedOut
from socks6.message.options import HappyEyeballs, StackOption
from socks6.net.dial import ATTEMPT_DELAY
from socks6.net.direct import DirectOutbound
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.packets import Packet
from tests.kit.reach import knowing, port_of, reached

pytestmark = [pytest.mark.e2e, needs_namespaces]

RACED, NOT_RACED = HappyEyeballs(availability=2), HappyEyeballs(availability=1)
SLACK: Final = 0.3  # what a connection may cost besides the delay
TICK: Final = 0.01  # a loop's clock may be so coarse
PATIENCE: Final = 0.6  # where it is the whole time that is used up


@pytest.fixture
def dead_six() -> Iterator[Road]:
    """Give two hosts and a router between them, which swallows all IPv6."""
    with road(routers=1) as made:
        made.hosts[1].configure(f"route add blackhole {made.last_address(socket.AF_INET6)}/128")
        yield made


def connected(
    run: Run,
    net: Road,
    *asked: StackOption,
    names: tuple[str, ...] = (),
    answer: tuple[StackOption, ...],
    first_family: int | None = None,
    racing: bool = True,
) -> tuple[float, list[Packet]]:
    """Connect to a name; return how long it took, and the SYNs."""
    four, six = net.last_address(), net.last_address(socket.AF_INET6)
    took: list[float] = []

    async def play() -> None:
        way = DirectOutbound(
            knowing({"host": names or (six, four)}),
            first_family=first_family,
            racing=racing,
            connect_timeout=PATIENCE,
        )
        began = time.monotonic()
        async with reached("host", port, *asked, outbound=way) as connection:
            took.append(time.monotonic() - began)
            assert connection.options == answer
            assert connection.stream.remote.host == four

    with net.last.listener(four) as listener, net.first.capturing() as capture, net.first.entered():
        port = port_of(listener)
        run(play())
        return took[0], capture.syns(port)


@pytest.mark.parametrize("asked", [(), (RACED,)], ids=["unasked", "asked"])
def test_a_dead_path_costs_no_more_than_the_delay(
    run: Run, dead_six: Road, asked: tuple[StackOption, ...]
) -> None:
    took, syns = connected(run, dead_six, *asked, answer=(RACED,))
    assert ATTEMPT_DELAY - TICK <= took < ATTEMPT_DELAY + SLACK
    assert [syn.destination for syn in syns] == [
        dead_six.last_address(socket.AF_INET6),
        dead_six.last_address(),
    ]


def test_a_preferred_family_that_answers_costs_nothing(run: Run, dead_six: Road) -> None:
    took, syns = connected(run, dead_six, RACED, answer=(RACED,), first_family=socket.AF_INET)
    assert took < ATTEMPT_DELAY
    assert [syn.destination for syn in syns] == [dead_six.last_address()]


@pytest.mark.parametrize("racing", [True, False], ids=["by default on", "by default off"])
def test_who_wishes_none_waits(run: Run, dead_six: Road, racing: bool) -> None:
    took, _ = connected(run, dead_six, NOT_RACED, answer=(NOT_RACED,), racing=racing)
    assert PATIENCE / 2 - TICK <= took < PATIENCE


def test_off_by_default_it_is_done_for_who_asks_alone(run: Run, dead_six: Road) -> None:
    took, _ = connected(run, dead_six, RACED, answer=(RACED,), racing=False)
    assert took < ATTEMPT_DELAY + SLACK
    took, _ = connected(run, dead_six, answer=(), racing=False)
    assert took >= PATIENCE / 2 - TICK


def test_a_single_address_leaves_nothing_to_race(run: Run, dead_six: Road) -> None:
    connected(run, dead_six, RACED, names=(dead_six.last_address(),), answer=(NOT_RACED,))


def test_for_a_literal_address_the_option_is_ignored(run: Run, dead_six: Road) -> None:
    async def play() -> None:
        async with reached(dead_six.last_address(), port_of(listener), RACED) as connection:
            assert connection.options == ()

    with dead_six.last.listener(dead_six.last_address()) as listener, dead_six.first.entered():
        run(play())


def test_when_all_are_dead_the_time_is_told_to_be_up(run: Run, dead_six: Road) -> None:
    dead_six.hosts[1].configure(f"route add blackhole {dead_six.last_address()}/32")

    async def play() -> None:
        six, four = dead_six.last_address(socket.AF_INET6), dead_six.last_address()
        way = DirectOutbound(knowing({"host": (six, four)}), connect_timeout=PATIENCE)
        with pytest.raises(ConnectionTimedOut):
            async with reached("host", 9, RACED, outbound=way):
                pass

    with dead_six.first.entered():
        run(play())
