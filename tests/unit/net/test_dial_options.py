"""Dialling the addresses of a host with stack options, and one after another."""

import asyncio
import errno
import socket

import pytest

from socks6.message.codes import Leg
from socks6.message.options import Ttl
from socks6.net.dial import Dialler, connect_in_turn
from socks6.net.resolve import ResolvedAddress
from tests.kit.footprint import Footprint
from tests.kit.loops import Run

FIRST, SECOND, THIRD = (ResolvedAddress(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in range(1, 4))


class Network:
    """Answers at some addresses, fails at others, is silent at the rest."""

    def __init__(
        self, *answering: ResolvedAddress, failing: dict[ResolvedAddress, int] | None = None
    ) -> None:
        self.answering = answering
        self.failing = failing or {}
        self.tried: list[ResolvedAddress] = []
        self.at_a_time = 0

    async def dial(self, address: ResolvedAddress) -> socket.socket:
        self.at_a_time += 1
        assert self.at_a_time == 1
        self.tried.append(address)
        try:
            await asyncio.sleep(0)
            if error := self.failing.get(address):
                raise OSError(error, "no")
            if address not in self.answering:
                await asyncio.Event().wait()
            return socket.socket()
        finally:
            self.at_a_time -= 1


def listening() -> socket.socket:
    """Return a listener on loopback."""
    return socket.create_server(("127.0.0.1", 0))


def place(server: socket.socket) -> ResolvedAddress:
    """Return where it listens."""
    return ResolvedAddress(socket.AF_INET, server.getsockname())


def test_the_next_is_tried_when_one_has_failed(run: Run) -> None:
    async def play() -> None:
        network = Network(SECOND, THIRD, failing={FIRST: errno.ECONNREFUSED})
        (await connect_in_turn([FIRST, SECOND, THIRD], network.dial)).close()
        assert network.tried == [FIRST, SECOND]

    run(play())


def test_a_silent_one_gets_its_share_of_the_time(run: Run) -> None:
    async def play() -> None:
        network = Network(THIRD)
        loop = asyncio.get_running_loop()
        began = loop.time()
        (await connect_in_turn([FIRST, SECOND, THIRD], network.dial, deadline=began + 0.6)).close()
        assert network.tried == [FIRST, SECOND, THIRD]
        assert 0.35 <= loop.time() - began < 0.6

    run(play())


def test_time_that_one_did_not_need_is_for_the_others(run: Run) -> None:
    async def play() -> None:
        network = Network(THIRD, failing={FIRST: errno.ECONNREFUSED})
        loop = asyncio.get_running_loop()
        began = loop.time()
        (await connect_in_turn([FIRST, SECOND, THIRD], network.dial, deadline=began + 0.08)).close()
        assert loop.time() - began >= 0.035

    run(play())


def test_the_most_telling_failure_is_told(run: Run) -> None:
    async def play() -> None:
        network = Network(failing={FIRST: errno.ECONNREFUSED, SECOND: errno.ENETUNREACH})
        with pytest.raises(ConnectionRefusedError):
            await connect_in_turn([FIRST, SECOND], network.dial)

    run(play())


def test_cancelled_no_more_are_tried(run: Run) -> None:
    async def play() -> None:
        network = Network(SECOND)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connect_in_turn([FIRST, SECOND], network.dial)
        assert network.tried == [FIRST]

    run(play())


def test_every_address_is_dialled_with_the_options(run: Run) -> None:
    async def play() -> None:
        with listening() as server:
            dialler = Dialler((Ttl(leg=2, ttl=33),))
            for _ in range(2):
                with await dialler.dial(place(server)) as sock:
                    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 33
                    assert dialler.syn_bytes(sock) == 0

    run(play())


def test_only_options_of_its_leg_are_set(run: Run) -> None:
    async def play() -> None:
        with listening() as server:
            dialler = Dialler((Ttl(leg=2, ttl=33),), leg=Leg.CLIENT_PROXY)
            with await dialler.dial(place(server)) as sock:
                assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 64

    run(play())


@pytest.mark.parametrize("syn_data", [None, b"", b"hello"])
def test_without_a_cookie_nothing_goes_ahead(run: Run, syn_data: bytes | None) -> None:
    async def play() -> None:
        with listening() as server:
            dialler = Dialler(syn_data=syn_data)
            for _ in range(2):
                with await dialler.dial(place(server)) as sock:
                    assert dialler.syn_bytes(sock) == 0

    run(play())


def test_only_the_first_address_may_get_data(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = []

    async def connect(*_: object, syn_data: bytes | None, **__: object) -> tuple[socket.socket, int]:
        dialled.append(syn_data)
        raise OSError(errno.ECONNREFUSED, "no")

    async def play() -> None:
        monkeypatch.setattr("socks6.net.dial.connect_with_options", connect)
        dialler = Dialler((Ttl(leg=2, ttl=33),), syn_data=b"hello")
        for address in (FIRST, SECOND):
            with pytest.raises(ConnectionRefusedError):
                await dialler.dial(address)
        assert dialled == [b"hello", None]

    run(play())


def test_a_dial_that_fails_leaves_no_socket(run: Run) -> None:
    async def play() -> None:
        with listening() as server:
            closed = place(server)
        before = Footprint.of().descriptors
        for dialler in (Dialler(), Dialler((Ttl(leg=2, ttl=33),), syn_data=b"x")):
            with pytest.raises(ConnectionRefusedError):
                await dialler.dial(closed)
        assert Footprint.of().descriptors == before

    run(play())
