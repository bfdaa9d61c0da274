"""Ends of a relay: what takes bytes without waiting, and keeps what the socket does not take."""

import pytest

from socks6.client.stream import ProxiedStream
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
            assert end.end()
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
            assert end.receive(10) is None
            await far.send(b"x")
            await far.send_eof()
            assert await receive_exactly(near, 1) == b"x"
            while (data := end.receive(10)) is None:
                pass
            assert data == b""

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
            while (data := end.receive(10)) is None:
                pass
            assert data == b"last"
            assert not end.drained
            assert end.receive(10) == b""

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
