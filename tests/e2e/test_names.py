"""Names on their way through proxies: they arrive as they were written, and dead ones hold up nobody else's."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy, Rule
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Event, Observer
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.origins import silent_place

pytestmark = pytest.mark.e2e

Ask: TypeAlias = Callable[["Scene", str], Awaitable[bytes]]

QUICK: Final = Settings(drain_timeout=0.1)
HERE: Final = ResolvedAddress(socket.AF_INET, ("127.0.0.1", 0))


class Summaries(Observer):
    """Keeps what the log would say of connections that ended."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    @override
    def observe(self, event: Event) -> None:
        if isinstance(event, ConnectionEnded):
            self.hosts.append(event.host)


@dataclass
class Scene:
    """A server, a converter that goes out through it, and an origin that answers with its Host field."""

    server: str
    converter: str
    port: int
    asked: list[bytes]
    server_log: Summaries = field(default_factory=Summaries)

    def place(self, proxy: str) -> tuple[str, int]:
        """Return where a proxy listens."""
        host, _, port = proxy.rpartition("/")[2].rpartition(":")
        return host, int(port)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    host = next(line for line in head if line.lower().startswith(b"host:"))
    body = host.partition(b":")[2].strip()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    writer.close()


@contextlib.asynccontextmanager
async def scene(policy: Policy) -> AsyncIterator[Scene]:
    """Run all of it; every name is at 127.0.0.1."""
    asked: list[bytes] = []

    def look_up(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        asked.append(name)
        return [HERE._replace(socket_address=("127.0.0.1", port))]

    log = Summaries()
    direct = DirectOutbound(Resolver(lookup=look_up))
    origin = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with (
        origin,
        Server(
            ["mixed://127.0.0.1:0"], ServerWorker(outbound=direct, policy=policy, observers=[log])
        ) as server,
        Server(
            ["mixed://127.0.0.1:0"],
            ServerWorker(outbound=UpstreamOutbound(Client(server.urls[0].replace("mixed", "socks6")))),
        ) as converter,
    ):
        yield Scene(
            server=server.urls[0],
            converter=converter.urls[0],
            port=origin.sockets[0].getsockname()[1],
            asked=asked,
            server_log=log,
        )


async def through_socks6(scene: Scene, host: str) -> bytes:
    async with Client(scene.server.replace("mixed", "socks6")) as client:
        reader, writer = await client.open_connection(host, scene.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        said = await reader.read()
        writer.close()
        return said


def through_socks5(of: Callable[[Scene], str]) -> Ask:
    """Return what asks by SOCKS 5, the name being left to the proxy."""

    async def ask(scene: Scene, host: str) -> bytes:
        name = host.encode()
        reader, writer = await asyncio.open_connection(*scene.place(of(scene)))
        writer.write(b"\5\1\0" + b"\5\1\0\3" + bytes([len(name)]) + name + scene.port.to_bytes(2, "big"))
        answer = await reader.readexactly(2 + 10)
        assert answer[3] == 0, answer
        writer.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name)
        said = await reader.read()
        writer.close()
        return said

    return ask


def through_http(of: Callable[[Scene], str]) -> Ask:
    """Return what asks for a page by plain HTTP, whose Host field the proxy writes."""

    async def ask(scene: Scene, host: str) -> bytes:
        reader, writer = await asyncio.open_connection(*scene.place(of(scene)))
        request = f"GET http://{host}:{scene.port}/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        said = await reader.read()
        writer.close()
        return said

    return ask


ROADS: Final[dict[str, Ask]] = {
    "SOCKS 6": through_socks6,
    "SOCKS 5": through_socks5(lambda scene: scene.server),
    "SOCKS 5, converter": through_socks5(lambda scene: scene.converter),
    "HTTP": through_http(lambda scene: scene.server),
    "HTTP, converter": through_http(lambda scene: scene.converter),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("host", ["svc.", "svc"])
def test_a_name_is_looked_up_as_it_was_written(run: Run, road: str, host: str) -> None:
    async def play() -> None:
        rules = (Rule.parse("deny", hosts=["other.example"]),)
        async with scene(Policy(allow_private=True, rules=rules)) as made:
            said = await ROADS[road](made, host)
            body = said.rpartition(b"\r\n\r\n")[2]
            assert body.partition(b":")[0] == host.encode()
            assert made.asked == [host.encode()]
        assert made.server_log.hosts == ["svc"]

    run(play())


def test_a_certificate_is_compared_without_the_dot(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        files = write_certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.key)
        async with (
            scene(Policy(allow_private=True)) as made,
            await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context) as origin,
            Client(made.server.replace("mixed", "socks6")) as client,
        ):
            port = origin.sockets[0].getsockname()[1]
            trusting = ssl.create_default_context(cafile=files.ca)
            reader, writer = await client.open_connection("localhost.", port, ssl=trusting)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.read()).endswith(b"localhost")
            writer.close()

    run(play())


class Everybody(Authenticator):
    """Believes anybody who gives a name."""

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, UsernamePasswordCredentials)
        return Identity(name=credentials.username.decode())


class Zone:
    """Every name is at 127.0.0.1, but those of a zone whose servers are dead, and of one with silent hosts."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, name: bytes, port: int) -> Sequence[ResolvedAddress]:
        if name.endswith(b".silent"):
            return [ResolvedAddress(socket.AF_INET, (f"127.0.1.{number}", 0)) for number in range(1, 201)]
        if name.endswith(b".dead"):
            self.over.wait(timeout=20)
            raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
        return [HERE]


@contextlib.asynccontextmanager
async def two_users() -> AsyncIterator[tuple[Client, Client]]:
    """Yield clients of one server: of one who is up to something, and of one who is not."""
    zone = Zone()
    direct = DirectOutbound(Resolver(lookup=zone, timeout=20.0))
    worker = ServerWorker(
        outbound=direct, policy=Policy(allow_private=True), authenticator=Everybody(), settings=QUICK
    )
    async with Server(["socks6://127.0.0.1:0"], worker) as server:
        place = server.urls[0].rpartition("/")[2]
        try:
            async with (
                Client(f"socks6://mallory:x@{place}") as mallory,
                Client(f"socks6://alice:x@{place}") as alice,
            ):
                yield mallory, alice
        finally:
            zone.over.set()


def test_dead_names_of_one_user_do_not_stop_those_of_another(run: Run) -> None:
    async def play() -> None:
        async with (
            two_users() as (mallory, alice),
            await asyncio.start_server(_answer, "127.0.0.1", 0) as origin,
        ):
            port = origin.sockets[0].getsockname()[1]
            await mallory.noop()
            dead = [asyncio.create_task(mallory.connect(f"h{number}.dead", port)) for number in range(150)]
            for number in range(10):
                reader, writer = await alice.open_connection(f"good{number}.example", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: good\r\n\r\n")
                assert (await reader.read()).endswith(b"good")
                writer.close()
            assert not any(task.done() for task in dead)
            for task in dead:
                task.cancel()
            await asyncio.wait(dead)

    run(play())


def test_dead_names_of_one_users_datagrams_do_not_stop_those_of_another(run: Run) -> None:
    async def play() -> None:
        async with (
            two_users() as (mallory, alice),
            contextlib.AsyncExitStack() as opened,
        ):
            for association in range(8):
                udp = await opened.enter_async_context(mallory.associate(udp="stream"))
                for number in range(64):
                    await udp.send(b"x", (f"h{association}-{number}.dead", 9))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
                mine = await opened.enter_async_context(alice.associate(udp="stream"))
                for number in range(10):
                    await mine.send(b"%d" % number, (f"good{number}.example", sock.getsockname()[1]))
                    assert await asyncio.get_running_loop().sock_recv(sock, 9) == b"%d" % number

    run(play())


async def seconds_of(client: Client, port: int, prefix: str) -> list[float]:
    """Return how long CONNECTs to new names took, sorted."""
    loop = asyncio.get_running_loop()
    took = []
    for number in range(200):
        began = loop.time()
        async with await client.connect(f"{prefix}{number}.example", port):
            took.append(loop.time() - began)
    return sorted(took)


@pytest.mark.deep
def test_an_honest_client_beside_dead_names_and_silent_addresses(
    run: Run, record_property: Callable[[str, object], None]
) -> None:
    async def play() -> None:
        async with two_users() as (mallory, alice):
            with (
                socket.create_server(("127.0.0.1", 0), backlog=1024) as origin,
                silent_place("0.0.0.0") as silent,
            ):
                port = origin.getsockname()[1]
                before = await seconds_of(alice, port, "before")
                attack = [
                    asyncio.create_task(mallory.connect(f"h{number}.dead", port)) for number in range(200)
                ]
                attack += [
                    asyncio.create_task(mallory.connect(f"h{number}.silent", silent.port))
                    for number in range(50)
                ]
                await seconds_of(alice, port, "begun")  # the attack's own requests are made by this loop
                meanwhile = await seconds_of(alice, port, "meanwhile")
                assert not any(task.done() for task in attack)
                for task in attack:
                    task.cancel()
                await asyncio.wait(attack)
        for name, took in (("undisturbed", before), ("under attack", meanwhile)):
            figures = f"p50 {took[100] * 1e3:.1f} ms, p99 {took[197] * 1e3:.1f} ms"
            record_property(name, figures)
            print(name, figures)
        assert meanwhile[197] < max(0.05, 3 * before[197])

    run(play())
