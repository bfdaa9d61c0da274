"""Clients that go while something is done for them, and handshakes that take too long."""

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from typing_extensions import override

from socks6.net.stream import ByteStream, ConnectResult, Judge
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.context import ClientMonitor
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.joined import tcp_pair, tls_pair, unix_pair
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.streams import receive_exactly

CONNECT = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
PASSWORD = bytes.fromhex("0004 0014 02 01 05 616c696365 06 313233343536 00")
CONNECT_AS_ALICE = bytes.fromhex("06 01 0014 0050 00 03 0b") + b"example.com" + PASSWORD

PAIRS = {"memory": memory_stream_pair, "tcp": tcp_pair, "unix": unix_pair, "tls": tls_pair}


class Held:
    """Something that begins and takes for ever, unless it is released or cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = False

    async def wait(self) -> None:
        self.begun.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class SlowOutbound(ScriptedOutbound):
    """Dials for as long as it is held."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._hold = held

    @override
    async def connect(self, host: str, port: int, *, judge: Judge, **more: Any) -> ConnectResult:
        await self._hold.wait()
        return await super().connect(host, port, judge=judge, **more)


class SlowAuthenticator(Authenticator):
    """Works on a password for as long as it is held."""

    required = True

    def __init__(self, held: Held) -> None:
        self._hold = held

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        await self._hold.wait()
        return Identity(name="alice")


async def serve(worker: ServerWorker, stream: ByteStream) -> "asyncio.Task[None]":
    return asyncio.create_task(worker.serve_stream(stream))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_reset_ends_the_dialling(run: Run, pair: str) -> None:
    async def scene() -> None:
        held, observer = Held(), Recorder()
        client, server = PAIRS[pair]()
        worker = ServerWorker(outbound=SlowOutbound(held), observers=[observer])
        serving = await serve(worker, server)
        await client.send(CONNECT + b"early")
        await held.begun.wait()
        client.abort()
        await serving  # which the cancellation does not leave
        assert held.cancelled
        assert (observer.summaries[0].ending, observer.summaries[0].reason) == (
            Ending.RESET,
            "the client was gone before it had its answer",
        )

    run(scene())


def test_a_reset_ends_the_work_on_a_password(run: Run) -> None:
    async def scene() -> None:
        held = Held()
        client, server = tcp_pair()
        worker = ServerWorker(authenticator=SlowAuthenticator(held), outbound=ScriptedOutbound())
        serving = await serve(worker, server)
        await client.send(CONNECT_AS_ALICE)
        await held.begun.wait()
        client.abort()
        await serving
        assert held.cancelled

    run(scene())


def test_the_end_of_the_clients_side_does_not_end_the_dialling(run: Run) -> None:
    async def scene() -> None:
        held = Held()
        client, server = tcp_pair()
        outbound = SlowOutbound(held)
        serving = await serve(ServerWorker(outbound=outbound), server)
        await client.send(CONNECT)
        await client.send_eof()
        await held.begun.wait()
        assert not server.was_reset()
        held.released.set()
        assert await receive_exactly(client, 8) == bytes.fromhex("06 00 0000 06 00 0000")
        client.abort()
        outbound.far.abort()
        await serving

    run(scene())


def test_a_cancelled_server_is_still_cancelled(run: Run) -> None:
    async def scene() -> None:
        held = Held()
        client, server = tcp_pair()
        serving = await serve(ServerWorker(outbound=SlowOutbound(held)), server)
        await client.send(CONNECT)
        await held.begun.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with suppress(OSError):
            client.abort()

    run(scene())


def test_a_client_that_is_forgotten_is_watched_no_more(run: Run) -> None:
    async def scene() -> None:
        monitor = ClientMonitor()
        gone: list[str] = []
        streams = [memory_stream_pair() for _ in range(3)]

        def note(name: str) -> Callable[[], None]:
            return lambda: gone.append(name)

        noticed = asyncio.Event()
        monitor.watch(1, streams[0][1], note("first"))
        monitor.watch(2, streams[1][1], noticed.set)
        monitor.watch(3, streams[2][1], note("third"))
        monitor.forget(1)
        streams[0][0].abort()
        streams[1][0].abort()
        await noticed.wait()
        assert not gone
        assert len(monitor) == 1
        monitor.forget(3)

    run(scene())


def test_a_handshake_that_was_hastened_gets_no_more_time_by_its_next_step(run: Run) -> None:
    async def scene() -> None:
        monitor = ClientMonitor()
        now = asyncio.get_running_loop().time()
        over = asyncio.Event()
        monitor.add_handshake(1, now + 3600.0, over.set)
        monitor.hasten(now)
        monitor.add_handshake(
            1, now + 3600.0, over.set
        )  # as a client that has greeted, and waits for its request
        await over.wait()
        assert len(monitor) == 0

    run(scene())


def test_handshakes_end_in_the_order_of_their_deadlines_unless_they_are_done(run: Run) -> None:
    async def scene() -> None:
        monitor = ClientMonitor()
        now = asyncio.get_running_loop().time()
        ended: list[int] = []
        last = asyncio.Event()
        for number in range(3):
            monitor.add_handshake(number, now + number / 10, functools.partial(ended.append, number))
        monitor.add_handshake(3, now + 0.3, last.set)
        monitor.end_handshake(1)
        await last.wait()
        assert ended == [0, 2]
        assert len(monitor) == 0

    run(scene())
