"""A proxy, a converter, hosts and clients, and what clients do there while calls fail: each act says what became of it."""

import asyncio
import contextlib
import contextvars
import itertools
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from typing_extensions import override

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.errors import ConnectionTimedOut, OperationFailed, Socks6Error
from socks6.message.codes import Command
from socks6.net.direct import DirectOutbound
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.stream import ByteStream
from socks6.net.url import ProxyUrl, QuicParameters
from socks6.policy.rules import Policy
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.sessions import MemorySessionStore, SessionSettings
from socks6.proxy.settings import BindSettings, Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.datagrams.forwarder import PythonForwarder
from socks6.relay.streams import RelaySettings
from socks6.telemetry import ConnectionEnded, ConnectionOpened, Event, Observer
from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.failing import SIDE
from tests.kit.outbounds import Recorder
from tests.kit.socks_messages import Socks5Datagram, decode_socks5_datagram, socks5_request

HOST: Final = "127.0.0.1"
USERS: Final = UserTable.from_plain({"alice": "secret"})
BULK: Final = 400_000
AGAIN: Final = 0.1  # seconds until a datagram that was not answered is sent again
ResultT = TypeVar("ResultT")


class Log(Recorder):
    """What the operator was told."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    @override
    def observe(self, event: Event) -> None:
        super().observe(event)
        self.open += isinstance(event, ConnectionOpened) - isinstance(event, ConnectionEnded)


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A server in this loop."""

    worker: ServerWorker
    server: Server
    log: Log
    sessions: MemorySessionStore

    @property
    def held(self) -> dict[str, int]:
        """Return what is in its tables."""
        worker = self.worker
        datagrams = worker.__dict__.get("datagrams")
        tables: dict[str, int] = {
            "connections": len(self.server.connections),
            "quic streams": self.server._quic_limits.count,
            "dtls": self.server._dtls_limits.count,
            "associations": worker.associations.count,
            "user_connections": worker.user_connections.count,
            "listeners": worker.bindings.limits.count,
            "bound places": len(worker.machine.bound),
            "handshakes and waiting clients": len(worker.monitor),
            "quic connections": len(worker._quic_connections),
            "penalties": len(worker.penalties),
            "sessions": len(self.sessions),
            "descriptors": worker.descriptors.count,
            "forwarders": len(datagrams._sockets) if datagrams else 0,
            "told of as open": self.log.open,
        }
        return {name: number for name, number in tables.items() if number}


@dataclass(frozen=True, kw_only=True)
class World:
    """All of it, in one event loop."""

    proxy: Proxy
    converter: Proxy
    url: ProxyUrl
    echo: int
    refusing: int
    datagrams: int  # of an echo
    names: Iterator[str] = field(default_factory=lambda: _spellings("localhost"))

    def client(self, **settings: object) -> Client:
        """Return a new client."""
        return Client(self.url, timeout=8.0, **settings)  # type: ignore[arg-type]  # named as there

    @property
    def mixed(self) -> int:
        """The port where the proxy speaks SOCKS 5 and HTTP."""
        return _port(next(one for one in self.proxy.server.urls if one.startswith("mixed:")))

    @property
    def converted(self) -> int:
        """The same of the converter."""
        return _port(self.converter.server.urls[0])


def _spellings(name: str) -> Iterator[str]:
    """Give a name in upper and lower case."""
    return map("".join, itertools.product(*((letter, letter.upper()) for letter in name)))


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def world(transport: str, folder: Path, observer: Observer | None = None) -> AsyncIterator[World]:
    """Run it all; `observer` is told instead of the proxy's log."""
    files = write_certificate(folder)
    library = "aioquic" if transport.endswith("aioquic") else ""
    scheme = {"tcp": "socks6", "tls": "socks6+tls"}.get(transport, "socks6+quic")
    query = (
        "" if transport == "tcp" else f"?{files.listener_query}" + (f"&backend={library}" if library else "")
    )
    async with contextlib.AsyncExitStack() as stack:
        echo = await stack.enter_async_context(await asyncio.start_server(_echo, HOST, 0))
        udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, (HOST, 0))
        stack.callback(udp.abort)
        async with await asyncio.start_server(_echo, HOST, 0) as gone:
            refusing = gone.sockets[0].getsockname()[1]
        proxy = await stack.enter_async_context(
            _running([f"{scheme}://{HOST}:0{query}", f"mixed://{HOST}:0"], USERS, observer=observer)
        )
        listening = next(one for one in proxy.server.urls if one.startswith(scheme + ":"))
        url = replace(ProxyUrl.parse(listening), username="alice", password="secret")
        if transport != "tcp":
            tls = TlsParameters(pins=(parse_pin(pin_of_file(files.certificate)),))
            spare = "0" if transport == "tls" else ""  # else there are sometimes more descriptors than before
            url = replace(url, tls=tls, quic=QuicParameters(backend=library), spare=spare)
        converter = await stack.enter_async_context(_running([f"mixed://{HOST}:0"], None, via=url))
        yield World(
            proxy=proxy,
            converter=converter,
            url=url,
            echo=echo.sockets[0].getsockname()[1],
            refusing=refusing,
            datagrams=udp.get_extra_info("sockname")[1],
        )


@asynccontextmanager
async def _running(
    listen: list[str],
    users: UserTable | None,
    *,
    via: ProxyUrl | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Proxy]:
    """Run a server in a task of its own, on the proxy's side."""
    started: asyncio.Future[Proxy] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def serve() -> None:
        SIDE.set("proxy")
        log = Log()
        sessions = MemorySessionStore(SessionSettings(idle_timeout=0.2))
        worker = ServerWorker(
            authenticator=users,
            policy=Policy(allow_private=True),
            outbound=UpstreamOutbound(Client(via, timeout=8.0)) if via else None,
            settings=Settings(
                handshake_timeout=3.0,
                drain_timeout=2.0,
                bind=BindSettings(accept_timeout=3.0),
                relay=RelaySettings(fin_timeout=0.2),  # what a direction gets whose sink takes no more
            ),
            observers=[observer or log],
            sessions=sessions,
            forwarder=PythonForwarder,  # the one whose calls can fail here
        )
        async with Server(listen, worker) as server:
            started.set_result(Proxy(worker=worker, server=server, log=log, sessions=sessions))
            await over.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(serve(), context=contextvars.copy_context())
        try:
            yield await started
        finally:
            over.set()


# Hosts.


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class _Echo(asyncio.DatagramProtocol):
    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]  # uvloop's is no DatagramTransport


# What clients do. Each act returns what it was told: 0 for success, a reply code, or -1 for none.

Act: TypeAlias = Callable[[World], Awaitable[int]]
ALLOWED: Final = (OSError, Socks6Error)  # what the library may raise when calls fail


async def connect(world: World, host: str = HOST, port: int = 0, size: int = 0) -> int:
    """Say something to the echo and hear it back."""
    said = os.urandom(8).hex().encode() + bytes(size)
    told = -1
    try:
        async with (
            world.client() as client,
            await client.connect(host, port or world.echo, initial_data=said[:4]) as stream,
            asyncio.TaskGroup() as group,
        ):
            told = 0
            group.create_task(_say(stream, said[4:]))
            data = b""
            while piece := await stream.receive():
                data += piece
            assert data == said, f"{len(data)} of {len(said)} bytes, and a clean end"
    except* OperationFailed as failures:
        told = _first(failures).code if told < 0 else told
    except* ALLOWED:
        pass
    return told


def _first(group: BaseExceptionGroup[OperationFailed]) -> OperationFailed:
    first = group.exceptions[0]
    return first if isinstance(first, OperationFailed) else _first(first)


async def _say(stream: ByteStream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


async def connect_by_name(world: World) -> int:
    """Have the proxy look a name up that it does not remember, in a new thread."""
    assert isinstance(world.proxy.worker.outbound, DirectOutbound)
    world.proxy.worker.outbound._resolver._threads._idle = 0
    return await connect(world, next(world.names))


async def connect_in_vain(world: World) -> int:
    """Want to reach a host that refuses."""
    told = await connect(world, port=world.refusing)
    assert told != 0, "success before success"
    return told


async def upload(world: World) -> int:
    """Send and receive much."""
    return await connect(world, size=BULK)


async def in_a_session(world: World) -> int:
    """Make several requests, each but the first by session and token."""
    told = -1
    with _telling_replies() as replies:
        async with world.client() as client:
            await client.open_session()
            for _ in range(2):
                async with await client.connect(
                    HOST, world.echo, initial_data=b"a", idempotent=True
                ) as stream:
                    told = 0
                    assert await stream.receive() == b"a" or told
            await client.noop()
    return replies[0] if replies else told


async def associate(world: World, path: str | None = None) -> int:
    """Send datagrams until one comes back."""
    told = -1
    with _telling_replies() as replies:
        async with world.client() as client, client.associate(udp=path) as association:  # type: ignore[arg-type]
            told = 0
            data, *_ = await _asked_again(
                lambda: association.send(b"hello", (HOST, world.datagrams)), association.receive
            )
            assert data == b"hello"
    return replies[0] if replies else told


async def associate_on_the_stream(world: World) -> int:
    """Do the same where datagrams travel on the stream."""
    return await associate(world, "stream")


async def _asked_again(
    ask: Callable[[], Awaitable[object]], receive: Callable[[], Awaitable[ResultT]]
) -> ResultT:
    for _ in range(20):
        await ask()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                return await receive()
    raise OSError(0, "no datagram came back")


async def bind(world: World, backlog: int = 0) -> int:
    """Wait for a peer, and return what it says."""
    told = -1
    with _telling_replies() as replies:
        async with world.client() as client, await client.bind(HOST, backlog=backlog) as listener:
            told = 0
            peer = asyncio.create_task(_peer(listener.bound.port))
            try:
                async with await listener.accept(timeout=2.0) as stream:
                    data = await stream.receive()
                    assert data == b"hello", "a clean end, and bytes are missing"
                    await stream.send(data)
                    await stream.send_eof()
                    assert (await peer) in {data, None}, "a clean end, and bytes are missing"
            finally:
                peer.cancel()
                await asyncio.wait([peer])
    return replies[0] if replies else told


@contextlib.contextmanager
def _telling_replies() -> Iterator[list[int]]:
    """Take what the library may raise; give the reply code that it tells of, if it does."""
    replies: list[int] = []
    try:
        yield replies
    except ConnectionTimedOut:
        pass  # nobody came: the library's own word
    except OperationFailed as failure:
        replies.append(failure.code)
    except ALLOWED:
        pass


async def bind_with_a_backlog(world: World) -> int:
    """Do the same with a listener that stays."""
    return await bind(world, 4)


async def _peer(port: int) -> bytes | None:
    """Connect, say something and return what comes back; None where the connection broke."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, port)
        with contextlib.closing(writer):
            writer.write(b"hello")
            return await reader.read(5)
    return None


# Clients of the older protocols, made by hand.


async def _socks5(world: World, port: int, command: int, host: str, at: int) -> tuple[int, "Wire"]:
    """Ask for something; return the reply, in SOCKS 6 terms, and the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    authenticates = port == world.mixed
    writer.write(bytes((5, 1, 2 if authenticates else 0)))
    if authenticates:
        writer.write(b"\1\5alice\6secret")
    writer.write(socks5_request(command, host, at))
    wire = Wire(reader, writer)
    try:
        await reader.readexactly(4 if authenticates else 2)
        return await _socks5_reply(wire), wire
    except asyncio.IncompleteReadError:
        return -1, wire
    except BaseException:
        writer.close()
        raise


class Wire:
    """A connection, and the last place that was told on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.place = (HOST, 0)


async def _socks5_reply(wire: Wire) -> int:
    head = await wire.reader.readexactly(4)
    size = {1: 4, 4: 16}[head[3]]
    address = await wire.reader.readexactly(size)
    (port,) = struct.unpack("!H", await wire.reader.readexactly(2))
    wire.place = (".".join(map(str, address)), port) if size == 4 else (HOST, port)
    return head[1]


async def socks5_connect(world: World, *, converted: bool = False) -> int:
    """CONNECT with SOCKS 5."""
    told = -1
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        told, wire = await _socks5(
            world, world.converted if converted else world.mixed, Command.CONNECT, HOST, world.echo
        )
        with contextlib.closing(wire.writer):
            if told == 0:
                await _echoed(wire)
    return told


async def _echoed(wire: Wire) -> None:
    """Speak with the echo: a clean end means that all came back."""
    wire.writer.write(b"hello")
    wire.writer.write_eof()
    assert await wire.reader.read() == b"hello", "a clean end, and bytes are missing"


async def converted_connect(world: World) -> int:
    """CONNECT with SOCKS 5 through a converter."""
    return await socks5_connect(world, converted=True)


async def socks5_bind(world: World) -> int:
    """BIND with SOCKS 5."""
    told = -1
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        told, wire = await _socks5(world, world.mixed, Command.BIND, HOST, 0)
        with contextlib.closing(wire.writer):
            if told == 0:
                peer = asyncio.create_task(_peer(wire.place[1]))
                try:
                    told = await _socks5_reply(wire)
                    if told == 0:
                        assert await wire.reader.read(5) == b"hello"
                finally:
                    peer.cancel()
                    await asyncio.wait([peer])
    return told


async def socks5_udp(world: World) -> int:
    """UDP ASSOCIATE with SOCKS 5."""
    told = -1
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        told, wire = await _socks5(world, world.mixed, Command.UDP_ASSOCIATE, "0.0.0.0", 0)
        with contextlib.closing(wire.writer):
            if told == 0:
                inbox: asyncio.Queue[bytes] = asyncio.Queue()
                udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Inbox(inbox), remote_addr=wire.place
                )
                message = Socks5Datagram(host=HOST, port=world.datagrams, data=b"hello").encode()

                async def ask() -> None:
                    udp.sendto(message)

                try:
                    answer = decode_socks5_datagram(await _asked_again(ask, inbox.get))
                    assert answer.data == b"hello"
                finally:
                    udp.abort()
    return told


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self, inbox: asyncio.Queue[bytes]) -> None:
        self._inbox = inbox

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._inbox.put_nowait(data)


async def http_connect(world: World) -> int:
    """CONNECT with HTTP; a failure has no code that says as much as SOCKS 6's, so it is told as -1."""
    status = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(HOST, world.mixed)
        with contextlib.closing(writer):
            place = f"{HOST}:{world.echo}"
            writer.write(
                f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
                "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n".encode()
            )
            status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
            assert status == 200 or status >= 500 or status == 403, status
            if status == 200:
                await _echoed(Wire(reader, writer))
    return 0 if status == 200 else -1


LIBRARY: Final[Mapping[str, Act]] = {
    act.__name__: act
    for act in (
        connect, connect_by_name, connect_in_vain, upload, in_a_session, associate, associate_on_the_stream, bind,
        bind_with_a_backlog,
    )
}  # fmt: skip
OLDER: Final[Mapping[str, Act]] = {
    act.__name__: act for act in (socks5_connect, socks5_bind, socks5_udp, http_connect, converted_connect)
}


def acts(transport: str) -> Mapping[str, Act]:
    """Return what is done over a transport; the older protocols are tried in one world alone."""
    return {**LIBRARY, **OLDER} if transport == "tcp" else {**LIBRARY, "converted_connect": converted_connect}
