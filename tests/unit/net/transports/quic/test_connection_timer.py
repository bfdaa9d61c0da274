"""When a QUIC connection's packets leave, and what its timer does at the end of it."""

import asyncio
import socket
from collections.abc import Sequence

import pytest
from typing_extensions import override

from socks6.net.stream import Endpoint, SocketAddress
from socks6.net.transports.quic import connection as module
from socks6.net.transports.quic.connection import PacketTransport, QuicConnection
from socks6.net.transports.quic.engine import Event, QuicEngine, StreamBytes, Terminated
from tests.kit.loops import Run

NEAR: SocketAddress = ("127.0.0.1", 9)


class Ending(QuicEngine):
    """A connection that is over when its timer fires, which it says in its events, and by refusing all else."""

    certificate = cid = b""
    stalled = credit_blocked = False
    unanswered_probes = 0
    round_trip = 0.0
    quiet = room_for_frames = True
    largest_frame = 100

    def __init__(self) -> None:
        self.events: list[Event] = [StreamBytes(1, b"", ended=False)]  # a stream, so it is kept alive
        self.over = False
        self.released = asyncio.Event()

    @override
    def timer(self) -> float | None:
        return None if self.over else 0.0

    @override
    def handle_timer(self, now: float) -> None:
        self.over = True
        self.events.append(Terminated(0, "idle"))

    @override
    def next_event(self) -> Event | None:
        return self.events.pop(0) if self.events else None

    @override
    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        return []

    @override
    def unsent(self, stream_id: int | None = None) -> int:
        return 0

    @override
    def ping(self, number: int = 0) -> None:
        self._check()

    @override
    def send_frame(self, data: bytes) -> None:
        self._check()

    @override
    def stop(self, stream_id: int, code: int) -> None:
        self._check()

    @override
    def release(self) -> None:
        self.released.set()

    def _check(self) -> None:
        if self.over:
            raise ConnectionError("connection is closed")


class Nowhere(PacketTransport):
    """Sends nothing."""

    local = Endpoint("127.0.0.1", 1)

    @property
    @override
    def sock(self) -> socket.socket:
        raise AssertionError("nobody asks")

    @override
    def send(self, packets: Sequence[bytes], remote: SocketAddress) -> None:
        """Nothing is sent."""


@pytest.mark.parametrize("frames", [0, 3])
def test_a_timer_that_ends_the_connection_asks_nothing_more_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        faults: list[object] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        engine = Ending()  # type: ignore[abstract]  # nobody calls the rest
        connection = QuicConnection(engine, Nowhere(), NEAR, is_client=True)
        connection._take_events()
        for _ in range(frames):
            assert connection.send_frame(b"frame")
        connection._on_timer()
        assert connection.over is not None
        await engine.released.wait()
        assert not faults

    run(main())
