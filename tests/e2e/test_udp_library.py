"""The library's UDP, through real servers."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import ProxyUnreachable
from tests.kit.loops import Run
from tests.kit.proxies import server
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def via() -> Iterator[str]:
    """Run a server; give its URL."""
    with server() as running:
        yield running.url


@pytest.fixture(scope="module")
def chain(via: str) -> Iterator[str]:
    """Run a server that goes through another one; give its URL."""
    with server("--via", via) as running:
        yield running.url


PATHS = pytest.mark.parametrize("path", ["datagram", "stream"])


@PATHS
def test_a_game_server_behind_the_proxy_is_reached_first_from_outside(run: Run, via: str, path: str) -> None:
    """We are the server: nothing was sent anywhere when the first player comes."""

    async def scene(url: str) -> None:
        async with (
            Client(url) as client,
            client.associate("127.0.0.1", udp=path) as udp,  # type: ignore[arg-type]  # one of the three
        ):
            players = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
            for number, player in enumerate(players):
                player.connect(udp.bound)
                player.settimeout(5)
                player.send(f"player {number} joins".encode())
            for _ in players:
                data, source = await udp.receive()
                await udp.send(data.replace(b"joins", b"is in"), source)
            for number, player in enumerate(players):
                answer = await asyncio.to_thread(player.recv, 100)
                assert answer == f"player {number} is in".encode()
                player.close()

    run(scene(via))


class Counting(asyncio.DatagramProtocol):
    """Sends numbers, the next one when the last has come back."""

    def __init__(self, count: int) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._count = count
        self._transport: asyncio.DatagramTransport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport
        transport.sendto(b"0")

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        number = int(data) + 1
        if number == self._count:
            self.done.set_result(None)
        else:
            self._transport.sendto(str(number).encode())


@PATHS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_asyncio_protocol_needs_no_change(run: Run, via: str, path: str, host: str) -> None:
    async def scene(url: str, port: int) -> None:
        async with Client(url) as client:
            transport, protocol = await client.create_datagram_endpoint(
                lambda: Counting(200),
                (host, port),
                udp=path,  # type: ignore[arg-type]  # one of the three
            )
            await protocol.done
            transport.close()

    with udp_echo(host) as far:
        run(scene(via, far.port))


@PATHS
def test_a_chain_of_servers_carries_datagrams(run: Run, chain: str, path: str) -> None:
    async def scene(url: str, port: int) -> None:
        async with Client(url) as client, client.associate(udp=path) as udp:  # type: ignore[arg-type]
            for size in (0, 1, 1200, 9000):
                await udp.send(bytes(size), ("localhost", port))
                assert await udp.receive() == (bytes(size), ("127.0.0.1", port))

    with udp_echo() as far:
        run(scene(chain, far.port))


def test_where_the_proxy_takes_no_udp_the_connection_carries_it(run: Run) -> None:
    async def scene(url: str, port: int) -> None:
        async with Client(url) as client:
            async with client.associate() as udp:
                await udp.send(b"hello", ("127.0.0.1", port))
                assert (await udp.receive())[0] == b"hello"
                assert udp.path == "stream"
            with pytest.raises(ProxyUnreachable, match="UDP port"):
                async with client.associate(udp="datagram"):
                    pass

    with server("--no-udp") as running, udp_echo() as far:
        run(scene(running.url, far.port))


def test_many_at_a_time(run: Run, via: str) -> None:
    async def one(client: Client, port: int) -> None:
        async with client.associate() as udp:
            for number in range(20):
                await udp.send(b"%d" % number, ("127.0.0.1", port))
                assert (await udp.receive())[0] == b"%d" % number

    async def scene(url: str, port: int) -> None:
        async with Client(url) as client, asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(one(client, port))

    with udp_echo() as far:
        run(scene(via, far.port))
