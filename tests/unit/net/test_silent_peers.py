"""TCP connections whose peer is gone, and those whose peer only does not read."""

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Iterator

import pytest
from typing_extensions import override

from socks6.net import silent_peers
from socks6.net.silent_peers import TCP_USER_TIMEOUT, SilentPeers, round_trip
from tests.kit.loops import Run
from tests.kit.netns import needs_namespaces, road
from tests.kit.streams import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give both ends of a connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as near,
        listening.accept()[0] as far,
    ):
        yield near, far


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_peers, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(silent_peers, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(silent_peers, "UNANSWERED", 2)
    monkeypatch.setattr(silent_peers, "IDLE_SECONDS", 1)


def test_the_kernel_knows_how_far_a_peer_is(pair: tuple[socket.socket, socket.socket]) -> None:
    assert 0.0 < round_trip(pair[0]) < 1.0


@pytest.mark.usefixtures("hasty")
def test_an_idle_peer_is_asked_whether_it_is_there(
    run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    async def scene() -> None:
        near, _ = pair
        peers = SilentPeers()
        peers.watch(near)
        with socket.socket() as closed:
            peers.watch(closed)
        assert not near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)  # it may be over soon
        await until(lambda: bool(near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))
        found = [
            near.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert found == [1, 1, 3]

    run(scene())


def test_connections_that_come_and_go_between_two_looks_are_not_kept(
    run: Run, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silent_peers, "MAX_NEW", 8)

    async def scene() -> None:
        near, _ = pair
        peers = SilentPeers()
        peers.watch(near)
        for _ in range(50):
            with socket.socket() as sock:
                peers.watch(sock)
        assert len(peers._new) < 8
        assert list(peers._limits) == [near]

    run(scene())


@pytest.mark.parametrize(
    ("retransmits", "probes", "expected"), [(3, 0, 30_000), (2, 2, 0), (0, 3, 30_000), (0, 0, 0)]
)
def test_what_the_kernel_says_of_a_peer_that_is_gone(retransmits: int, probes: int, expected: int) -> None:
    class ReloadCallback(socket.socket):
        @override
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]  # of all its forms this one is called
            return (
                struct.pack("=2B", 1, 0) + bytes((retransmits, probes)) + bytes(64) + struct.pack("=I", 1_500)
            )

    with ReloadCallback() as sock:
        assert silent_peers._limit_for(sock) == expected
        assert round_trip(sock) == 0.0015


def test_a_socket_that_is_none_of_tcps_is_left_alone(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            peers = SilentPeers()
            for sock in (ours, datagrams):
                peers.watch(sock)
            assert not peers._limits
        assert round_trip(ours) == 0.0

    run(scene())


def test_the_timer_ends_with_the_last_connection(
    run: Run, pair: tuple[socket.socket, socket.socket], hasty: None
) -> None:
    async def scene() -> None:
        near, _ = pair
        peers = SilentPeers()
        peers.watch(near)
        peers.watch(near)
        near.close()
        await until(lambda: peers._loop is None)
        assert not peers._limits

    run(scene())


@pytest.mark.deep
@needs_namespaces
@pytest.mark.parametrize("way", ["sends", "idle"])
def test_a_connection_whose_way_is_gone_ends(run: Run, hasty: None, way: str) -> None:
    async def scene(near: socket.socket) -> None:
        near.setblocking(False)
        SilentPeers().watch(near)
        hosts.first.configure("link set right down")
        loop = asyncio.get_running_loop()
        if way == "sends":
            await loop.sock_sendall(near, b"there?")
        with pytest.raises(OSError, check=lambda error: error.errno == errno.ETIMEDOUT):
            await loop.sock_recv(near, 1)

    with (
        road() as hosts,
        hosts.last.listener(hosts.last_address()) as listening,
        hosts.first.entered(),
        socket.create_connection(listening.getsockname()) as near,
        listening.accept()[0] as far,
    ):
        near.sendall(b"?")  # the kernel waits 3 s for an answer to the next bytes where a SYN was lost before
        far.sendall(far.recv(1))
        near.recv(1)
        run(scene(near))


@pytest.mark.deep
def test_a_peer_that_does_not_read_keeps_its_connection(
    run: Run, pair: tuple[socket.socket, socket.socket], hasty: None
) -> None:
    async def scene() -> None:
        near, far = pair
        near.setblocking(False)
        SilentPeers().watch(near)
        sent = 0
        try:
            while True:
                sent += near.send(bytes(65536))
        except BlockingIOError:
            pass
        await asyncio.sleep(4)
        got = 0
        while got < sent:
            got += len(far.recv(1 << 20))

    run(scene())


def test_the_limit_is_taken_back_when_the_peer_answers_again(
    run: Run, pair: tuple[socket.socket, socket.socket], hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, _ = pair
    retransmits = 2
    monkeypatch.setattr(silent_peers, "_info", lambda _: (retransmits, 0, 0))

    def limit() -> int:
        return near.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT)

    async def scene() -> None:
        nonlocal retransmits
        peers.watch(near)
        await until(lambda: limit() == 500)
        retransmits = 0
        await until(lambda: limit() == 0)
        near.close()

    peers = SilentPeers()
    run(scene())
