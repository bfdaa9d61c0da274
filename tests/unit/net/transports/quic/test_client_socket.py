"""A client's socket, which another takes the place of when the way is lost."""

import asyncio
import contextlib
import errno
import socket

import pytest

from socks6.net.network_changes import NetworkChanges
from socks6.net.transports.quic import client_socket
from socks6.net.transports.quic.client_socket import ClientSocket
from socks6.net.transports.quic.connection import QuicConnection
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS, joined

BY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)


def road_of(connection: QuicConnection) -> ClientSocket:
    """Return a client's socket."""
    road = connection._road
    assert isinstance(road, ClientSocket)
    return road


async def echoed(near: QuicConnection, far: QuicConnection) -> None:
    stream = await near.open()
    await stream.send(b"there?")
    other = await far.accept()
    assert await other.receive() == b"there?"
    await other.send(b"yes")
    assert await stream.receive() == b"yes"
    stream.abort()
    other.abort()


@BY_BACKEND
def test_unanswered_probes_have_another_socket_tried(run: Run, backend: str) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            async with joined(backend, backend) as (near, far):
                await echoed(near, far)
                road = road_of(near)
                before = near.local
                road.sock.connect(silent.getsockname())  # as a NAT that has forgotten the way
                await echoed(near, far)
                assert near.local != before
                assert far.remote == near.local

    run(scene())


def test_what_the_kernel_does_not_send_has_the_way_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without news from the kernel too: on other systems than Linux nobody tells."""
    monkeypatch.setattr(NetworkChanges, "__init__", lambda self, callback, poller: None)
    monkeypatch.setattr(NetworkChanges, "close", lambda self: None)

    async def scene() -> None:
        async with joined() as (near, far):
            road = road_of(near)
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.bind(("127.0.0.2", 0))
            other.setblocking(False)
            other.connect(near.remote_address)
            monkeypatch.setattr(client_socket, "_connected", lambda _: other)
            road._cannot_send(OSError(errno.EMSGSIZE, ""))
            assert road._timer is None
            road._cannot_send(OSError(errno.ENETUNREACH, ""))
            await echoed(near, far)
            assert near.local.host == far.remote.host == "127.0.0.2"

    run(scene())


def test_while_there_is_no_way_it_is_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_socket, "LOOK_AGAIN", 0.01)
    looks: list[None] = []

    def unreachable(_: object) -> socket.socket:
        looks.append(None)
        raise OSError(errno.ENETUNREACH, "unreachable")

    async def scene() -> None:
        async with joined() as (near, far):
            road = road_of(near)
            with monkeypatch.context() as patched:
                patched.setattr(client_socket, "_connected", unreachable)
                road._cannot_send(OSError(errno.ENETUNREACH, ""))
                while len(looks) < 2:
                    road._cannot_send(OSError(errno.ENETUNREACH, ""))
                    await asyncio.sleep(0)
            await echoed(near, far)  # nothing has ended

    run(scene())


def test_a_connection_that_has_not_begun_ends_with_its_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9000 §9: no migration before the handshake is confirmed; the next connection will do."""

    async def scene() -> None:
        async with joined() as (near, _):
            near.handshake = None
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            road_of(near)._move(other)
            assert other.fileno() < 0
            assert isinstance(near.over, OSError)
            assert near.over.errno == errno.ENETRESET

    run(scene())


@BY_BACKEND
def test_whoever_sends_a_clients_packet_on_gets_three_times_as_much_at_most(run: Run, backend: str) -> None:
    """RFC 9000 §9.3: the new address is not proven, and may be a victim's."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
        ):
            for sock in (thief, victim):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            async with joined(backend, backend) as (near, far):
                await echoed(near, far)
                stream = await near.open()
                await stream.send(b"much, please")
                theirs = await far.accept()
                road_of(near).sock.connect(thief.getsockname())
                near.ask()
                stolen = await loop.sock_recv(thief, 2048)
                victim.sendto(stolen, near.remote_address)
                await theirs.send(bytes(100_000))
                got = len(await loop.sock_recv(victim, 2048))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        while True:
                            got += len(await loop.sock_recv(victim, 2048))
                assert got <= 3 * len(stolen)
                stream.abort()
                theirs.abort()

    run(scene())
