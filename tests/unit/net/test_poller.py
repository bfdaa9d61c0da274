"""The epoll within the event loop."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux has epoll", allow_module_level=True)

from socks6.net.poller import LAST, READABLE, WRITABLE, Poller
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.streams import turns, until


class Witness:
    """A pump that keeps what it is told."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.told: list[int] = []
        self.went_on = 0
        self.raises: Exception | None = None
        self.failed: list[Exception] = []
        self.also: list[tuple[socket.socket, Witness]] = []  # removed when told

    def on_events(self, events: int) -> None:
        self.told.append(events)
        for sock, pump in self.also:
            self.poller.remove(sock.fileno(), pump)
        if self.raises is not None:
            raise self.raises

    def go_on(self) -> None:
        self.went_on += 1
        if self.raises is not None:
            raise self.raises

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


@asynccontextmanager
async def polling() -> AsyncIterator[Poller]:
    """Return a poller; nothing of it may be left open."""
    before = Footprint.of().descriptors
    poller = Poller()
    yield poller
    poller.close()
    poller.close()
    assert Footprint.of().descriptors <= before


async def until_told(*pumps: Witness) -> None:
    """Wait until each was told of something, and everything else that is pending has happened, too."""
    await until(lambda: all(pump.told for pump in pumps))
    await turns()


def sent_some(sock: socket.socket) -> bool:
    """Send; return whether the socket took any of it."""
    try:
        return sock.send(bytes(65536)) > 0
    except BlockingIOError:
        return False


def test_what_is_the_case_already_is_told(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        with left, right:
            right.send(b"x")
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                await until_told(pump)
                assert pump.told == [READABLE]

    run(play())


def test_that_there_is_room_is_told_to_who_asks(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        with left, right:
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                await asyncio.sleep(0.02)
                assert pump.told == []
                poller.add_writable(left.fileno())
                await until_told(pump)
                assert pump.told == [WRITABLE]

    run(play())


def test_room_that_comes_later_is_told(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                while sent_some(left):
                    pass
                poller.add_writable(left.fileno())
                await asyncio.sleep(0.02)
                assert pump.told == []
                right.recv(1 << 20)
                await until_told(pump)
                assert pump.told[0] == WRITABLE

    run(play())


def test_each_thing_is_told_once(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        with left, right:
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                right.send(b"x")
                await until_told(pump)
                await asyncio.sleep(0.02)
                assert pump.told == [READABLE]

    run(play())


def test_the_end_is_told(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        with left, right:
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                right.shutdown(socket.SHUT_WR)
                await until_told(pump)
                assert pump.told[-1] & LAST
                assert pump.told[-1] & READABLE

    run(play())


def test_nobody_is_told_after_removal(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        with left, right:
            async with polling() as poller:
                poller.add(left.fileno(), pump := Witness(poller))
                poller.remove(left.fileno(), pump)
                poller.remove(left.fileno(), pump)
                right.send(b"x")
                await asyncio.sleep(0.02)
                assert pump.told == []

    run(play())


def test_a_removal_holds_for_the_turn_in_which_it_happens(run: Run) -> None:
    async def play() -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        async with polling() as poller:
            pumps = [Witness(poller), Witness(poller)]
            for pump, (ours, theirs) in zip(pumps, pairs, strict=True):
                theirs.send(b"x")
                pump.also = [(pairs[0][0], pumps[0]), (pairs[1][0], pumps[1])]
                poller.add(ours.fileno(), pump)
            await asyncio.sleep(0.02)
            assert sorted(len(pump.told) for pump in pumps) == [0, 1]
        for pair in pairs:
            for sock in pair:
                sock.close()

    run(play())


def test_a_descriptor_in_use_again_stays_with_its_new_user(run: Run) -> None:
    async def play() -> None:
        async with polling() as poller:
            left, right = socket.socketpair()
            number = left.fileno()
            poller.add(number, old := Witness(poller))
            left.close()
            right.close()
            left, right = socket.socketpair()
            with left, right:
                assert left.fileno() == number
                poller.add(number, new := Witness(poller))
                poller.remove(number, old)
                right.send(b"x")
                await until_told(new)
                assert old.told == []
                poller.remove(number, new)

    run(play())


def test_a_descriptor_that_was_closed_can_be_removed(run: Run) -> None:
    async def play() -> None:
        async with polling() as poller:
            left, right = socket.socketpair()
            number = left.fileno()
            poller.add(number, pump := Witness(poller))
            left.close()
            right.close()
            poller.remove(number, pump)

    run(play())


def test_a_fault_of_one_pump_costs_the_others_nothing(run: Run) -> None:
    async def play() -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        async with polling() as poller:
            pumps = [Witness(poller) for _ in pairs]
            pumps[1].raises = ZeroDivisionError()
            for pump, (ours, theirs) in zip(pumps, pairs, strict=True):
                theirs.send(b"x")
                poller.add(ours.fileno(), pump)
            await until_told(*pumps)
            assert [pump.failed for pump in pumps] == [[], [pumps[1].raises], []]
        for pair in pairs:
            for sock in pair:
                sock.close()

    run(play())


def test_who_asks_goes_on_once(run: Run) -> None:
    async def play() -> None:
        async with polling() as poller:
            pumps = [Witness(poller), Witness(poller)]
            pumps[0].raises = ZeroDivisionError()
            for pump in pumps:
                poller.later(pump)
            await turns()
            assert [pump.went_on for pump in pumps] == [1, 1]
            assert pumps[0].failed == [pumps[0].raises]

    run(play())


def test_a_closed_poller_does_nothing_more(run: Run) -> None:
    async def play() -> None:
        async with polling() as poller:
            poller.later(pump := Witness(poller))
            poller.close()
            await turns()
            assert pump.went_on == 0

    run(play())


def test_what_cannot_be_watched_is_an_error(run: Run) -> None:
    async def play() -> None:
        async with polling() as poller:
            with pytest.raises(OSError, match="Bad file"):
                poller.add(-1, Witness(poller))
            file = os.open("/dev/null", os.O_RDONLY)
            with pytest.raises(PermissionError):
                poller.add(file, Witness(poller))
            os.close(file)

    run(play())
