"""QUIC connections: many streams, DATAGRAM frames, back-pressure, and what networks do to them."""

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import Sequence

import pytest
from typing_extensions import override

from socks6.net.datagrams.segments import SegmentSender
from socks6.net.stream import FrameSink, SocketAddress
from socks6.net.transports.quic import aioquic, qh3_connection
from socks6.net.transports.quic import connection as module
from socks6.net.transports.quic.accounts import MAX_QUEUED_BYTES
from socks6.net.transports.quic.aioquic import AioquicEngine
from socks6.net.transports.quic.client import ClientSocket
from socks6.net.transports.quic.connection import (
    MAX_BYTES_AFTER_RESET,
    PacketTransport,
    QuicConnection,
    QuicStream,
)
from socks6.net.transports.quic.engine import (
    CONNECTION_WINDOW_BYTES,
    MAX_UNREAD_BYTES,
    MAX_UNREAD_FOR_OTHERS_BYTES,
    STREAM_WINDOW_BYTES,
    load_backend,
)
from socks6.net.transports.quic.qh3 import Qh3Engine
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS, by_library, connected, connector, joined, listening
from tests.kit.streams import receive_exactly, until

pytestmark = pytest.mark.e2e  # takes long, with real sockets

PAIRS = by_library("client", "server")
LIBRARY = by_library("library")


class Frames(FrameSink):
    """Keeps what came."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.over = False
        self.came = asyncio.Event()

    @override
    def frame_received(self, data: bytes) -> None:
        self.data.append(data)
        self.came.set()

    @override
    def connection_lost(self) -> None:
        self.over = True


async def opened(client: QuicConnection, server: QuicConnection) -> tuple[QuicStream, QuicStream]:
    """Return both ends of a new stream."""
    left = await client.open()
    await left.send(b"!")
    right = await server.accept()
    assert await right.receive(1) == b"!"
    return left, right


@PAIRS
def test_either_side_opens_streams(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for opener, other in ((near, far), (far, near)):
                left, right = await opened(opener, other)
                await right.send(b"answer")
                assert await left.receive() == b"answer"

    run(main())


@pytest.mark.parametrize("library", ["qh3"])  # aioquic takes a second for each packet then
def test_a_thousand_streams_at_once(run: Run, library: str) -> None:
    async def main() -> None:
        async with joined(library, library) as (near, far):
            streams = [await near.open() for _ in range(1200)]
            for number, stream in enumerate(streams):
                await stream.send(b"%d" % number)
            theirs = [await far.accept() for _ in streams]
            assert near.streams == far.streams == 1200
            for stream in theirs:
                await stream.send(await stream.receive())
            for number, stream in enumerate(streams):
                assert await stream.receive() == b"%d" % number

    run(main())


@pytest.mark.parametrize("library", BACKENDS)
def test_streams_that_end_make_room_for_others(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    for engine in (aioquic, qh3_connection):
        monkeypatch.setattr(engine, "MAX_STREAMS", 100)

    async def main() -> None:
        async with joined(library, library) as (near, far):
            for _ in range(250):  # more than there may be at the same time
                left, right = await opened(near, far)
                await left.aclose()
                assert await right.receive() == b""
                await right.aclose()

    Run("uvloop")(main())


@PAIRS
def test_frames_go_both_ways(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for one, other in ((near, far), (far, near)):
                sink = Frames()
                other.set_frame_sink(sink)
                assert one.send_frame(b"a")
                assert one.send_frame(bytes(one.largest_frame))
                while len(sink.data) < 2:
                    await sink.came.wait()
                    sink.came.clear()
                assert [len(data) for data in sink.data] == [1, one.largest_frame]
            near.close()
            await until(lambda: sink.over)

    run(main())


@PAIRS
def test_a_frame_that_is_too_long_is_dropped_and_kills_nobody(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for one, other in ((near, far), (far, near)):
                assert not one.send_frame(bytes(one.largest_frame + 1))
                assert one._frames.dropped == 1
                await opened(one, other)

    run(main())


@LIBRARY
def test_of_too_many_frames_the_oldest_are_dropped(run: Run, library: str) -> None:
    async def main() -> None:
        async with joined(library, library) as (near, far):
            sink = Frames()
            far.set_frame_sink(sink)
            size = 1000
            count = 4 * MAX_QUEUED_BYTES // size
            for number in range(count):
                near.send_frame(number.to_bytes(4, "big") * (size // 4))
            assert near._frames.dropped >= count - MAX_QUEUED_BYTES // size - 1
            await near.wait_frame_room()
            while not sink.data or int.from_bytes(sink.data[-1][:4], "big") < count - 1:
                await sink.came.wait()
                sink.came.clear()

    run(main())


async def flood(stream: QuicStream) -> int:
    """Send until nothing is taken any more; return how much that was."""
    sent = 0
    while True:
        sending = asyncio.ensure_future(stream.send(bytes(65536)))
        while not (await asyncio.wait([sending], timeout=0.3))[0]:
            if stream.connection.blocked:  # and not just slow
                sending.cancel()
                await asyncio.wait([sending])
                return sent
        await sending
        sent += 65536


@PAIRS
def test_who_does_not_read_is_sent_no_more_than_the_windows(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            left, right = await opened(near, far)
            sent = await flood(left)
            assert right.unread <= MAX_UNREAD_BYTES + CONNECTION_WINDOW_BYTES
            assert sent <= MAX_UNREAD_BYTES + 2 * CONNECTION_WINDOW_BYTES
            got = 0
            while got < sent:  # and once it reads, nothing was lost
                got += len(await right.receive())
            assert got == sent

    run(main())


def test_with_credit_by_stream_the_others_go_on(run: Run) -> None:
    async def main() -> None:
        async with joined("aioquic", "aioquic") as (near, far):
            left, right = await opened(near, far)
            await flood(left)
            assert right.unread <= STREAM_WINDOW_BYTES
            other, theirs = await opened(near, far)
            await other.send(b"goes on")
            assert await theirs.receive() == b"goes on"

    run(main())


@LIBRARY
def test_a_connection_with_much_unread_is_not_used_for_more(run: Run, library: str) -> None:
    async def main() -> None:
        async with joined(library, library) as (near, far):
            left, right = await opened(far, near)
            sent = await flood(left)
            stalled = [near.usable]
            await receive_exactly(right, sent)
            assert [*stalled, near.usable] == [False, True]

    run(main())


@PAIRS
def test_a_connection_without_credit_is_not_used_for_more(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for one, other in ((near, far), (far, near)):
                left, right = await opened(one, other)
                before = one.usable
                sent = await flood(left)
                assert [before, one.blocked, one.usable] == [True, True, False]
                await receive_exactly(right, sent)
                await until(lambda one=one: one.usable)  # type: ignore[misc]  # it is a QuicConnection

    run(main())


@PAIRS
def test_giving_a_stream_up_that_waits_for_credit_frees_the_others(
    run: Run, client: str, server: str
) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for one, other in ((near, far), (far, near)):
                left, right = await opened(one, other)
                await flood(left)
                left.abort()
                await until(lambda one=one: one.usable)  # type: ignore[misc]
                await until(lambda right=right: right.unread <= MAX_BYTES_AFTER_RESET)  # type: ignore[misc]
                with pytest.raises(ConnectionResetError):
                    await receive_exactly(right, MAX_BYTES_AFTER_RESET + 1)
                again, theirs = await opened(one, other)
                await again.send(b"goes on")
                assert await theirs.receive() == b"goes on"

    run(main())


@PAIRS
def test_new_streams_and_resets_of_others_pass_one_that_nobody_reads(
    run: Run, client: str, server: str
) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            for one, other in ((near, far), (far, near)):
                quiet, theirs = await opened(one, other)
                left, _ = await opened(one, other)
                await flood(left)
                new, at_peer = await opened(one, other)
                await new.send(b"goes on")
                assert await at_peer.receive() == b"goes on"
                quiet.abort()
                with pytest.raises(ConnectionResetError):
                    await theirs.receive()
                left.abort()

    run(main())


def test_what_others_bring_along_is_bounded(run: Run) -> None:
    async def main() -> None:
        async with joined("qh3", "qh3") as (near, far):
            left, right = await opened(near, far)
            await flood(left)
            for _ in range(30):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await opened(near, far)
            assert MAX_UNREAD_BYTES < right.unread <= MAX_UNREAD_FOR_OTHERS_BYTES + CONNECTION_WINDOW_BYTES
            left.abort()  # however much it was
            await until(lambda: right.unread <= MAX_BYTES_AFTER_RESET)
            await opened(near, far)

    run(main())


@PAIRS
def test_a_peer_that_dies_without_a_word_is_missed(
    run: Run, client: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNHEARD_SECONDS", 0.05)
    monkeypatch.setattr(module, "GONE_SECONDS", 0.2)
    monkeypatch.setattr(module, "UNANSWERED_PROBES", 2)

    async def main() -> None:
        async with joined(client, server) as (near, far):
            _, right = await opened(near, far)
            packet_transport = near._packet_transport
            assert isinstance(packet_transport, ClientSocket)
            assert near._timer is not None
            near._timer.cancel()  # as if it had been killed, and its machine said nothing of it
            monkeypatch.setattr(near, "_set_timer", lambda _now: None)
            packet_transport._poller.remove(packet_transport.sock.fileno())
            with pytest.raises(TimeoutError):
                await right.receive()
            with pytest.raises(TimeoutError):
                await far.open()

    run(main())


@PAIRS
def test_a_client_may_move(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            left, right = await opened(near, far)
            before = far.remote.port
            packet_transport = near._packet_transport
            moved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            moved.setblocking(False)
            moved.connect(near._remote)
            old = near.carrier_socket
            _swap(packet_transport, moved)
            try:
                for number in range(20):
                    await left.send(b"%02d" % number)
                    assert await right.receive() == b"%02d" % number
                    await right.send(b"ok")
                    assert await left.receive() == b"ok"
                assert far.remote.port == moved.getsockname()[1] != before
            finally:
                old.close()

    run(main())


def _swap(packet_transport: object, moved: socket.socket) -> None:
    """Have a client's packets leave from another port, as behind a NAT that forgot it."""
    assert isinstance(packet_transport, ClientSocket)
    packet_transport._poller.remove(packet_transport.sock.fileno())
    packet_transport.sock = moved
    packet_transport._sender = SegmentSender(moved)
    packet_transport._poller.add(moved.fileno(), packet_transport._ready)


@PAIRS
def test_under_load_clients_prove_their_address_first(run: Run, client: str, server: str) -> None:
    async def main() -> None:
        with certificate() as files:
            async with listening(files, load_backend(server), retry_from=0) as listener:
                near, far = await connected(connector(files, load_backend(client)), listener)
                assert listener.retries == 1
                await opened(near, far)
                near.close()

    run(main())


@LIBRARY
def test_a_closed_connection_fails_whatever_waits(run: Run, library: str) -> None:
    async def main() -> None:
        async with joined(library, library) as (near, far):
            left, right = await opened(near, far)
            async with asyncio.TaskGroup() as group:
                waiting = [
                    group.create_task(_outcome(call))
                    for call in (right.receive(), far.accept(), left.receive(), near.accept())
                ]
                await asyncio.sleep(0)
                near.close(7, "enough")
            assert all(isinstance(task.result(), OSError) for task in waiting)
            assert far.terminated is not None
            assert (far.terminated.code, far.terminated.reason) == (7, "enough")
            with pytest.raises(OSError, match="enough"):
                await far.open()

    run(main())


@LIBRARY
def test_a_connection_that_ended_holds_nothing_of_the_library(run: Run, library: str) -> None:
    """The libraries' objects refer to each other in circles, and native memory hangs on them: nobody waits for gc."""

    async def main() -> None:
        gc.disable()
        try:
            async with joined(library, library) as (near, far):
                left, right = await opened(near, far)
                held = [
                    weakref.ref(engine._connection.tls)
                    for engine in (near.engine, far.engine)
                    if isinstance(engine, Qh3Engine | AioquicEngine)
                ]
                assert [alive() is None for alive in held] == [False, False]
                near.close()
                with pytest.raises(OSError, match=r"closed|over"):
                    await right.receive()
                await until(lambda: all(alive() is None for alive in held))
                with pytest.raises(OSError, match="over"):
                    await left.send(b"!")
                far.close()
                assert (near.engine.timer(), near.engine.to_send(0.0), near.engine.next_event()) == (
                    None,
                    [],
                    None,
                )
        finally:
            gc.enable()

    run(main())


async def _outcome(call: object) -> object:
    try:
        return await call  # type: ignore[misc]  # any of several
    except OSError as error:
        return error


@PAIRS
def test_streams_that_are_not_wanted_are_refused_also_if_they_have_come(
    run: Run, client: str, server: str
) -> None:
    async def main() -> None:
        async with joined(client, server) as (near, far):
            early = await far.open()
            await early.send(b"!")
            await until(lambda: near.streams)
            near.allow_peer_streams(False)
            late = await far.open()
            await late.send(b"!")
            for stream in (early, late):
                with pytest.raises(ConnectionResetError):
                    await stream.receive()
            near.allow_peer_streams(True)
            left, right = await opened(far, near)
            await right.send(b"welcome")
            assert await receive_exactly(left, 7) == b"welcome"
            assert near.streams == 1

    run(main())


@LIBRARY
def test_a_stream_that_nobody_accepted_keeps_no_connection(run: Run, library: str) -> None:
    async def main() -> None:
        async with joined(library, library) as (near, far):
            left, _ = await opened(near, far)
            await (await far.open()).send(b"!")
            await until(lambda: near.streams == 2)
            near.close_when_unused()
            assert near.over is None
            left.abort()
            await until(lambda: near.over)
            await until(lambda: far.over)

    run(main())


@LIBRARY
def test_a_server_can_read_the_last_word_of_a_client_that_gives_up_in_the_handshake(
    run: Run, library: str
) -> None:
    """RFC 9000, section 10.2.3: not before it has the client's part of it; else its place is taken for 10 s."""

    async def main() -> None:
        with certificate() as files:
            async with asyncio.timeout(5), listening(files, load_backend(library)) as listener:
                client = connector(files, load_backend(library)).begin(("127.0.0.1", listener.local.port))
                await until(lambda: client.handshake)
                client.abandon()
                await until(lambda: not listener._connections)

    run(main())


def test_small_answers_carry_acknowledgements_and_lone_ones_follow_soon(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9000, section 13.2.1: an endpoint may delay them for as long as it said, 25 ms."""
    sent = 0

    async def main() -> None:
        nonlocal sent
        async with joined() as (near, far):
            left, right = await opened(near, far)
            await until(lambda: near.engine.quiet and far.engine.quiet)
            for end in (near, far):
                end._packet_transport = Counting(end._packet_transport)
            with monkeypatch.context() as patched:  # however slow this machine is
                patched.setattr(module, "LATER_SECONDS", 10.0)
                patched.setattr(qh3_connection, "ACK_SECONDS", 10.0)
                rounds = []
                for _ in range(
                    3
                ):  # where the machine halts, the library asks again whether a packet was lost
                    before = sent
                    for _ in range(20):
                        await left.send(b"question")
                        assert await right.receive() == b"question"
                        await right.send(b"answer")
                        assert await left.receive() == b"answer"
                    rounds.append(sent - before)
                assert min(rounds) <= 44
            await left.send(b"unanswered")
            began = asyncio.get_running_loop().time()
            await until(lambda: near.engine.quiet and far.engine.quiet)
            assert asyncio.get_running_loop().time() - began < 0.1

    class Counting:
        def __init__(self, transport: PacketTransport) -> None:
            self._transport = transport
            self.local, self.sock = transport.local, transport.sock

        def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:
            nonlocal sent
            sent += len(packets)
            self._transport.send(packets, remote)

    run(main())
