"""Ends that send what costs the other more: it closes the connection, and nobody else notices."""

import asyncio
import socket

import pytest

from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import load_backend
from socks6.net.transports.quic.guard import EXCESSIVE_CODE, OFFENCES_OF_OFFENDER, SUSPECT
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS, by_library, connected, connector, joined, listening
from tests.kit.quic_hostile import STORMS, NamelessBackend, initial_packets, send_by_hand
from tests.kit.streams import receive_exactly, until

pytestmark = pytest.mark.e2e  # takes long, with real sockets

LIBRARY = by_library("library")
MOST = 4_000  # packets of a storm
CONNECTION_ID_LIMIT = 9  # RFC 9000 §20.1: aioquic has a bound of its own there
ENDS = {
    "too many frames for what they bring",
    "too many pieces out of order",
    "too many connection ids",
    "Too many pending retired connection IDs",
}


async def storm(attacker: QuicConnection, victim: QuicConnection, name: str) -> int:
    """Send packets of a storm until the other end has had enough; return how many it were."""
    for turn in range(MOST):
        send_by_hand(attacker, STORMS[name](turn))
        if turn % 4 == 3:
            await asyncio_turns()
        if victim.over is not None:
            return turn
    raise AssertionError("it took them all")


async def asyncio_turns() -> None:
    """Let both ends act."""
    for _ in range(3):
        await asyncio.sleep(0)


def assert_closed(victim: QuicConnection) -> None:
    assert victim.terminated is not None
    assert victim.terminated.code in {EXCESSIVE_CODE, CONNECTION_ID_LIMIT}
    assert victim.terminated.reason in ENDS


@pytest.mark.parametrize("library", BACKENDS)
@pytest.mark.parametrize("name", STORMS)
def test_a_server_closes_a_client_that_storms(library: str, name: str) -> None:
    async def main() -> None:
        with certificate() as files:
            async with asyncio.timeout(20), listening(files, load_backend(library)) as listener:
                honest, its_end = await connected(connector(files, load_backend(library)), listener)
                attacker, victim = await connected(connector(files, load_backend("aioquic")), listener)
                assert await storm(attacker, victim, name) < 60
                assert_closed(victim)
                stream = await honest.open()
                await stream.send(b"still here")
                assert await (await its_end.accept()).receive() == b"still here"
                await until(lambda: len(listener._connections) == 1)

    Run("asyncio")(main())


@LIBRARY
def test_a_source_that_storms_again_and_again_may_less_and_is_still_served(run: Run, library: str) -> None:
    async def main() -> None:
        with certificate() as files:
            async with asyncio.timeout(20), listening(files, load_backend(library)) as listener:
                told: list[tuple[str, str]] = []
                listener.on_refused = lambda source, reason: told.append((source, reason))
                for _ in range(OFFENCES_OF_OFFENDER):
                    attacker, victim = await connected(connector(files, load_backend("aioquic")), listener)
                    await storm(attacker, victim, "pings")
                assert told == [("127.0.0.1", "too many frames for what they bring")] * OFFENCES_OF_OFFENDER
                attacker, victim = await connected(connector(files, load_backend("aioquic")), listener)
                send_by_hand(attacker, b"\x01" * SUSPECT.frames * 2)  # what any other stranger may
                await until(lambda: victim.over is not None)
                assert_closed(victim)
                client, server = await connected(connector(files, load_backend(library)), listener)
                streams = [await client.open() for _ in range(50)]
                for stream in streams:
                    await stream.send(bytes(60))
                assert [await (await server.accept()).receive() for _ in streams] == [bytes(60)] * 50

    run(main())


@pytest.mark.parametrize("library", BACKENDS)
@pytest.mark.parametrize("name", STORMS)
def test_a_client_closes_a_proxy_that_storms(library: str, name: str) -> None:
    async def main() -> None:
        async with joined(library, "aioquic") as (victim, attacker):
            stream = await victim.open()
            await stream.send(b"!")
            await (await attacker.accept()).receive(1)
            await storm(attacker, victim, name)
            assert_closed(victim)
            with pytest.raises(OSError, match=r"(?i)too many"):
                await victim.open()

    Run("asyncio")(main())


@LIBRARY
def test_a_handshake_in_pieces_that_never_fit_is_ended(run: Run, library: str) -> None:
    async def main() -> None:
        with certificate() as files:
            async with asyncio.timeout(20), listening(files, load_backend(library)) as listener:
                told: list[str] = []
                listener.on_refused = lambda _source, reason: told.append(reason)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.connect(("127.0.0.1", listener.local.port))
                    packets = initial_packets(4)
                    sock.send(packets[0])
                    await until(lambda: len(listener._connections) == 1)
                    for packet in packets[1:]:
                        sock.send(packet)
                    await until(lambda: len(listener._connections) == 0)
                assert told == ["too many pieces out of order"]  # and not that it took too long

    run(main())


@LIBRARY
@pytest.mark.parametrize("retry_from", [64, 0])
@pytest.mark.parametrize("strict", [True, False])
def test_clients_whose_connection_id_is_empty_are_served(
    run: Run, library: str, retry_from: int, strict: bool
) -> None:
    """RFC 9000 §5.1: Chromium's, quic-go's and quiche's clients are such."""

    async def main() -> None:
        with certificate() as files:
            backend = load_backend(library)
            async with asyncio.timeout(20), listening(files, backend, retry_from=retry_from) as listener:
                dialler = connector(files, NamelessBackend(sends_empty_ids=not strict))
                client, server = await connected(dialler, listener)
                server.trust()
                for near, far in ((client, server), (server, client)):
                    stream = await near.open()
                    await stream.send(bytes(300_000))
                    await stream.send_eof()
                    assert len(await receive_exactly(await far.accept(), 300_000)) == 300_000
                await until(lambda: dialler.has_ticket)
                again = dialler.begin(("127.0.0.1", listener.local.port))
                early = await again.open()
                await early.send(b"early")
                assert await (await (await listener.accept()).accept()).receive() == b"early"
                await dialler.ready(again)
                for end in (client, again):
                    end.close()
                await until(lambda: len(listener._connections) == 0)

    run(main())
