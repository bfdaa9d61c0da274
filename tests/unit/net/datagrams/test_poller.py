"""Who is told when sockets are readable, on both loops, with an epoll of its own and without."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from socks6.net.datagrams.poller import FAILED, READABLE, DatagramPoller
from socks6.net.stackopts.icmp_errors import collect_icmp_errors, next_icmp_error
from tests.kit.forwarding_scene import udp_socket
from tests.kit.loops import Run
from tests.kit.streams import turns

OWN_EPOLL = pytest.mark.parametrize("own_epoll", [True, False])


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """Give a socket."""
    with udp_socket() as made:
        yield made


def poke(sock: socket.socket) -> None:
    with udp_socket() as other:
        other.sendto(b"x", sock.getsockname())


@OWN_EPOLL
def test_a_reader_is_told_as_long_as_there_is_something(
    run: Run, sock: socket.socket, own_epoll: bool
) -> None:
    async def play() -> None:
        told: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        poller = DatagramPoller(lambda _: None, own_epoll=own_epoll)
        poller.add(sock.fileno(), lambda fd, events: told.put_nowait((fd, events)))
        poke(sock)
        assert await told.get() == (sock.fileno(), READABLE)
        assert await told.get() == (sock.fileno(), READABLE)  # nobody has read it
        sock.recv(10)
        poller.remove(sock.fileno())
        poller.remove(sock.fileno())
        while not told.empty():
            told.get_nowait()
        poke(sock)
        await asyncio.sleep(0.01)
        assert told.empty()
        poller.close()
        poller.close()

    run(play())


@OWN_EPOLL
def test_the_end_of_a_turn_is_told(run: Run, sock: socket.socket, own_epoll: bool) -> None:
    async def play() -> None:
        done = asyncio.Event()
        poller = DatagramPoller(lambda _: None, own_epoll=own_epoll)

        def read(fd: int, events: int) -> None:
            sock.recv(10)

        poller.on_turn_end(done.set)
        poller.add(sock.fileno(), read)
        poke(sock)
        await done.wait()
        poller.close()

    run(play())


@OWN_EPOLL
def test_a_fault_of_one_costs_the_others_nothing(run: Run, sock: socket.socket, own_epoll: bool) -> None:
    async def play() -> None:
        faults: list[Exception] = []
        told = asyncio.Event()
        poller = DatagramPoller(faults.append, own_epoll=own_epoll)

        def fail(fd: int = 0, events: int = 0) -> None:
            if fd:
                sock.recv(10)
            raise RuntimeError("ours")

        def read(fd: int, events: int) -> None:
            other.recv(10)
            told.set()

        with udp_socket() as other:
            poller.add(sock.fileno(), fail)
            poller.on_turn_end(fail)
            poller.add(other.fileno(), read)
            poke(sock)
            poke(other)
            await told.wait()
            await turns()
            assert len(faults) >= 2
            poller.close()

    run(play())


def test_errors_are_told_again_and_again(run: Run, sock: socket.socket) -> None:
    """uvloop's own add_reader tells of an error once and forgets the socket."""

    async def play() -> None:
        errors: asyncio.Queue[int] = asyncio.Queue()
        poller = DatagramPoller(lambda _: None)

        def read(fd: int, events: int) -> None:
            if events & FAILED and next_icmp_error(sock) is not None:
                errors.put_nowait(events)

        assert collect_icmp_errors(sock)
        with udp_socket() as gone:
            nobody = gone.getsockname()
        poller.add(sock.fileno(), read)
        for _ in range(3):
            sock.sendto(b"x", nobody)
            await errors.get()
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        poller.close()

    run(play())
