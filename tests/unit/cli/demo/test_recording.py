"""Streams, inbounds and ends that are recorded."""

from typing_extensions import override

from socks6.cli.demo.recording import Piece, RecordingInbound, RecordingStream
from socks6.net.stream import ByteStream
from socks6.net.transports.memory import memory_stream_pair
from socks6.proxy.inbounds.base import Engine, Inbound, Tunnel
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run


class Echoing(Inbound):
    """Sends back one message."""

    name = "echo"

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        await stream.send(await stream.receive())
        return None


def said(pieces: list[Piece]) -> list[tuple[bool, bytes]]:
    return [(piece.received, piece.data) for piece in pieces]


def test_a_stream_keeps_what_goes_both_ways_but_no_ends(run: Run) -> None:
    async def scene() -> None:
        far, near = memory_stream_pair()
        pieces: list[Piece] = []
        stream = RecordingStream(near, pieces)
        assert stream.receive_nowait(10) is None
        await far.send(b"hello")
        assert stream.receive_nowait(2) == b"he"
        assert await stream.receive() == b"llo"
        await stream.send(memoryview(b"bye"))
        await stream.send_eof()
        await far.send_eof()
        assert await stream.receive() == b""
        assert said(pieces) == [(True, b"he"), (True, b"llo"), (False, b"bye")]
        assert pieces[0].time <= pieces[1].time <= pieces[2].time
        await stream.aclose()
        stream.abort()
        far.abort()

    run(scene())


def test_a_stream_is_otherwise_the_stream_itself(run: Run) -> None:
    async def scene() -> None:
        _, near = memory_stream_pair()
        stream = RecordingStream(near, [])
        assert (stream.local, stream.remote, stream.protection) == (near.local, near.remote, near.protection)
        assert stream.raw_socket is None
        near.abort()

    run(scene())


def test_an_inbound_keeps_each_of_its_clients_apart(run: Run) -> None:
    async def scene() -> None:
        inbound = RecordingInbound(Echoing())
        worker = ServerWorker(inbounds={"echo": inbound})
        for message in (b"one", b"two"):
            far, near = memory_stream_pair()
            await far.send(message)
            await far.send_eof()
            await worker.serve_stream(near, "echo")
        assert inbound.name == "echo"
        assert [said(pieces) for pieces in inbound.clients] == [
            [(True, b"one"), (False, b"one")],
            [(True, b"two"), (False, b"two")],
        ]

    run(scene())
