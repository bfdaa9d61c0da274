"""Ends of a relay: what takes bytes without waiting, and keeps what the socket does not take."""

import asyncio

import pytest

from socks6.client.stream import ProxiedStream
from socks6.errors import TlsFailed
from socks6.net.scratch import Scratch
from socks6.net.stream import NO_ENDPOINT, ByteStream
from socks6.net.transports.tls import TlsStream
from socks6.relay.endpoints import SocketEndpoint, TlsEndpoint, endpoint_of
from tests.kit.joined import tcp_pair, tls_pair
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import BULK, closing, receive_all, receive_exactly


@pytest.mark.parametrize("pair", [tcp_pair, tls_pair])
def test_what_the_socket_does_not_take_is_kept_and_flushed(run: Run, pair: object) -> None:
    async def play() -> None:
        assert callable(pair)
        near, far = pair()
        async with closing(near, far):
            end = endpoint_of(near)
            assert end is not None
            count = 0
            while end.put(BULK[:65536]):
                count += 1
            assert not end.flush()
            size = (count + 1) * 65536
            received = b""
            while len(received) < size:
                received += await far.receive()
                end.flush()
            assert received == BULK[:65536] * (count + 1)
            assert end.flush()
            assert end.end(last=False)
            assert await receive_all(far) == b""

    run(play())


@pytest.mark.parametrize("pair", [tcp_pair, tls_pair])
def test_nothing_there_is_not_the_end(run: Run, pair: object) -> None:
    async def play() -> None:
        assert callable(pair)
        near, far = pair()
        async with closing(near, far):
            end = endpoint_of(near)
            assert end is not None
            assert end.receive(Scratch()) is None
            await far.send(b"x")
            await far.send_eof()
            assert await receive_exactly(near, 1) == b"x"
            while (size := end.receive(Scratch())) is None:
                pass
            assert size == 0

    run(play())


def test_an_end_that_came_with_the_last_bytes_is_still_to_be_received(run: Run) -> None:
    async def play() -> None:
        near, far = tls_pair()
        async with closing(near, far):
            end = endpoint_of(near)
            assert end is not None
            assert isinstance(far, TlsStream)
            far._encrypt(b"last")
            far.end_nowait()  # of TLS alone: no socket will tell of it
            assert far.flush_nowait()
            while (size := end.receive(scratch := Scratch())) is None:
                pass
            assert bytes(scratch.plain[:size]) == b"last"
            assert not end.drained
            assert end.receive(Scratch()) == 0

    run(play())


@pytest.mark.parametrize(
    "records",
    [[1] * 3_000, [16_384] * 40, [16_384, 1, 7_000, 65_536, 3] * 9, [131_072] * 4],
    ids=["bytes", "whole records", "mixed", "pieces"],
)
def test_records_of_any_size_come_whole_and_others_get_their_turns(run: Run, records: list[int]) -> None:
    async def play() -> None:
        near, far = tls_pair()
        async with closing(near, far):
            end = endpoint_of(near)
            assert end is not None
            assert isinstance(near, TlsStream)
            assert isinstance(far, TlsStream)
            said = [bytes([number % 256]) * size for number, size in enumerate(records)]

            async def speak() -> None:
                for piece in said:
                    await far.send(piece)
                await far.send_eof()

            speaking = asyncio.create_task(speak())
            if sum(records) < 10_000:
                await speaking
            scratch, received, calls = Scratch(), b"", 0
            while (size := end.receive(scratch)) != 0:
                received += bytes(scratch.plain[: size or 0])
                calls += 1
                if end.drained:
                    await near.wait_readable()
            assert received == b"".join(said)
            if max(records) == 1:  # each record takes as long as a piece
                assert calls >= 3_000 // 256
            await speaking

    run(play())


def test_what_came_before_a_record_that_was_changed_is_received(run: Run) -> None:
    async def play() -> None:
        near, far = tls_pair()
        async with closing(near, far):
            end = endpoint_of(near)
            assert end is not None
            assert isinstance(near, TlsStream)
            assert isinstance(far, TlsStream)
            far._encrypt(b"whole")
            wire = far.session.outgoing.read()
            far._encrypt(b"changed")
            changed = bytearray(far.session.outgoing.read())
            changed[-1] ^= 1
            await far.beneath.send(wire + changed)
            while (size := end.receive(scratch := Scratch())) is None:
                await near.wait_readable()
            assert bytes(scratch.plain[:size]) == b"whole"
            with pytest.raises(TlsFailed):
                end.receive(scratch)

    run(play())


def test_streams_have_the_ends_of_their_kind(run: Run) -> None:
    async def play() -> None:
        streams: list[ByteStream] = [*tcp_pair(), *tls_pair(), *memory_stream_pair()]
        async with closing(*streams):
            kinds = [type(endpoint_of(stream)) for stream in streams]
            assert kinds == [SocketEndpoint, SocketEndpoint, TlsEndpoint, TlsEndpoint, type(None), type(None)]
            through = [type(endpoint_of(ProxiedStream(stream, NO_ENDPOINT, ()))) for stream in streams]
            assert through == kinds

    run(play())
