"""Everything that a client of the library can do, each as one function, and a small world that it is done in."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import trustme
from typing_extensions import override

from socks6.client.association_factory import UdpPathChoice
from socks6.client.client import Client
from socks6.errors import ConnectionRefused, OperationFailed
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.registry import AUTO
from socks6.net.url import ProxyUrl, QuicParameters
from socks6.policy.rules import Policy
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.sessions import SessionSettings
from socks6.proxy.settings import Settings, UdpSettings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.loops import LOOP_FACTORIES

HOST: Final = "127.0.0.1"
ELSEWHERE: Final = "192.0.2.1"  # no address of ours
USERS: Final = UserTable.from_plain({"alice": "secret"})
TRANSPORTS: Final = ("tcp", "tls", "quic", "quic by aioquic", "auto, over quic", "auto, over tls")
LOOPS: Final = tuple(sorted(LOOP_FACTORIES))
ALL: Final = tuple(itertools.product(TRANSPORTS, LOOPS))
# For `make test`, which has no time for all; `make deep` takes all.
SOME: Final = (("tls", "uvloop"), ("quic", "asyncio"))
UNHEARD: Final = 0.02  # seconds between what a host says to nobody


@dataclass(frozen=True, kw_only=True)
class World:
    """A proxy, and hosts beyond it, all in this event loop."""

    url: ProxyUrl
    echo: int
    secure_echo: int
    open_end: int  # of a host that reads all and does not close its side
    refusing: int
    datagrams: int  # of an echo
    trust: ssl.SSLContext
    own: ssl.SSLContext  # to be a server of TLS with

    def client(self) -> Client:
        """Return a new client."""
        return Client(self.url)


@asynccontextmanager
async def world(transport: str, folder: Path) -> AsyncIterator[World]:
    """Run it all."""
    authority = trustme.CA()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(own)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with contextlib.AsyncExitStack() as stack:

        async def host(serve: Serve, context: ssl.SSLContext | None = None) -> int:
            server = await stack.enter_async_context(
                await asyncio.start_server(_unharmed(serve), HOST, 0, ssl=context)
            )
            port: int = server.sockets[0].getsockname()[1]
            return port

        udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, (HOST, 0))
        stack.callback(udp.abort)
        async with await asyncio.start_server(_unharmed(_echo), HOST, 0) as gone:
            refusing = gone.sockets[0].getsockname()[1]
        yield World(
            url=await stack.enter_async_context(_proxy(transport, folder)),
            echo=await host(_echo),
            secure_echo=await host(_echo, own),
            open_end=await host(_read_on),
            refusing=refusing,
            datagrams=udp.get_extra_info("sockname")[1],
            trust=trust,
            own=own,
        )


@asynccontextmanager
async def _proxy(transport: str, folder: Path) -> AsyncIterator[ProxyUrl]:
    files = write_certificate(folder)
    over = transport.rpartition(" ")[2]
    library = "aioquic" if over == "aioquic" else ""
    scheme = {"tcp": "socks6", "tls": "socks6+tls"}.get(over, "socks6+quic")
    query = "" if over == "tcp" else f"?{files.listener_query}" + (f"&backend={library}" if library else "")
    # where QUIC is to be refused at once, nobody may be at the port
    udp = UdpSettings(enabled=transport != "auto, over tls")
    settings = Settings(
        udp=udp, sessions=SessionSettings(idle_timeout=1.0)
    )  # of those that nobody tears down
    worker = ServerWorker(authenticator=USERS, policy=Policy(allow_private=True), settings=settings)
    async with Server([f"{scheme}://{HOST}:0{query}"], worker) as server:
        url = replace(ProxyUrl.parse(server.urls[0]), username="alice", password="secret")
        if over != "tcp":
            tls = TlsParameters(pins=(parse_pin(pin_of_file(files.certificate)),))
            url = replace(url, tls=tls, quic=QuicParameters(backend=library))
        yield replace(url, transport=AUTO) if transport.startswith("auto") else url


# Hosts.

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _unharmed(serve: Serve) -> Serve:
    """Have a host not mind how connections end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.close()

    return handle


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end; then say on and on what nobody hears, until that fails."""
    while await reader.read(65536):
        pass
    while not writer.is_closing():
        writer.write(b"?")
        await writer.drain()
        await asyncio.sleep(UNHEARD)


class _Echo(asyncio.DatagramProtocol):
    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]  # uvloop's is no DatagramTransport


# What a client does.

Operation: TypeAlias = Callable[[World, Client], Awaitable[None]]


async def noop(_: World, client: Client) -> None:
    await client.noop()


async def open_session(_: World, client: Client) -> None:
    assert await client.open_session()


async def connect(world: World, client: Client) -> None:
    async with await client.connect(HOST, world.echo, initial_data=b"a") as stream:
        await stream.send(b"b")
        await stream.send_eof()
        data = b""
        while piece := await stream.receive():
            data += piece
        assert data == b"ab"


async def connect_with_a_token(world: World, client: Client) -> None:
    async with await client.connect(HOST, world.echo, initial_data=b"a", idempotent=True) as stream:
        assert await stream.receive() == b"a"


async def connect_in_vain(world: World, client: Client) -> None:
    with contextlib.suppress(ConnectionRefused):
        await client.connect(HOST, world.refusing)
        raise AssertionError("connected to nobody")


async def open_connection(world: World, client: Client) -> None:
    reader, writer = await client.open_connection(HOST, world.echo)
    with contextlib.closing(writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
    await writer.wait_closed()


async def open_secured(world: World, client: Client) -> None:
    reader, writer = await client.open_connection(HOST, world.secure_echo, ssl=world.trust)
    with contextlib.closing(writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


async def open_in_vain(world: World, client: Client) -> None:
    """Speak TLS to a host that does not answer, and give up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.open_connection(HOST, world.open_end, ssl=world.trust)


async def close_with_an_open_end(world: World, client: Client) -> None:
    _, writer = await client.open_connection(HOST, world.open_end)
    writer.write(b"last words")
    writer.close()


async def leave_open(world: World, client: Client) -> None:
    """Leave a transport to its client, which ends it unless it is a plain socket."""
    transport, _ = await client.create_connection(asyncio.Protocol, HOST, world.echo)
    transport.write(b"hello")


async def associate(world: World, client: Client, udp: UdpPathChoice | None = None) -> None:
    async with client.associate(udp=udp) as association:
        await association.send(b"hello", (HOST, world.datagrams))
        assert (await association.receive())[0] == b"hello"


async def associate_on_the_stream(world: World, client: Client) -> None:
    await associate(world, client, udp="stream")


async def datagram_endpoint(world: World, client: Client) -> None:
    came = asyncio.get_running_loop().create_future()

    class Protocol(asyncio.DatagramProtocol):
        @override
        def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
            if not came.done():
                came.set_result(data)

    transport, _ = await client.create_datagram_endpoint(Protocol, (HOST, world.datagrams))
    transport.sendto(b"hello")
    assert await came == b"hello"
    transport.close()


async def _peer(port: int) -> None:
    """Connect to a port, say hello, and hear that back."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"hello")
        await reader.read(5)
    finally:
        writer.close()


async def bind(_: World, client: Client, backlog: int = 0) -> None:
    async with await client.bind(HOST, backlog=backlog) as listener, asyncio.TaskGroup() as group:
        group.create_task(_unminded(_peer(listener.bound.port)))
        async with await listener.accept() as stream:
            await stream.send(await stream.receive())


async def bind_with_a_backlog(world: World, client: Client) -> None:
    await bind(world, client, backlog=4)


async def bind_in_vain(_: World, client: Client) -> None:
    async with await client.bind(HOST) as listener:
        with contextlib.suppress(TimeoutError):
            await listener.accept(timeout=0.01)


async def serve(_world: World, client: Client, context: ssl.SSLContext | None = None) -> None:
    async with await client.start_server(_unharmed(_echo), HOST, backlog=4, ssl=context) as server:
        if context is None:
            await _unminded(_peer(server.bound.port))
        else:
            _, writer = await asyncio.open_connection(HOST, server.bound.port)  # which speaks no TLS
            writer.close()


async def serve_secured(world: World, client: Client) -> None:
    await serve(world, client, world.own)


async def _unminded(peer: Awaitable[None]) -> None:
    """Be a peer that does not mind being sent away."""
    with contextlib.suppress(OSError):
        await peer


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.__name__: operation
    for operation in (
        noop,
        open_session,
        connect,
        connect_with_a_token,
        connect_in_vain,
        open_connection,
        open_secured,
        open_in_vain,
        close_with_an_open_end,
        leave_open,
        associate,
        associate_on_the_stream,
        datagram_endpoint,
        bind,
        bind_with_a_backlog,
        bind_in_vain,
        serve,
        serve_secured,
    )
}
DATAGRAMS: Final = ("associate", "datagram_endpoint", "associate_on_the_stream")
OWNED: Final = ("leave_open",)  # plain sockets outlive their client


def operations(transport: str) -> Mapping[str, Operation]:
    """Return those that there are over a transport: a proxy without UDP has no associations, say."""
    return {
        name: operation
        for name, operation in OPERATIONS.items()
        if name not in {"auto, over tls": DATAGRAMS, "tcp": OWNED}.get(transport, ())
    }


async def do(world: World, operation: Operation) -> None:
    """Do something as a new client's only act."""
    async with world.client() as client:
        await operation(world, client)


# What comes to nothing.


async def bind_elsewhere(_: World, client: Client) -> None:
    await _fails(client.bind(ELSEWHERE))


async def bind_elsewhere_with_a_backlog(_: World, client: Client) -> None:
    await _fails(client.bind(ELSEWHERE, backlog=4))


async def associate_elsewhere(_: World, client: Client) -> None:
    await _fails(client.open_association(ELSEWHERE, 0))


async def speak_another_protocol(world: World, _: Client) -> None:
    """Send the proxy what is none of its business, by TCP and by UDP."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(world.url.host, world.url.port)
        with contextlib.closing(writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes(1200), (world.url.host, world.url.port))


async def _fails(call: Awaitable[object]) -> None:
    with contextlib.suppress(OperationFailed):
        await call
        raise AssertionError("it was granted")


FAILURES: Final = (
    connect_in_vain,
    open_in_vain,
    bind_in_vain,
    bind_elsewhere,
    bind_elsewhere_with_a_backlog,
    associate_elsewhere,
    speak_another_protocol,
)
