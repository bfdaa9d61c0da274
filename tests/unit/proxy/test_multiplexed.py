"""What the streams of one connection have in common: one clock until somebody is let in."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.net.stream import (
    NO_ENDPOINT,
    AcceptedPeer,
    ByteStream,
    Endpoint,
    FrameSink,
    MultiplexedConnection,
    Protection,
)
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.proxy.multiplexed import QuicConnectionContext
from socks6.telemetry import Ending
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair


class Idle(MultiplexedConnection):
    """A connection that only remembers why it was closed."""

    local = remote = Endpoint("192.0.2.1", 1)
    protection = Protection.ENCRYPTED
    largest_frame = 0
    started = 0.0

    def __init__(self) -> None:
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @override
    def trust(self) -> None:
        self.trusted = True

    @property
    @override
    def carrier_socket(self) -> socket.socket:
        raise AssertionError("nobody asks")

    @override
    async def accept(self) -> ByteStream:
        raise OSError("nobody opens a stream")

    @override
    async def open(self) -> ByteStream:
        raise OSError("the peer allows none")

    @override
    async def serve_streams(self, on_stream: Callable[[ByteStream], None]) -> None:
        """None come."""

    is_confirmed = True

    @override
    async def wait_handshake_confirmed(self) -> None:
        """It is."""

    @override
    def send_frame(self, data: bytes) -> bool:
        return False

    @override
    async def wait_frame_room(self) -> None:
        """There is none to wait for."""

    @override
    def allow_peer_streams(self, wanted: bool) -> None:
        """None come that are not wanted."""

    @override
    def set_frame_sink(self, sink: FrameSink | None) -> None:
        """None come."""

    @override
    def close(self, code: int = 0, reason: str = "") -> None:
        if not self.closed.done():
            self.closed.set_result(reason)


@asynccontextmanager
async def visited(seconds: float) -> AsyncIterator[tuple[Idle, QuicConnectionContext]]:
    """Give a connection that is served, and what its streams have in common."""

    async def serve(*_: object) -> None:
        """Nobody is pushed."""

    connection = Idle()
    shared = QuicConnectionContext(connection, serve)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        shared.begin(group, seconds)
        try:
            yield connection, shared
        finally:
            shared.leave()


async def later(seconds: float) -> None:
    """Return after every timer that was due by then."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def test_who_asks_for_nothing_is_sent_away(run: Run) -> None:
    async def main() -> None:
        async with visited(0.01) as (connection, _):
            assert await connection.closed == "no request"

    run(main())


def test_a_stream_at_the_gate_does_not_stop_the_clock(run: Run) -> None:
    async def main() -> None:
        async with visited(0.01) as (connection, shared):
            assert await shared.enter()
            assert await connection.closed == "not authenticated in time"

    run(main())


def test_streams_that_are_given_up_one_after_another_do_not_stop_it_either(run: Run) -> None:
    async def main() -> None:
        async with visited(0.01) as (connection, shared):
            while not connection.closed.done():
                assert await shared.enter()
                await asyncio.sleep(0)
                shared.first_left(Ending.RESET)

    run(main())


def test_a_first_stream_without_a_request_ends_the_connection(run: Run) -> None:
    async def main() -> None:
        for ending in (Ending.NO_REQUEST, Ending.MALFORMED, Ending.UNAUTHENTICATED):
            async with visited(1000) as (connection, shared):
                assert await shared.enter()
                shared.first_left(ending)
                assert await connection.closed == "not authenticated"

    run(main())


def test_who_was_let_in_may_stay(run: Run) -> None:
    async def main() -> None:
        async with visited(0.01) as (connection, shared):
            assert await shared.enter()
            session = shared.admitted(ANONYMOUS, None)
            assert session is not None
            assert session.identity is ANONYMOUS
            await later(0.02)
            assert not connection.closed.done()

    run(main())


def test_a_connection_whose_user_is_gone_ends_once_nothing_runs_on_it(run: Run) -> None:
    async def main() -> None:
        async with visited(0.01) as (connection, shared):
            assert await shared.enter()
            with shared.serving():
                shared.admitted(ANONYMOUS, None)
                shared.revoke(lambda _: True)
                assert not await shared.enter()
                shared.revoke(lambda _: False)
                shared.revoke(lambda _: False)
                assert await shared.enter()
                shared.first_left(Ending.UNAUTHENTICATED)
                await later(0.03)
                assert not connection.closed.done()
            assert await connection.closed == "no request"

    run(main())


def test_two_that_are_let_in_at_a_time_after_a_reload_are_not_each_other(run: Run) -> None:
    async def main() -> None:
        async with visited(1000) as (_, shared):
            assert await shared.enter()
            shared.admitted(ANONYMOUS, None)
            assert not await shared.enter()  # a stream that is heard already when the reload comes
            shared.revoke(lambda _: False)
            own = shared.admitted(Identity(name="alice"), None)
            assert own is shared.session
            assert shared.admitted(ANONYMOUS, None) is None
            assert shared.admitted(Identity(name="alice"), None) is own
            assert not await shared.enter()

    run(main())


def test_a_peer_whose_stream_the_client_refuses_is_reset_and_the_next_one_comes(run: Run) -> None:
    async def main() -> None:
        served: list[AcceptedPeer] = []

        async def serve(_: object, stream: ByteStream, accepted: AcceptedPeer) -> None:
            served.append(accepted)
            stream.abort()

        connection = Opening()
        shared = QuicConnectionContext(connection, serve)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            shared.begin(group, 1000)
            near, far = memory_stream_pair()
            await shared.push(AcceptedPeer(stream=near, peer=NO_ENDPOINT), b"reply")
            with pytest.raises(ConnectionError):
                await far.receive()
            next_one = AcceptedPeer(stream=memory_stream_pair()[0], peer=NO_ENDPOINT)
            await shared.push(next_one, b"reply")
            await asyncio.sleep(0)
            assert served == [next_one]
            connection.over = True
            near, far = memory_stream_pair()
            with pytest.raises(ConnectionError):
                await shared.push(AcceptedPeer(stream=near, peer=NO_ENDPOINT), b"reply")
            with pytest.raises(ConnectionError):
                await far.receive()
            shared.leave()

    run(main())


class Opening(Idle):
    """Opens streams, the first of which the client refuses; until it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self._opened = 0

    @override
    async def open(self) -> ByteStream:
        if self.over:
            raise ConnectionResetError("over")
        near, _ = memory_stream_pair()
        self._opened += 1
        if self._opened == 1:
            near.abort()
        return near
