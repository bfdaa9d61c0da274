"""Transports over proxied streams: plain sockets and others, with TLS and without."""

import asyncio
import gc
import socket
import ssl

import pytest
import trustme

from socks6.client.client import Client
from socks6.client.session import Hold, OpenSession
from socks6.client.stream import ProxiedStream
from socks6.client.transport import Carriers
from socks6.errors import (
    LocalProtocolError,
)
from socks6.message.options import SessionID
from socks6.net.sockets import SocketStream, reset_on_close
from socks6.net.stream import NOWHERE, ByteStream
from socks6.net.transports.memory import memory_stream_pair
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import LOOPBACK, as_alice, echoing, local_worker, proxied


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
        stream = ProxiedStream(SocketStream(dialled), NOWHERE, ())
        del dialled
        with pytest.raises(OSError, match=r".") as caught:
            await Carriers().open(stream, asyncio.Protocol, ssl=context, server_hostname="example.com")
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
        session = OpenSession(SessionID(id=b"1234"))
        async with Client("socks6://192.0.2.1") as client:
            stream = ProxiedStream(near, NOWHERE, (), hold=Hold(session))
            with pytest.raises(RuntimeError, match="own fault"):
                await client._carriers.open(stream, fails, ssl=None)
        with pytest.raises(ConnectionResetError):
            await far.receive()
        assert session.held == 0

    run(scene())


def test_a_stream_that_was_cut_short_does_not_look_whole_to_a_protocol(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        async with Client("socks6://192.0.2.1") as client:
            reader = asyncio.StreamReader()
            transport, _ = await client._carriers.open(
                ProxiedStream(near, NOWHERE, ()), lambda: asyncio.StreamReaderProtocol(reader), ssl=None
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

    async def serve(carriers: Carriers, stream: ProxiedStream) -> None:
        reader = asyncio.StreamReader()
        await carriers.open(
            stream,
            lambda: asyncio.StreamReaderProtocol(reader, shout),
            ssl=server_context if encrypted else None,
            server_side=True,
        )

    async def connect(carriers: Carriers, stream: ProxiedStream) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await carriers.open(
            stream,
            lambda: asyncio.StreamReaderProtocol(reader),
            ssl=context if encrypted else None,
            server_hostname="localhost" if encrypted else None,
        )
        transport.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        transport.close()

    async def scene() -> None:
        async with Carriers() as carriers, asyncio.TaskGroup() as group:
            ours, theirs = memory_stream_pair()
            if transport == "socket":
                ours, theirs = map(SocketStream, socket.socketpair())
            group.create_task(serve(carriers, ProxiedStream(ours, NOWHERE, ())))
            await connect(carriers, ProxiedStream(theirs, NOWHERE, ()))

    run(scene())
