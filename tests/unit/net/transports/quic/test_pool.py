"""Which of its QUIC connections a client makes a request on."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.client.client import Client
from socks6.net.stream import ByteStream
from socks6.net.transports.quic import connection as connection_module
from socks6.net.transports.quic import pool as module
from socks6.net.transports.quic.client import ClientSocket
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.pool import QuicConnectionPool
from tests.kit.loops import Run
from tests.kit.origins import echo
from tests.kit.proxied import echoing
from tests.kit.quic import by_library
from tests.kit.quic_clients import Scene, Slow, a_worker, pool_of, serving
from tests.kit.streams import receive_exactly, until

pytestmark = pytest.mark.e2e  # takes long, with real sockets

LIBRARY = by_library("library")


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Give the port of a host where connections are made that nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def fill(stream: ByteStream, way: QuicConnectionPool) -> None:
    """Send until the only connection is blocked."""
    while not way._pool[0].connection.blocked:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await stream.send(bytes(65536))


def client_of(scene: Scene, library: str) -> tuple[Client, QuicConnectionPool]:
    client = Client(
        f"socks6+quic://alice:right@localhost:{scene.url.port}?ca={scene.files.ca}&backend={library}"
    )
    return client, pool_of(client)


async def echoed(client: Client, port: int) -> bool:
    async with asyncio.timeout(3), await client.connect("127.0.0.1", port, initial_data=b"x") as stream:
        return await stream.receive() != b""


@LIBRARY
def test_an_upload_to_a_host_that_does_not_read_holds_up_nobody(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        async with echoing() as port, serving(tmp_path, a_worker(Slow()), library) as scene:
            client, way = client_of(scene, library)
            with silent() as dead:
                async with client:
                    stuck = await client.connect("127.0.0.1", dead)
                    await fill(stuck, way)
                    assert await echoed(client, port)
                    assert len(way._pool) == 2
                    assert await echoed(client, port)
                    assert len(way._pool) == 2
                    stuck.abort()
                    assert await echoed(client, port)

    run(main())


@LIBRARY
def test_beyond_so_many_connections_requests_share_those_that_are_blocked(
    run: Run, tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS_PER_COMMAND", 1)

    async def main() -> None:
        async with echoing() as port, serving(tmp_path, a_worker(Slow()), library) as scene:
            client, way = client_of(scene, library)
            with silent() as dead:
                async with client:
                    stuck = await client.connect("127.0.0.1", dead)
                    await fill(stuck, way)
                    assert way._pool[0].connection.blocked
                    assert await echoed(client, port)
                    assert len(way._pool) == 1
                    assert not way.loses_packets()
                    way._pool[0].connection._losses._before = (3, 0)  # as if 3 had come, and then none
                    assert way.loses_packets()
                    stuck.abort()

    run(main())


@LIBRARY
@pytest.mark.parametrize("data", [b"", b"not to come twice"])
def test_a_request_leaves_a_connection_that_is_dead(
    run: Run, tmp_path: Path, library: str, data: bytes
) -> None:
    """Without data it is made once more; before data is sent the proxy is asked whether it is there."""

    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            client, way = client_of(scene, library)
            async with client:
                (await client.connect(place.host, place.port)).abort()
                dead = way._pool[0].connection
                with lost(dead):
                    await until(
                        lambda: not readable(dead._packet_transport.sock)
                    )  # what came before is no answer
                    dead.last_received_at -= (
                        2 * module.RECENTLY_HEARD_SECONDS
                    )  # uvloop's clock stands still in a turn
                    async with await client.connect(place.host, place.port, initial_data=data) as stream:
                        await stream.send(b"there?")
                        assert await receive_exactly(stream, len(data) + 6) == data + b"there?"
                    assert way._pool[-1].connection is not dead

    with echo() as place:
        run(main())


@LIBRARY
def test_a_connection_is_left_that_falls_silent_with_an_acknowledgement_owed(
    run: Run, tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though something has come since the request was sent, and long before its probes have been unanswered."""
    monkeypatch.setattr(connection_module, "UNANSWERED_PROBES", 100)

    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            client, way = client_of(scene, library)
            async with client:
                (await client.connect(place.host, place.port)).abort()
                dead = way._pool[0].connection

                def hear() -> None:
                    dead.last_received_at = asyncio.get_running_loop().time()

                with lost(dead):
                    asyncio.get_running_loop().call_later(0.05, hear)
                    async with asyncio.timeout(5), await client.connect(place.host, place.port) as stream:
                        await stream.send(b"there?")
                        assert await receive_exactly(stream, 6) == b"there?"
                    assert way._pool[-1].connection is not dead

    with echo() as place:
        run(main())


@LIBRARY
def test_a_connection_that_is_given_up_gets_no_more_requests(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with echoing() as port, serving(tmp_path, a_worker(Slow()), library) as scene:
            client, way = client_of(scene, library)
            async with client, await client.connect("127.0.0.1", port):
                (pooled,) = way._pool
                pooled.connection.close_when_unused()
                assert await echoed(client, port)
                assert [one is pooled for one in way._pool] == [True, False]

    run(main())


def readable(sock: socket.socket | None) -> bool:
    assert sock is not None
    return bool(select.select([sock], [], [], 0)[0])


@contextlib.contextmanager
def lost(connection: QuicConnection) -> Iterator[None]:
    """Have whatever a client's connection sends get lost."""
    packet_transport = connection._packet_transport
    assert isinstance(packet_transport, ClientSocket)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silence:
        silence.bind(("127.0.0.1", 0))
        before, packet_transport._address = packet_transport._address, silence.getsockname()
        packet_transport.sock.connect(packet_transport._address)
        try:
            yield
        finally:
            packet_transport._address = before
            packet_transport._replace()
