"""Streams and listeners over raw sockets: what the common suite does not ask."""

import asyncio
import contextlib
import errno
import resource
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from socks6.net.sockets import (
    CONNECTED,
    CONNECTING,
    SocketListener,
    SocketStream,
    connect_socket,
    endpoint,
    probe_when_idle,
    stream_socket,
)
from socks6.net.stream import NO_ENDPOINT, Endpoint
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.origins import silent_place
from tests.kit.streams import closing, turns

if sys.platform == "linux":
    from socks6.net.poller import Poller


def listening() -> socket.socket:
    """Return a socket that listens on loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(16)
    return sock


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 80), Endpoint("127.0.0.1", 80)),
        (("::1", 80, 0, 0), Endpoint("::1", 80)),
        ("/tmp/socket", NO_ENDPOINT),
        ("", NO_ENDPOINT),
        (None, NO_ENDPOINT),
    ],
)
def test_an_address_of_any_family_is_an_endpoint(address: object, expected: Endpoint) -> None:
    assert endpoint(address) == expected


def test_a_stream_makes_its_socket_non_blocking(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        async with closing(SocketStream(left), SocketStream(right)):
            assert left.gettimeout() == right.gettimeout() == 0

    run(play())


def test_a_peer_that_is_gone_has_no_address(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        stream = SocketStream(left)
        await stream.aclose()
        right.close()
        assert stream.local == stream.remote == NO_ENDPOINT

    run(play())


def test_an_end_said_to_a_peer_that_reset_is_no_error(run: Run) -> None:
    async def play() -> None:
        with listening() as place:
            stream = SocketStream(await connect_socket(socket.AF_INET, place.getsockname()))
            peer = SocketStream(place.accept()[0])
            peer.abort()
            async with closing(stream):
                await stream.send_eof()
                with pytest.raises(ConnectionResetError):
                    await stream.receive()

    run(play())


def test_an_end_said_on_a_closed_stream_is_an_error(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        stream = SocketStream(left)
        await stream.aclose()
        right.close()
        with pytest.raises(OSError, match="Bad file"):
            await stream.send_eof()

    run(play())


def test_all_bytes_before_a_reset_can_be_received(run: Run) -> None:
    async def play() -> None:
        with listening() as place:
            stream = SocketStream(await connect_socket(socket.AF_INET, place.getsockname()))
            peer = SocketStream(place.accept()[0])
            async with closing(stream), asyncio.TaskGroup() as group:
                first = group.create_task(stream.receive(1))
                await turns()
                await peer.send(b"123")
                peer.abort()
                assert await first == b"1"
                assert await stream.receive(1) == b"2"
                assert await stream.receive(1) == b"3"
                with pytest.raises(ConnectionResetError):
                    await stream.receive(1)

    run(play())


def test_a_stream_that_nobody_reads_costs_no_time(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        async with closing(stream := SocketStream(left), peer := SocketStream(right)):
            async with asyncio.TaskGroup() as group:
                group.create_task(stream.receive())
                await turns()
                await peer.send(b"one")
            await peer.send(b"two")
            await peer.aclose()
            before = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - before < 0.05

    run(play())


def test_a_detached_socket_is_the_callers(run: Run) -> None:
    async def play() -> None:
        left, right = socket.socketpair()
        stream = SocketStream(left)
        with right, stream.detach_socket() as ours:
            assert ours.gettimeout() == 0
            await stream.aclose()
            stream.abort()
            right.send(b"still open")
            assert ours.recv(99) == b"still open"
            with pytest.raises(OSError, match="Bad file"):
                await stream.receive()

    run(play())


def test_a_dial_that_is_cancelled_leaves_no_socket(run: Run) -> None:
    async def play() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                before = Footprint.of().descriptors
                async with asyncio.TaskGroup() as group:
                    dialling = group.create_task(connect_socket(socket.AF_INET, full.getsockname()))
                    await turns()
                    dialling.cancel()
                assert Footprint.of().descriptors <= before

    run(play())


def test_a_dial_waits_no_longer_than_its_deadline(run: Run) -> None:
    async def play() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                deadline = asyncio.get_running_loop().time() + 0.02
                with pytest.raises(TimeoutError):
                    await connect_socket(socket.AF_INET, full.getsockname(), deadline=deadline)

    run(play())


@pytest.mark.parametrize("polled", [False, True])
def test_a_stream_connects_in_the_time_that_it_has_or_goes_on_connecting(run: Run, polled: bool) -> None:
    async def play() -> None:
        poller = Poller()

        def stream_to_connect() -> SocketStream:
            stream = SocketStream(stream_socket(socket.AF_INET, socket.IPPROTO_TCP))
            if polled:
                stream.poll_with(poller)
            return stream

        with socket.socket() as full:  # a listener whose backlog is full answers no more SYNs
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            at_once, in_time = stream_to_connect(), stream_to_connect()
            assert await at_once.connect(address, 5.0) in CONNECTED
            for milliseconds in (10, 2, 1, 0.4):  # uvloop's timers come up to a millisecond early
                late = stream_to_connect()
                assert await late.connect(address, milliseconds / 1000) in CONNECTING
                late.abort()
            full.accept()[0].close()
            assert await in_time.connect(address, 5.0) in CONNECTED  # the kernel tries again after a second
            refused = stream_to_connect()
            closed = listening()
            place = closed.getsockname()
            closed.close()
            assert await refused.connect(place, 5.0) == errno.ECONNREFUSED
            for stream in (at_once, in_time, refused):
                stream.abort()
        poller.close()

    run(play())


def test_a_stream_that_is_aborted_while_it_connects_says_so(run: Run) -> None:
    async def play() -> None:
        poller = Poller()
        with silent_place() as place:
            stream = SocketStream(stream_socket(socket.AF_INET, socket.IPPROTO_TCP))
            stream.poll_with(poller)
            async with asyncio.TaskGroup() as group:
                connecting = group.create_task(stream.connect((place.host, place.port), 5.0))
                await turns()
                stream.abort()
            assert connecting.result() == errno.EBADF
        poller.close()

    run(play())


def test_a_listener_accepts_what_arrives(run: Run) -> None:
    async def play() -> None:
        listener = SocketListener(place := listening(), url="here")
        assert listener.accept_nowait() is None
        with socket.create_connection(place.getsockname()) as client:
            await listener.wait_readable()
            stream = listener.accept_nowait()
            assert stream is not None
            assert stream.remote == client.getsockname()
            assert listener.accept_nowait() is None
            await stream.aclose()
        await listener.aclose()

    run(play())


def test_a_closed_listener_wakes_who_waits_for_it(run: Run) -> None:
    async def play() -> None:
        listener = SocketListener(listening(), url="here")

        async def wait() -> None:
            with pytest.raises(OSError, match="closed"):
                await listener.wait_readable()

        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            await turns()
            await listener.aclose()
        with pytest.raises(OSError, match="Bad file"):
            listener.accept_nowait()

    run(play())


def test_closing_a_listener_is_idempotent(run: Run) -> None:
    async def play() -> None:
        closed: list[int] = []
        listener = SocketListener(listening(), url="here", on_close=lambda: closed.append(1))
        await listener.aclose()
        await listener.aclose()
        assert closed == [1]
        assert listener.local == NO_ENDPOINT

    run(play())


def test_arrivals_that_nobody_accepts_cost_no_time(run: Run) -> None:
    async def play() -> None:
        listener = SocketListener(place := listening(), url="here")
        with socket.create_connection(place.getsockname()):
            await listener.wait_readable()
            before = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - before < 0.05
            await listener.wait_readable()
            stream = listener.accept_nowait()
            assert stream is not None
            stream.abort()
        await listener.aclose()

    run(play())


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_listener_goes_on_after_a_failed_accept(run: Run) -> None:
    async def play() -> None:
        listener = SocketListener(place := listening(), url="here")
        with socket.create_connection(place.getsockname()):
            await listener.wait_readable()
            with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
                listener.accept_nowait()
            await listener.wait_readable()
            stream = listener.accept_nowait()
            assert stream is not None
            stream.abort()
        await listener.aclose()

    run(play())


def test_a_silent_peer_is_asked_whether_it_is_there() -> None:
    with socket.socket() as sock:
        probe_when_idle(sock, 30)
        if sys.platform == "linux":
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


def test_a_unix_socket_is_never_asked() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        probe_when_idle(ours, 30)


def test_a_closed_socket_is_not_asked() -> None:
    sock = socket.socket()
    sock.close()
    probe_when_idle(sock, 30)
