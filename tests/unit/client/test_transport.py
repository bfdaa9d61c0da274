"""Transports over a proxied stream, with TLS and without."""

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import trustme
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.session import OpenSession, SessionLease
from socks6.client.stream import ProxiedStream
from socks6.client.transport import TransportFactory
from socks6.errors import (
    LocalProtocolError,
)
from socks6.message.options import SessionId
from socks6.net.sockets import SocketStream, reset_on_close
from socks6.net.stream import NO_ENDPOINT, ByteStream
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.footprint import Footprint
from tests.kit.joined import tcp_pair, tls_pair
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import LOOPBACK, as_alice, echoing, local_worker, proxied
from tests.kit.quic import joined as quic_joined
from tests.kit.streams import closing, turns, until
from tests.kit.transports import TRANSPORTS, serving

Opening: TypeAlias = "asyncio.Task[tuple[asyncio.Transport, asyncio.Protocol]]"


def test_reader_and_writer_over_a_plain_socket(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, Server([LOOPBACK], local_worker()) as server:
            client = Client(as_alice(server))
            reader, writer = await client.open_connection("127.0.0.1", port, initial_data=b"a")
            writer.write(b"b")
            writer.write_eof()
            assert await reader.read() == b"hello ab"
            writer.close()
            await writer.wait_closed()

    run(scene())


def test_reader_and_writer_over_anything_else(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, proxied(local_worker()) as client:
            reader, writer = await client.open_connection("127.0.0.1", port, initial_data=b"a")
            writer.write(b"b" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"hello a" + b"b" * 1_000_000
            writer.close()
            await writer.wait_closed()

    run(scene())


@pytest.mark.parametrize("transport", ["socket", "memory"])
def test_tls_goes_through_the_proxy(run: Run, transport: str) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def exchange(client: Client, port: int) -> None:
        reader, writer = await client.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"secret")
        assert await reader.readexactly(12) == b"hello secret"
        writer.close()
        await writer.wait_closed()

    async def scene() -> None:
        async with echoing(server_context) as port:
            if transport == "memory":
                async with proxied(local_worker()) as client:
                    await exchange(client, port)
            else:
                async with Server([LOOPBACK], local_worker()) as server, Client(as_alice(server)) as client:
                    await exchange(client, port)

    run(scene())


def test_a_certificate_for_another_name_is_refused(run: Run) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def scene() -> None:
        async with echoing(server_context) as port, proxied(local_worker()) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.open_connection("127.0.0.1", port, ssl=context)
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)  # the web server takes note

    run(scene())


def test_a_plain_socket_may_be_taken_away(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, Server([LOOPBACK], local_worker()) as server:
            client = Client(as_alice(server))
            stream = await client.connect("127.0.0.1", port)
            reader, writer = await asyncio.open_connection(sock=stream.detach_socket())
            writer.write_eof()
            assert await reader.read() == b"hello "
            writer.close()
            await writer.wait_closed()

    run(scene())


def test_what_is_no_socket_cannot_be_taken_away(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound())) as client:
            stream = await client.connect("example.com", 80)
            with pytest.raises(LocalProtocolError, match="create_connection"):
                stream.detach_socket()
            stream.abort()

    run(scene())


def test_over_anything_else_the_client_must_be_entered(run: Run) -> None:
    async def scene() -> None:
        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            await theirs.send(bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201"))
            return ours

        with pytest.raises(LocalProtocolError, match="async with"):
            await Client("socks6://memory", dial=dial).open_connection("example.com", 80)

    run(scene())


def test_transports_left_open_end_with_the_client(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=outbound)) as client:
            reader, writer = await client.open_connection("example.com", 80)
        with pytest.raises(ConnectionResetError):  # not an end: the far host has not said that it is through
            await reader.read()
        writer.close()

    run(scene())


def test_a_failed_handshake_costs_nobody_else_a_descriptor(run: Run) -> None:
    """On uvloop, a socket object outlived its descriptor and closed whatever had got the same number."""
    context = ssl.create_default_context()

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            dialled = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            reset_on_close(accepted)
            accepted.close()
        stream = ProxiedStream(SocketStream(dialled), NO_ENDPOINT, ())
        del dialled
        with pytest.raises(OSError, match=r".") as caught:
            await TransportFactory().open(
                stream, asyncio.Protocol, ssl=context, server_hostname="example.com"
            )
        await asyncio.sleep(0)
        others = [socket.socket() for _ in range(8)]  # one of them gets the freed number
        caught.value.__traceback__ = None
        gc.collect()
        for other in others:
            other.getsockname()  # raises if somebody closed it
            other.close()

    run(scene())


def test_a_factory_that_fails_leaves_no_stream_behind(run: Run) -> None:
    def fails() -> asyncio.Protocol:
        raise RuntimeError("the caller's own fault")

    async def scene() -> None:
        near, far = memory_stream_pair()
        session = OpenSession(SessionId(id=b"1234"))
        async with Client("socks6://192.0.2.1") as client:
            stream = ProxiedStream(near, NO_ENDPOINT, (), lease=SessionLease(session))
            with pytest.raises(RuntimeError, match="own fault"):
                await client._transports.open(stream, fails, ssl=None)
        with pytest.raises(ConnectionResetError):
            await far.receive()
        assert session.leases == 0

    run(scene())


def test_a_stream_that_was_cut_short_does_not_look_whole_to_a_protocol(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        async with Client("socks6://192.0.2.1") as client:
            reader = asyncio.StreamReader()
            transport, _ = await client._transports.open(
                ProxiedStream(near, NO_ENDPOINT, ()), lambda: asyncio.StreamReaderProtocol(reader), ssl=None
            )
            await far.send(b"half of")
            assert await reader.read(7) == b"half of"
            far.abort()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            transport.close()

    run(scene())


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("transport", ["socket", "memory"])
def test_ours_may_be_the_servers_end(run: Run, transport: str, encrypted: bool) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def serve(transports: TransportFactory, stream: ProxiedStream) -> None:
        reader = asyncio.StreamReader()
        await transports.open(
            stream,
            lambda: asyncio.StreamReaderProtocol(reader, shout),
            ssl=server_context if encrypted else None,
            server_side=True,
        )

    async def connect(transports: TransportFactory, stream: ProxiedStream) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await transports.open(
            stream,
            lambda: asyncio.StreamReaderProtocol(reader),
            ssl=context if encrypted else None,
            server_hostname="localhost" if encrypted else None,
        )
        transport.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        transport.close()

    async def scene() -> None:
        transports = TransportFactory()
        transports.enter()
        async with asyncio.TaskGroup() as group:
            ours, theirs = memory_stream_pair()
            if transport == "socket":
                ours, theirs = map(SocketStream, socket.socketpair())
            group.create_task(serve(transports, ProxiedStream(ours, NO_ENDPOINT, ())))
            await connect(transports, ProxiedStream(theirs, NO_ENDPOINT, ()))
        assert transports.leave()
        await transports.end(deliver=True)

    run(scene())


LONG: Final = 60.0  # more than a test may take


async def left_open(stream: ByteStream) -> bytes:
    """Be a far host that reads all and keeps its own side open."""
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


@asynccontextmanager
async def way(kind: str) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Give both ends of a way to the proxy that is no plain socket."""
    if kind.startswith("quic"):
        async with quic_joined(kind.removeprefix("quic by "), "qh3") as (client, server):
            opened = await client.open()
            await opened.send(b"!")
            accepted = await server.accept()
            await accepted.receive(1)
            async with closing(opened, accepted):
                yield opened, accepted
    else:
        near, far = tls_pair() if kind == "tls" else memory_stream_pair()
        async with closing(near, far):
            yield near, far


WAYS: Final = ("memory", "tls", "quic by qh3", "quic by aioquic")


@pytest.mark.parametrize("kind", WAYS)
def test_leaving_delivers_what_closed_transports_sent_and_waits_for_no_host(run: Run, kind: str) -> None:
    """A closed transport reads no more: that the far host keeps its side open concerns nobody."""

    async def scene() -> None:
        async with way(kind) as (near, far):
            transports = TransportFactory(linger=LONG)
            transports.enter()
            transport, _ = await transports.open(
                ProxiedStream(near, NO_ENDPOINT, ()), asyncio.Protocol, ssl=None
            )
            transport.write(b"last words" * 10_000)
            transport.close()
            transports.leave()
            async with asyncio.TaskGroup() as group:
                told = group.create_task(left_open(far))
                await transports.end(deliver=True)
            assert await told == b"last words" * 10_000

    run(scene())


@pytest.mark.parametrize("kind", WAYS)
def test_a_closed_transport_ends_its_stream_while_the_client_goes_on(run: Run, kind: str) -> None:
    async def scene() -> None:
        async with way(kind) as (near, far):
            transports = TransportFactory(linger=LONG)
            transports.enter()
            stream = ProxiedStream(near, NO_ENDPOINT, ())
            transport, _ = await transports.open(stream, asyncio.Protocol, ssl=None)
            transport.close()
            assert await left_open(far) == b""
            with pytest.raises(OSError):  # noqa: PT011 - which one is the transport's business
                await _send_on_and_on(far)
            transports.leave()
            await transports.end(deliver=False)

    run(scene())


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("kind", WAYS)
def test_leaving_ends_tls_handshakes_that_nobody_answers(run: Run, kind: str, server_side: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if server_side else ssl.create_default_context()

    async def scene() -> None:
        async with way(kind) as (near, _):
            transports = TransportFactory(linger=LONG)
            transports.enter()
            opening = asyncio.create_task(
                transports.open(
                    ProxiedStream(near, NO_ENDPOINT, ()),
                    asyncio.Protocol,
                    ssl=context,
                    server_hostname=None if server_side else "example.com",
                    server_side=server_side,
                )
            )
            await turns()
            assert not opening.done()
            transports.leave()
            await transports.end(deliver=True)
            with pytest.raises(OSError):  # noqa: PT011 - which one is the loop's business
                await opening

    run(scene())


def test_whoever_is_cancelled_while_leaving_leaves_nothing_behind(run: Run) -> None:
    async def scene() -> None:
        held = []
        for delay in range(1, 7):
            near, far = tls_pair()
            transports = TransportFactory(linger=LONG)
            transports.enter()
            transport, _ = await transports.open(
                ProxiedStream(near, NO_ENDPOINT, ()), asyncio.Protocol, ssl=None
            )
            transport.write(bytes(1 << 24))  # which the far host does not read
            transport.close()
            transports.leave()
            leaving = asyncio.create_task(transports.end(deliver=True))
            for _ in range(delay):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
            await turns()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            far.abort()
            await turns()
            held.append(Footprint.of("self").descriptors)
        assert held[1:] == held[:-1]

    run(scene())


def test_blocks_of_one_client_may_be_nested_and_the_last_one_counts(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, proxied(local_worker()) as client:
            reader, writer = await client.open_connection("127.0.0.1", port)
            async with client:
                inner, of_inner = await client.open_connection("127.0.0.1", port)
            for each, writes in ((reader, writer), (inner, of_inner)):
                writes.write(b"still here")
                assert await each.readexactly(16) == b"hello still here"
                writes.close()

    run(scene())


def test_blocks_of_one_client_may_belong_to_several_tasks(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=outbound)) as client, asyncio.TaskGroup() as group:
            entered, may_go_on = asyncio.Event(), asyncio.Event()

            async def first() -> None:
                async with client:
                    entered.set()

            async def second() -> None:
                async with client:
                    await entered.wait()
                    await may_go_on.wait()
                    _, writer = await client.open_connection("example.com", 80)
                    writer.write(b"hello")
                    assert await outbound.far.receive() == b"hello"
                    writer.close()
                    await outbound.far.aclose()

            group.create_task(second())
            await group.create_task(first())
            may_go_on.set()

    run(scene())


class Raises(asyncio.Protocol):
    """Raises when it is told of its transport."""

    def __init__(self) -> None:
        self.lost = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise KeyError("a user's fault")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


@pytest.mark.parametrize("kind", ["socket", "memory"])
def test_what_a_protocol_raises_goes_to_the_loop_and_ends_its_transport_alone(run: Run, kind: str) -> None:
    async def scene() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        near, far = memory_stream_pair() if kind == "memory" else tcp_pair()
        transports = TransportFactory()
        transports.enter()
        transport, protocol = await transports.open(ProxiedStream(near, NO_ENDPOINT, ()), Raises, ssl=None)
        assert transport.is_closing()
        await until(lambda: protocol.lost)
        await turns()
        assert (protocol.lost, [repr(error) for error in told]) == (1, [repr(KeyError("a user's fault"))])
        transports.leave()
        await transports.end(deliver=True)
        far.abort()

    run(scene())


class Counts(asyncio.Protocol):
    """Counts what it is told, and keeps what comes."""

    def __init__(self) -> None:
        self.made = self.lost = 0
        self.data = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made += 1

    @override
    def data_received(self, data: bytes) -> None:
        self.data += data

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_protocol_is_told_of_a_transport_and_its_end_or_of_neither(
    run: Run, encrypted: bool, server_side: bool
) -> None:
    """Wherever the making of the transport is cancelled; a whole one gives every byte that was there before."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def play(step: int) -> bool:
        protocol = Counts()
        near, far = tcp_pair()
        ours, theirs = (server_context, context) if server_side else (context, server_context)
        transports = TransportFactory()

        def opened(stream: ByteStream, made: Callable[[], asyncio.Protocol], serves: bool) -> Opening:
            tls = (ours if stream is near else theirs) if encrypted else None
            name = "localhost" if encrypted and not serves else None
            proxied_stream = ProxiedStream(stream, NO_ENDPOINT, ())
            return asyncio.create_task(
                transports.open(proxied_stream, made, ssl=tls, server_hostname=name, server_side=serves)
            )

        opening = opened(near, lambda: protocol, server_side)
        peer = opened(far, asyncio.Protocol, not server_side)
        peer.add_done_callback(greet)
        await until_steps(step, opening)
        finished = opening.done()
        opening.cancel()
        await asyncio.wait([opening])
        if finished:
            await until(lambda: protocol.data == b"early")
            opening.result()[0].abort()
        await asyncio.wait([peer])
        if peer.exception() is None:
            peer.result()[0].abort()
        await turns()
        assert protocol.made == protocol.lost == int(finished)
        return finished

    async def scene() -> None:
        step = 1  # before, nothing has begun
        while not await play(step):
            step += 1
        assert step > 1

    run(scene())


def greet(opening: Opening) -> None:
    """Send the first bytes as soon as there is a transport."""
    if opening.exception() is None and not opening.result()[0].is_closing():
        opening.result()[0].write(b"early")


async def _send_on_and_on(stream: ByteStream) -> None:
    while True:
        await stream.send(b"anybody there?")
        await asyncio.sleep(0)


async def until_steps(steps: int, task: "asyncio.Task[Any]") -> None:
    """Let so many turns of the loop pass, or the task end."""
    for _ in range(steps):
        if task.done():
            return
        await asyncio.sleep(0)


def epolls() -> int:
    """Return how many epolls this process has."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "eventpoll" in os.readlink(Path("/proc/self/fd", number))
        except OSError:  # the one that the folder was read with
            continue
    return found


async def talk(client: Client, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an echo, and hear it."""
    reader, writer = await client.open_connection("127.0.0.1", port)
    assert await reader.readexactly(6) == b"hello "
    return reader, writer


def test_one_client_has_one_epoll_for_all_of_them(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(TRANSPORTS["TLS"](tmp_path)) as url, echoing() as port:
            async with Client(url) as client:
                talks = [await talk(client, port)]
                before = epolls()
                talks += [await talk(client, port) for _ in range(3)]
                assert epolls() == before
                for reader, writer in talks:
                    writer.write_eof()
                    assert await reader.read() == b""
                    writer.close()
            await until(lambda: epolls() < before)

    run(play())
