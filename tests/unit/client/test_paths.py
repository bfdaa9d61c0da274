"""The two ways of an association's messages."""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from typing_extensions import override

from socks6.client.paths import QUEUE_BYTES, DatagramPath, StreamPath, UdpPath, socket_beside
from socks6.client.quic_path import DatagramDemux
from socks6.net.sockets import SocketStream
from socks6.net.stream import FrameSink
from socks6.net.transports.quic.connection import QuicConnection
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_exactly
from tests.kit.streams import turns


class Ends:
    """A DatagramPath and what is at its other end."""

    def __init__(self, *, there: bool = True) -> None:
        self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind(("127.0.0.1", 0))
        self.far.setblocking(False)
        self.near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.near.bind(("127.0.0.1", 0))
        self.near.setblocking(False)
        self.near.connect(self.far.getsockname())
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.refusals: asyncio.Queue[None] = asyncio.Queue()
        self.path = UdpPath(
            self.near, on_packets=self._on_packets, refused=lambda: self.refusals.put_nowait(None)
        )
        if not there:
            self.leave()

    def leave(self) -> None:
        """Close the other end."""
        self._place = self.far.getsockname()
        self.far.close()

    def come_back(self) -> None:
        self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind(self._place)
        self.far.connect(self.near.getsockname())

    def close(self) -> None:
        self.path.close()
        self.path.close()
        self.far.close()

    def _on_packets(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            self.packets.put_nowait(packet)


def test_packets_come_in_their_order(run: Run) -> None:
    async def scene() -> None:
        ends = Ends()
        for number in range(200):
            ends.far.sendto(b"%d" % number, ends.near.getsockname())
        assert [await ends.packets.get() for _ in range(200)] == [b"%d" % number for number in range(200)]
        ends.close()

    run(scene())


@pytest.mark.parametrize("waiting", [False, True])
def test_a_place_where_nobody_was_is_heard_when_somebody_is(run: Run, waiting: bool) -> None:
    """uvloop watches a socket no more once it has told of an error on it."""

    async def scene() -> None:
        ends = Ends(there=False)
        for _ in range(3):
            await (ends.path.send(b"anybody?") if waiting else _sent(ends.path, b"anybody?"))
            await ends.refusals.get()
        ends.come_back()
        ends.far.send(b"here")
        assert await ends.packets.get() == b"here"
        ends.close()

    run(scene())


async def _sent(path: UdpPath, message: bytes) -> None:
    path.send_nowait(message)


def test_a_full_socket_makes_senders_wait_and_others_lose(run: Run) -> None:
    async def scene() -> None:
        near, far = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM
        )  # which fills up, unlike UDP on loopback
        near.setblocking(False)
        path = UdpPath(near, on_packets=lambda _: None, refused=lambda: None)
        while not path.dropped:
            path.send_nowait(bytes(1000))
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(path.send(b"at last"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not sending.done()
            await asyncio.to_thread(_drain, far, b"at last")
        path.close()
        far.close()

    run(scene())


def _full(path: UdpPath) -> None:
    dropped = path.dropped
    while path.dropped == dropped:
        path.send_nowait(bytes(1000))


def _unix_path() -> tuple[UdpPath, socket.socket]:
    """Return a path that fills up, unlike UDP on loopback."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    far.setblocking(False)
    return UdpPath(near, on_packets=lambda _: None, refused=lambda: None), far


def _received(sock: socket.socket) -> list[bytes]:
    packets = []
    with contextlib.suppress(BlockingIOError):
        while True:
            packets.append(sock.recv(2000))
    return packets


def test_any_number_of_senders_wait_and_one_that_is_cancelled_holds_up_nobody(run: Run) -> None:
    async def scene() -> None:
        path, far = _unix_path()
        _full(path)
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(path.send(b"%d" % number)) for number in range(20)]
            await turns()
            assert not any(task.done() for task in sending)
            sending[0].cancel()
            sending[7].cancel()
            arrived: list[bytes] = []
            while not all(task.done() for task in sending):
                arrived += [packet for packet in _received(far) if len(packet) < 3]
                await asyncio.sleep(0)
            arrived += _received(far)
        assert arrived == [b"%d" % number for number in range(20) if number not in {0, 7}]
        path.close()
        far.close()

    run(scene())


@pytest.mark.parametrize("kind", ["datagram", "stream", "frames"])
def test_closing_fails_all_who_wait_to_send_and_whoever_sends_later(run: Run, kind: str) -> None:
    async def scene() -> None:
        path: DatagramPath
        if kind == "datagram":
            path, far = _unix_path()
            remote_socket = far.close
            _full(path)
        elif kind == "stream":
            path, remote_socket = StreamPath(memory_stream_pair()[0]), lambda: None
            while path.dropped == 0:
                path.send_nowait(bytes(50_000))
        else:
            stream, remote_socket = memory_stream_pair()[0], lambda: None
            path = DatagramDemux().path(FullConnection(), stream, 1, lambda _: None)
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(_failed(path.send(bytes(50_000)))) for _ in range(3)]
            await turns()
            assert not any(task.done() for task in sending)
            path.close()
        assert all("was closed" in task.result() for task in sending)
        with pytest.raises(OSError, match="was closed"):
            path.send_nowait(b"late")
        with pytest.raises(OSError, match="was closed"):
            await path.send(b"late")
        path.close()
        remote_socket()

    run(scene())


class FullConnection(QuicConnection):
    """A connection without room for frames."""

    def __init__(self) -> None:
        self.frame_sink: FrameSink | None = None

    @override
    async def wait_frame_room(self) -> None:
        await asyncio.Event().wait()

    @override
    def set_frame_sink(self, sink: FrameSink | None) -> None:
        self.frame_sink = sink


async def _failed(call: Coroutine[Any, Any, None]) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - whose words are looked at
        await call
    return str(caught.value)


def _drain(sock: socket.socket, last: bytes) -> None:
    while sock.recv(2000) != last:
        pass


def test_what_is_too_long_for_the_network_is_told(run: Run) -> None:
    async def scene() -> None:
        ends = Ends()
        with pytest.raises(OSError, match="too long"):
            await ends.path.send(bytes(ends.path.largest + 1))
        assert 1200 < ends.path.unfragmented <= ends.path.largest
        ends.close()
        assert ends.path.name == "datagram"

    run(scene())


def test_a_stream_gets_whole_messages_in_their_order(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        path = StreamPath(near)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(path.run())
            for number in range(5):
                await path.send(bytes((number,)) * 50_000)
            received = await receive_exactly(far, 250_000)
            assert received == b"".join(bytes((number,)) * 50_000 for number in range(5))
            path.finish()
            await running

    run(scene())


def test_a_stream_that_takes_nothing_makes_senders_wait(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        path = StreamPath(near)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(60):
                await path.send(bytes(50_000))
                sent += 1

        async with asyncio.TaskGroup() as group:
            running = group.create_task(path.run())
            sending = group.create_task(send())
            for _ in range(10):
                await asyncio.sleep(0)
            assert QUEUE_BYTES // 50_000 <= sent < 60
            await receive_exactly(far, 3_000_000)
            await sending
            assert path.dropped == 0
            path.finish()
            await running
        path.close()

    run(scene())


def test_only_tcp_in_the_clear_has_udp_beside_it(run: Run) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            stream = SocketStream(near)
            sock = socket_beside(stream.raw_socket)
            assert sock is not None
            assert sock.getpeername() == listener.getsockname()
            assert sock.getsockname()[0] == near.getsockname()[0]
            sock.close()
            stream.abort()
        assert socket_beside(memory_stream_pair()[0].raw_socket) is None
        ours, theirs = socket.socketpair()
        unix = SocketStream(ours)
        assert socket_beside(unix.raw_socket) is None
        unix.abort()
        theirs.close()

    run(scene())
