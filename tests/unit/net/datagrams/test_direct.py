"""How an association's port is opened on this machine."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Hashable

import pytest
from typing_extensions import override

from socks6.errors import NotAllowed
from socks6.message.options import PortParity, StackOption, Ttl, UdpError
from socks6.net.datagrams.direct import DirectAssociations
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import DatagramJudge
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.streams import turns


class Judge(DatagramJudge):
    """Lets no place be bound that is in a set, and keeps what it was asked."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.asked: list[tuple[str, str, int]] = []

    @override
    def judge_place(self, host: str, address: str, port: int) -> bool:
        self.asked.append((host, address, port))
        return address not in self.denied

    @override
    def judge_name(self, host: str, port: int) -> bool:
        return True

    @override
    def judge_address(self, host: str, address: str, port: int) -> bool:
        return True

    @override
    def judge_source(self, address: str, port: int) -> bool:
        return True


class TwoAddresses(Resolver):
    """Every name has two addresses, once it is `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()

    @override
    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        await self.open.wait()
        return tuple(ResolvedAddress(socket.AF_INET, (f"127.0.0.{last}", port)) for last in (7, 8))


@contextlib.asynccontextmanager
async def machine() -> AsyncIterator[DirectAssociations]:
    """Give one; nothing that it opened may be left but what the block holds itself."""
    before = Footprint.of().descriptors
    made = DirectAssociations(TwoAddresses())
    yield made
    await made.aclose()
    await made.aclose()
    assert Footprint.of().descriptors == before


@pytest.mark.parametrize(
    ("options", "in_force"),
    [
        ((), ()),
        ((Ttl(leg=2, ttl=9),), (Ttl(leg=2, ttl=9),)),
        ((UdpError(availability=2),), (UdpError(availability=2),)),
        ((UdpError(availability=1),), (UdpError(availability=1),)),
        ((PortParity(parity=1),), (PortParity(parity=1),)),
    ],
)
def test_what_is_in_force_is_what_the_socket_says(
    run: Run, options: tuple[StackOption, ...], in_force: tuple[StackOption, ...]
) -> None:
    async def scene() -> None:
        async with machine() as here:
            judge = Judge()
            channel = await here.open("a.example", 0, judge=judge, options=options, owner=None)
            assert channel.options == in_force
            assert channel.bound.host == "127.0.0.7"
            assert judge.asked == [("a.example", "127.0.0.7", 0)]
            await channel.aclose()

    run(scene())


def test_the_first_address_that_may_be_bound_is(run: Run) -> None:
    async def scene() -> None:
        async with machine() as here:
            channel = await here.open("a.example", 0, judge=Judge("127.0.0.7"), options=(), owner=None)
            assert channel.bound.host == "127.0.0.8"
            await channel.aclose()
            denied = Judge("127.0.0.7", "127.0.0.8")
            with pytest.raises(NotAllowed, match=r"no address of a\.example may be bound"):
                await here.open("a.example", 0, judge=denied, options=(), owner=None)

    run(scene())


def test_a_port_held_for_its_owner_is_judged_as_any_and_nobody_elses(run: Run) -> None:
    async def scene() -> None:
        async with machine() as here:
            pair = PortParity(parity=1, reserve=1)
            first = await here.open("a.example", 0, judge=Judge(), options=(pair,), owner="alice")
            number = first.bound.port + 1
            for owner in ("bob", None):
                judge = Judge()
                with pytest.raises(NotAllowed, match="reserved for another client"):
                    await here.open("a.example", number, judge=judge, options=(), owner=owner)
                assert judge.asked[0][2] == number
            judge = Judge()
            second = await here.open("a.example", number, judge=judge, options=(), owner="alice")
            assert (second.bound.port, judge.asked[0][2]) == (number, 0)
            await first.aclose()
            await second.aclose()

    run(scene())


def test_a_port_in_use_is_the_systems_error(run: Run) -> None:
    async def scene() -> None:
        async with machine() as here:
            with socket.socket(type=socket.SOCK_DGRAM) as taken:
                taken.bind(("127.0.0.7", 0))
                number = taken.getsockname()[1]
                with pytest.raises(OSError, match="in use"):
                    await here.open("a.example", number, judge=Judge(), options=(), owner=None)

    run(scene())


def test_what_fails_after_the_port_was_opened_leaves_it_free(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no more memory")

    async def scene() -> None:
        async with machine() as here:
            pair = PortParity(parity=1, reserve=1)
            monkeypatch.setattr("socks6.net.datagrams.direct.DirectChannel", fails)
            with pytest.raises(OSError, match="no more memory"):
                await here.open("a.example", 0, judge=Judge(), options=(pair,), owner="alice")
            assert here._allocator._reserved == {}

    run(scene())


def test_who_gives_up_while_the_name_is_looked_up_opens_nothing(run: Run) -> None:
    async def scene() -> None:
        async with machine() as here:
            assert isinstance(here.resolver, TwoAddresses)
            here.resolver.open.clear()
            judge = Judge()
            opening = asyncio.ensure_future(here.open("a.example", 0, judge=judge, options=(), owner=None))
            await turns()
            opening.cancel()
            await asyncio.wait((opening,))
            assert opening.cancelled()
            assert judge.asked == []

    run(scene())
