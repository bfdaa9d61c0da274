"""Early data over QUIC: only requests that spend a token are carried out early, and replays never."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from socks6.message.codes import Command, ReplyCode
from socks6.message.options import (
    IdempotenceExpenditure,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    find,
)
from socks6.message.requests import Request
from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.engine import load_backend
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS, by_library, connector
from tests.kit.quic_clients import Asked, Scene, Slow, a_worker, ask, proof, serving

pytestmark = [pytest.mark.e2e, by_library("library")]


ANY_ADDRESS = "0.0.0.0"


async def _tokens(scene: Scene) -> tuple[SessionId, int]:
    """Have a session with an id, and a ticket; return the id and a token."""
    connection = await scene.connect()
    asked = await ask(connection, proof(), SessionRequest(), IdempotenceRequest(size=8))
    first, _ = await asked.replies()
    named, window = find(first.options, SessionId), find(first.options, IdempotenceWindow)
    assert named is not None
    assert window is not None
    await asked.stream.aclose()
    await connection.aclose()
    assert scene.dialler.has_ticket
    return named, window.base


@pytest.mark.parametrize("spends", [True, False])
def test_early_requests_are_carried_out_early_only_if_they_spend_a_token(
    run: Run, tmp_path: Path, library: str, spends: bool
) -> None:
    async def main() -> None:
        came: asyncio.Queue[bytes] = asyncio.Queue()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.put_nowait(await reader.read(100))
            writer.close()

        async with (
            await asyncio.start_server(note, "127.0.0.1", 0) as origin,
            serving(tmp_path, a_worker(Slow()), library) as scene,
        ):
            port = origin.sockets[0].getsockname()[1]
            named, token = await _tokens(scene)
            options = (named, IdempotenceExpenditure(token=token)) if spends else (named,)
            flight = await _first_flight(scene, port, *options)
            if spends:
                assert await came.get() == b"once"
            await _replay(scene, flight)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await came.get()

    run(main())


def test_an_early_teardown_waits_until_its_client_is_there(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            named, _ = await _tokens(scene)
            flight = await _first_flight(scene, 0, named, SessionTeardown(), command=Command.NOOP)
            await _replay(scene, flight)
            asked = await ask(await scene.connect(), named)
            assert find((await asked.authentication()).options, SessionOk) is not None

    run(main())


def test_early_streams_that_send_nothing_hold_up_no_later_ones(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        async with serving(tmp_path, a_worker(Slow()), library) as scene:
            for backend in BACKENDS:  # the client's
                scene.dialler = connector(scene.files, load_backend(backend))
                await _tokens(scene)
                connection = scene.begin()
                early = [connection.open_nowait() for _ in range(2)]
                await scene.dialler.ready(connection)
                assert (await (await ask(connection, proof())).replies())[1].code == ReplyCode.SUCCEEDED
                for stream in early:  # and are as good as those
                    assert stream is not None
                    await stream.send(Request(command=Command.NOOP, host=ANY_ADDRESS, port=0).encode())
                    assert (await Asked(stream).replies())[1].code == ReplyCode.SUCCEEDED

    run(main())


async def _first_flight(
    scene: Scene, port: int, *options: Option, command: int = Command.CONNECT
) -> tuple[bytes, ...]:
    """Send a request as early data and nothing after that; return the packets."""
    connection = scene.begin()
    kept: list[bytes] = []
    road = connection._packet_transport
    original = road.send

    def keep(packets: Sequence[bytes], remote: SocketAddress) -> None:
        kept.extend(packets)

    road.send = keep  # type: ignore[method-assign]
    host, after = ("127.0.0.1", b"once") if port else (ANY_ADDRESS, b"")
    await ask(connection, *options, command=command, host=host, port=port, after=after)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    flight = tuple(kept)  # what comes after it would be an answer to the server's
    original(flight, scene.address)
    return flight


async def _replay(scene: Scene, packets: tuple[bytes, ...]) -> None:
    """Send what an eavesdropper has heard, from a place of his own, again and again."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=scene.address
    )
    for _ in range(3):
        for packet in packets:
            transport.sendto(packet)
    transport.close()
