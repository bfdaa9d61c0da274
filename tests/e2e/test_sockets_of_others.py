"""Libraries that take a socket, or a reader and a writer, work through every kind of proxy."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import redis.asyncio
import uvloop
import websockets
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from typing_extensions import override

from socks6 import Client, LocalProtocolError
from tests.kit.adapted import PROXIES, Adapted, adapted
from tests.kit.footprint import eventually
from tests.kit.origins import Place, refusing_place

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapted]:
    with adapted(tmp_path_factory.mktemp("adapted")) as running:
        yield running


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    folder: Path = tmp_path_factory.mktemp("redis")
    with refusing_place() as place:
        pass  # a port that is free
    line = [
        "redis-server",
        "--port",
        str(place.port),
        "--bind",
        place.host,
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        assert eventually(lambda: _accepts(place))
        yield place
        process.kill()


def _accepts(place: Place) -> bool:
    try:
        place.connected().close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(scope="module")
def mail() -> Iterator[Place]:
    with refusing_place() as place:
        pass
    controller = Controller(Sink(), hostname=place.host, port=place.port)
    controller.start()
    yield place
    controller.stop()


class Connection(redis.asyncio.Connection):
    """What docs/guide/from-python.md shows."""

    def __init__(self, *, proxy: Client, **settings: Any) -> None:
        super().__init__(**settings)
        self._proxy = proxy

    @override
    async def _connect(self) -> None:
        self._reader, self._writer = await self._proxy.open_connection(self.host, int(self.port))


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        *((kind, asyncio.run) for kind in PROXIES),
        ("socks6+tls", uvloop.run),
        *(pytest.param(kind, uvloop.run, marks=pytest.mark.deep) for kind in PROXIES if kind != "socks6+tls"),
    ],
)
def test_others(world: Adapted, database: Place, mail: Place, kind: str, run: Any) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "alice@example.com", "bob@example.com"
    message.set_content("hello")

    async def main() -> None:
        async with Client(world.url(kind)) as client:
            sock = await client.connect_socket(world.site.host, world.site.port)
            address = world.site.url.replace("https", "wss")
            async with websockets.connect(address, sock=sock, ssl=world.site.trusting()) as websocket:
                await websocket.send("hello")
                assert await websocket.recv() == "you said hello"
            pool = redis.asyncio.ConnectionPool(
                connection_class=Connection, proxy=client, host=database.host, port=database.port
            )
            async with redis.asyncio.Redis(connection_pool=pool) as there:
                await there.set("key", kind)
                assert await asyncio.gather(*(there.get("key") for _ in range(5))) == [kind.encode()] * 5
            await pool.disconnect()
            sock = await client.connect_socket(mail.host, mail.port)
            assert (await aiosmtplib.send(message, hostname=None, sock=sock))[0] == {}

    run(main())


def test_sockets_that_the_client_carries_end_with_it(world: Adapted, mail: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        client = Client(world.url("socks6+tls"))
        with pytest.raises(LocalProtocolError, match="async with"):
            await client.connect_socket(mail.host, mail.port)
        async with client:
            sock = await client.connect_socket(mail.host, mail.port)
            assert sock.getpeername() == (mail.host, mail.port)
            assert (await loop.sock_recv(sock, 100)).startswith(b"220")
            await loop.sock_sendall(sock, b"QUIT\r\n")
        with sock:
            while await loop.sock_recv(sock, 100):
                pass
        plain = await Client(world.url("socks6")).connect_socket(mail.host, mail.port)
        with plain:
            assert (await loop.sock_recv(plain, 100)).startswith(b"220")

    asyncio.run(main())
