"""Names of datagrams: looked up once, within limits."""

import asyncio
import errno
import socket
from collections.abc import Hashable, Sequence

from typing_extensions import override

from socks6.net.datagrams.names import MAX_NAMES, MAX_WAITING_DATAGRAMS, NameCache
from socks6.net.resolve import ResolvedAddress, Resolver
from tests.kit.loops import Run

HERE = ResolvedAddress(socket.AF_INET, ("192.0.2.1", 0))


class Lookups(Resolver):
    """Answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.refusal: OSError | None = None

    @override
    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        self.asked.append(host)
        await self.open.wait()
        if self.refusal is not None:
            raise self.refusal
        if host == "nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return (HERE,)


async def settled(names: NameCache) -> None:
    """Wait until nothing is looked up."""
    while names._tasks:
        await asyncio.wait(set(names._tasks))
        await asyncio.sleep(0)


def test_who_waits_is_told_and_the_answer_is_used_again(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        names = NameCache(lookups)
        told: list[Sequence[ResolvedAddress]] = []
        now = asyncio.get_running_loop().time()
        assert names.known("a.example", now) is None
        names.look_up("a.example", told.append)
        names.look_up("a.example", told.append)
        lookups.open.set()
        await settled(names)
        assert told == [(HERE,), (HERE,)]
        assert names.known("a.example", now) == (HERE,)
        assert names.known("a.example", now + 3600) is None
        assert lookups.asked == ["a.example"]

    run(play())


def test_a_name_that_leads_nowhere_is_known_to(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        lookups.open.set()
        names = NameCache(lookups)
        told: list[Sequence[ResolvedAddress]] = []
        names.look_up("nowhere", told.append)
        await settled(names)
        assert told == [()]
        assert names.known("nowhere", asyncio.get_running_loop().time()) == ()

    run(play())


def test_only_so_many_wait_for_a_name_and_the_oldest_goes(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        names = NameCache(lookups)
        told: list[tuple[int, int]] = []
        for number in range(MAX_WAITING_DATAGRAMS + 3):
            names.look_up("a.example", lambda found, number=number: told.append((number, len(found))))  # type: ignore[misc]
        assert told == [(0, 0), (1, 0), (2, 0)]
        lookups.open.set()
        await settled(names)
        assert told[3:] == [(number, 1) for number in range(3, MAX_WAITING_DATAGRAMS + 3)]

    run(play())


def test_only_so_many_names_are_looked_up_and_remembered(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        names = NameCache(lookups)
        for number in range(MAX_NAMES):
            names.look_up(f"n{number}", lambda _: None, holder=number)
        told: list[tuple[ResolvedAddress, ...]] = []
        names.look_up("one too many", told.append, holder="another")
        assert told == [()]
        lookups.open.set()
        await settled(names)
        assert len(lookups.asked) == MAX_NAMES
        names.look_up("another", lambda _: None)
        await settled(names)
        now = asyncio.get_running_loop().time()
        assert names.known("another", now) == (HERE,)
        assert names.known("n0", now) is None

    run(play())


def test_closing_ends_what_is_looked_up(run: Run) -> None:
    async def play() -> None:
        names = NameCache(Lookups())
        names.look_up("a.example", lambda _: None)
        await asyncio.sleep(0)
        await names.aclose()
        await names.aclose()
        assert not names._tasks

    run(play())


def test_one_holder_leaves_room_for_the_names_of_others(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        names = NameCache(lookups)
        told: list[tuple[ResolvedAddress, ...]] = []
        for number in range(MAX_NAMES):
            names.look_up(f"n{number}", lambda _: None, holder="mallory")
        names.look_up("a.example", told.append, holder="alice")
        names.look_up("n0", told.append, holder="alice")
        assert not told
        lookups.open.set()
        await settled(names)
        assert told == [(HERE,)] * 2

    run(play())


def test_what_was_not_looked_up_is_not_remembered_as_nowhere(run: Run) -> None:
    async def play() -> None:
        lookups = Lookups()
        lookups.open.set()
        names = NameCache(lookups)
        told: list[tuple[ResolvedAddress, ...]] = []
        lookups.refusal = OSError(errno.EAGAIN, "too many")
        names.look_up("a.example", told.append)
        await settled(names)
        assert told == [()]
        assert names.known("a.example", asyncio.get_running_loop().time()) is None

    run(play())
