"""Strangers at a QUIC port: garbage, handshakes that nobody ends, clients that never read, streams given up."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.errors import Socks6Error
from socks6.net.transports.quic.engine import ClientParameters, load_backend
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.footprint import eventually
from tests.kit.loops import Run
from tests.kit.origins import Place, tcp_host
from tests.kit.processes import socks6
from tests.kit.proxies import Proxy, server
from tests.kit.quic import BACKENDS, connector
from tests.kit.quic_hostile import every_second_byte, send_by_hand
from tests.kit.streams import until

pytestmark = pytest.mark.e2e

GARBAGE: Final = 20_000
INITIALS: Final = 1_500
PLACES: Final = 1_000
DOWNLOADS: Final = 20
MEGABYTE: Final = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def far(files: Files) -> Iterator[Proxy]:
    with server("--listen", f"socks6+quic://127.0.0.1:0?{files.listener_query}") as running:
        yield running


@contextlib.contextmanager
def strange(far: Proxy, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Give a socket that sends to the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.settimeout(0.2)
        sock.connect((far.place.host, far.place.port))
        yield sock


def serves(far: Proxy, files: Files) -> bool:
    return socks6("ping", "-c", "1", f"{far.url}?pin-sha256={pin_of_file(files.certificate)}").code == 0


def answers(sock: socket.socket) -> list[bytes]:
    """Return what has come, and what still comes."""
    came: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while True:
            came.append(sock.recv(65536))
    return came


def test_garbage_is_answered_with_less_and_costs_nothing(far: Proxy, files: Files) -> None:
    luck = random.Random(6)
    assert serves(far, files)
    before = far.footprint
    sent = 0
    with strange(far) as sock:
        for number in range(GARBAGE):
            data = bytes((luck.randrange(64, 256),)) + luck.randbytes(luck.choice((0, 8, 24, 60, 1199, 1400)))
            sent += sock.send(data)
            if number % 200 == 0:
                assert far.process.poll() is None
        received = sum(map(len, answers(sock)))
    assert received < sent / 2
    assert serves(far, files)
    assert far.footprint.memory < before.memory + 8 * MEGABYTE
    assert far.footprint.descriptors <= before.descriptors + 1


def initial(seed: int) -> bytes:
    """Return a client's first packet."""
    core = load_backend().client(ClientParameters(server_name="localhost"))
    core.connect(("127.0.0.1", 443), float(seed))
    return core.to_send(float(seed))[0][0]


def test_handshakes_that_nobody_ends_are_bounded_by_retry(files: Files) -> None:
    with server("--listen", f"socks6+quic://127.0.0.1:0?{files.listener_query}") as far:
        assert serves(far, files)
        before = far.footprint
        with strange(far) as sock:
            came: list[bytes] = []
            for number in range(INITIALS):
                sock.send(initial(number))
                if number % 50 == 49:
                    came += answers(sock) if number > INITIALS - 100 else []
            retries = [packet for packet in came if packet[0] & 0xF0 == 0xF0]
            assert retries  # clients are to prove that they are where they say
            assert all(len(packet) < 200 for packet in retries)
            assert serves(far, files)  # who does gets in all the while
            assert far.footprint.memory < before.memory + 48 * MEGABYTE
        assert far.footprint.descriptors <= before.descriptors + 1


@pytest.mark.parametrize("library", BACKENDS)
def test_memory_does_not_grow_with_connections_that_send_pieces(files: Files, library: str) -> None:
    listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}&backend={library}"

    async def storm(port: int) -> None:
        dialler = connector(files, load_backend("aioquic"))
        attacker = dialler.begin(("127.0.0.1", port))
        await dialler.ready(attacker)
        for turn in range(200):
            if attacker.over is None:
                send_by_hand(attacker, every_second_byte(turn))
            await asyncio.sleep(0)
        await until(lambda: attacker.over is not None)

    with server("--listen", listen) as far:
        asyncio.run(storm(far.place.port))  # what is loaded with the first one
        before = far.footprint.memory
        for _ in range(20):
            asyncio.run(storm(far.place.port))
        assert far.footprint.memory < before + 5 * MEGABYTE


@pytest.mark.deep
def test_one_source_shuts_nobody_out_whatever_it_sends(
    files: Files, record_property: Callable[[str, object], None]
) -> None:
    """Real handshakes, each with the token of a Retry, more than there are places; then noise with such a token."""
    with server("--listen", f"socks6+quic://127.0.0.1:0?{files.listener_query}", "-v") as far:
        undisturbed = answer_times(far, files)
        before = far.footprint
        with strange(far, "127.0.0.2") as sock:
            retries = [begin_handshake(sock, far, number) for number in range(PLACES + 200)]
            assert retries.count(b"") < 100
            during_handshakes = answer_times(far, files)
            token = retry_token(retries[-1])
            for number in range(3_000):
                sock.send(noise(number, token))
            during_noise = answer_times(far, files)
        record_property("undisturbed_ms", undisturbed)
        record_property("during_handshakes_ms", during_handshakes)
        record_property("during_noise_ms", during_noise)
        assert far.footprint.memory < before.memory + 256 * MEGABYTE
        assert serves(far, files)


def answer_times(far: Proxy, files: Files) -> list[float]:
    """Return how many milliseconds honest clients wait, each on a connection of its own."""
    times: list[float] = []

    async def play() -> None:
        for _ in range(10):
            async with Client(f"{far.url}?ca={files.ca}", session=False) as client:
                times.append(round(1000 * await client.noop(timeout=5.0), 1))

    Run("uvloop")(play())
    return times


def begin_handshake(sock: socket.socket, far: Proxy, seed: int) -> bytes:
    """Send a client's first packet, and again if it is to prove its address; return the Retry, b"" for none."""
    now = float(seed)
    core = load_backend().client(ClientParameters(server_name="localhost"))
    core.connect((far.place.host, far.place.port), now)
    sock.send(core.to_send(now)[0][0])
    while (packet := sock.recv(65536))[0] & 0x80 == 0:
        pass
    if packet[0] & 0xF0 != 0xF0:
        return b""
    core.receive(packet, len(packet), (far.place.host, far.place.port), now)
    for again, _ in core.to_send(now):
        sock.send(again)
    return packet


def retry_token(packet: bytes) -> bytes:
    """Return the token of a Retry: what is between its ids and the tag of 16 bytes."""
    at = 6 + packet[5]
    return packet[at + 1 + packet[at] : -16]


def noise(seed: int, token: bytes) -> bytes:
    """Return what looks like a client's first packet."""
    luck = random.Random(seed)
    head = bytes.fromhex("c3 00000001 08") + luck.randbytes(8) + b"\0"
    head += (0x4000 | len(token)).to_bytes(2, "big") + token
    size = 1200 - len(head) - 2
    return head + (0x4000 | size).to_bytes(2, "big") + luck.randbytes(size)


def test_clients_that_never_read_cost_bounded_memory(far: Proxy, files: Files) -> None:
    sent = [0]

    def pour(connection: socket.socket) -> None:
        block = bytes(65536)
        connection.recv(1)
        while True:
            connection.sendall(block)
            sent[0] += len(block)

    async def play() -> None:
        with tcp_host(pour) as place:
            async with Client(f"{far.url}?ca={files.ca}") as client:
                before = far.footprint.memory
                streams = [await client.connect(place.host, place.port) for _ in range(DOWNLOADS)]
                for stream in streams:
                    await stream.send(b"!")
                await still(sent)
                assert far.footprint.memory < before + 32 * MEGABYTE
                for stream in streams:
                    stream.abort()

    Run("uvloop")(play())
    assert serves(far, files)


async def still(count: list[int]) -> None:
    """Wait until a count no longer grows."""
    last = -1
    while count[0] != last:
        last = count[0]
        await asyncio.sleep(0.5)


def test_streams_are_given_up_in_every_state(far: Proxy, files: Files) -> None:
    def talk(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data * 4)

    async def give_up(client: Client, place: Place, turns: int) -> None:
        """Abort after so many turns of the loop: while the request leaves, waits, is answered, is relayed."""
        asking = asyncio.ensure_future(client.connect(place.host, place.port, initial_data=os.urandom(3000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not asking.done():
            asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, Socks6Error, OSError):
            stream = await asking
            await stream.receive(1)
            await stream.send(bytes(turns))
            stream.abort()

    async def play() -> None:
        with tcp_host(talk) as place:
            async with Client(f"{far.url}?ca={files.ca}") as client:
                await client.noop()
                for turns in range(120):
                    await give_up(client, place, turns)
                await client.noop()

    before = far.footprint.descriptors
    Run("uvloop")(play())
    assert eventually(lambda: far.footprint.descriptors <= before + 1)
    assert serves(far, files)
