"""The client's side of a SOCKS 5 association, on loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from socks6.errors import NotAllowed
from socks6.message.codes import Command
from socks6.net.sockets import SocketStream
from socks6.net.stream import DatagramReport, Endpoint, Protection
from socks6.proxy.inbounds.socks5 import Socks5Inbound, may_associate
from socks6.proxy.settings import Settings, UdpSettings
from tests.kit.channels import EchoChannel
from tests.kit.connection import ScriptedConnection
from tests.kit.loops import Run
from tests.kit.reading import receive_exactly
from tests.kit.socks_messages import (
    Socks5Datagram,
    decode_socks5_datagram,
    decode_socks5_reply,
    socks5_greeting,
    socks5_request,
)

HELLO = Socks5Datagram(host="192.0.2.5", port=53, data=b"hello")


class Client:
    """A SOCKS 5 client that has an association."""

    def __init__(
        self,
        stream: SocketStream,
        served: ScriptedConnection,
        channel: EchoChannel,
        host: str,
        bound: Endpoint,
    ) -> None:
        self.stream = stream
        self.served = served
        self.channel = channel
        self.bound = bound
        self.host = host
        self._sockets: list[socket.socket] = []

    def program(self, host: str = "") -> socket.socket:
        """Return a new UDP socket of the client's host, or of another."""
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host or self.host, 0))
        sock.connect(self.bound)
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    async def receive(self, sock: socket.socket) -> Socks5Datagram:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock.fileno(), waiter.set_result, None)
        try:
            await waiter
        finally:
            loop.remove_reader(sock.fileno())
        return decode_socks5_datagram(sock.recv(65536))

    async def ask(self, sock: socket.socket, datagram: Socks5Datagram) -> Socks5Datagram:
        sock.send(datagram.encode())
        return await self.receive(sock)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


GREETING = socks5_greeting(0)


def opening(host: str = "0.0.0.0", port: int = 0) -> bytes:
    return GREETING + socks5_request(Command.UDP_ASSOCIATE, host, port)


@contextlib.asynccontextmanager
async def served(connection: ScriptedConnection, host: str = "127.0.0.1") -> AsyncIterator[SocketStream]:
    """Have the inbound serve a client on loopback."""
    with socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    ) as listener:
        near = socket.create_connection(listener.getsockname()[:2], source_address=(host, 0))
        far, address = listener.accept()
    client, stream = SocketStream(near), SocketStream(far, remote=address)

    async def serve() -> None:
        with contextlib.suppress(OSError):
            connection.stream = stream
            assert await Socks5Inbound().serve(connection) is None
        stream.abort()

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        yield client
        client.abort()
    connection.proxy.close_datagrams()


@contextlib.asynccontextmanager
async def associated(*, host: str = "127.0.0.1", idle: float = 0.0) -> AsyncIterator[Client]:
    """Have the inbound serve a client's association, until the client hangs up."""
    connection = ScriptedConnection(settings=Settings(udp=UdpSettings(idle_timeout=idle)))
    connection.channel = channel = EchoChannel()
    async with served(connection, host) as stream:
        await stream.send(opening())
        answer = await receive_exactly(stream, 24 if ":" in host else 12)
        reply = decode_socks5_reply(answer[2:])
        client = Client(stream, connection, channel, host, Endpoint(reply.host, reply.port))
        with contextlib.closing(client):
            yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_go_to_and_fro(run: Run, host: str) -> None:
    async def scene() -> None:
        async with associated(host=host) as client:
            assert client.bound.host == host
            sock = client.program()
            for remote in ("192.0.2.5", "2001:db8::5"):
                datagram = Socks5Datagram(host=remote, port=53, data=b"hello")
                assert await client.ask(sock, datagram) == datagram
            named = Socks5Datagram(host="a.example", port=53, data=b"hello")
            assert (await client.ask(sock, named)).host == "192.0.2.77"
            assert [host for _, host, _ in client.channel.sent] == ["192.0.2.5", "2001:db8::5", "a.example"]
        assert (client.served.bytes_up, client.served.bytes_down) == (15, 15)

    run(scene())


def test_any_remote_may_send_once_the_client_has(run: Run) -> None:
    async def scene() -> None:
        async with associated() as client:
            sink = client.channel.sink
            assert sink is not None
            sink.datagrams_received([(b"too early", "192.0.2.5", 53)])
            sock = client.program()
            await client.ask(sock, HELLO)
            sink.datagrams_received([(b"default_identity", "198.51.100.7", 99)])
            assert await client.receive(sock) == Socks5Datagram(
                host="198.51.100.7", port=99, data=b"default_identity"
            )

    run(scene())


def test_only_the_owner_is_served(run: Run) -> None:
    async def scene() -> None:
        async with associated() as client:
            other = client.program("127.0.0.2")
            other.send(HELLO.encode())
            sock = client.program()
            await client.ask(sock, HELLO)
            second = client.program()
            second.send(HELLO.encode())
            await client.ask(sock, HELLO)
            assert len(client.channel.sent) == 2
            for thief in (other, second):
                with pytest.raises(BlockingIOError):
                    thief.recv(1)

    run(scene())


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"hello",
        Socks5Datagram(host="192.0.2.5", port=53, data=b"part", fragment=1).encode(),
        Socks5Datagram(host="192.0.2.5", port=53, data=b"last", fragment=0x82).encode(),
        HELLO.encode()[:9],
        bytes.fromhex("0000 00 03 03 612062 0035"),
    ],
)
def test_what_is_no_whole_packet_is_dropped(run: Run, packet: bytes) -> None:
    async def scene() -> None:
        async with associated() as client:
            sock = client.program()
            sock.send(packet)
            assert await client.ask(sock, HELLO) == HELLO
            assert len(client.channel.sent) == 1

    run(scene())


def test_it_ends_with_the_connection(run: Run) -> None:
    async def scene() -> None:
        async with associated() as client:
            await client.ask(client.program(), HELLO)
            await client.stream.send(b"clients have nothing to say here, some do")
            await client.stream.aclose()

    run(scene())


def test_it_ends_when_all_is_silent(run: Run) -> None:
    async def scene() -> None:
        async with associated(idle=0.05) as client:
            sock = client.program()
            await client.ask(sock, HELLO)
            with pytest.raises(ConnectionError):
                await client.stream.receive()

    run(scene())


def test_it_ends_when_the_outbound_does(run: Run) -> None:
    async def scene() -> None:
        async with associated() as client:
            assert client.channel.sink is not None
            client.channel.sink.error_reported(DatagramReport("192.0.2.5", 53, 1, "10.0.0.1"))
            client.channel.sink.channel_closed("the upstream went away")
            with pytest.raises(ConnectionError):
                await client.stream.receive()

    run(scene())


def test_more_hosts_than_are_remembered_do_no_harm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.relay.datagrams.association_relay.MAX_PREFIXES", 2)

    async def scene() -> None:
        async with associated() as client:
            sock = client.program()
            for number in range(1, 6):
                datagram = Socks5Datagram(host=f"192.0.2.{number}", port=53, data=b"hello")
                assert await client.ask(sock, datagram) == datagram

    run(scene())


def test_an_answer_that_is_too_long_is_lost(run: Run) -> None:
    async def scene() -> None:
        async with associated() as client:
            sock = client.program()
            await client.ask(sock, HELLO)
            assert client.channel.sink is not None
            client.channel.sink.datagrams_received([(bytes(65_507), *Endpoint("192.0.2.5", 53))])
            assert await client.ask(sock, HELLO) == HELLO

    run(scene())


# The inbound.


def test_a_client_gets_an_association_and_the_engine_a_call_for_any_port(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        connection.channel = channel = EchoChannel()
        async with served(connection) as client:
            await client.send(opening("client.example", 4000))
            answer = await receive_exactly(client, 12)
            assert answer[:2] == b"\5\0"
            reply = decode_socks5_reply(answer[2:])
            assert (reply.code, reply.host) == (0, "127.0.0.1")
            (request,) = connection.requests
            assert (request.command, request.host, request.port) == (Command.UDP_ASSOCIATE, "0.0.0.0", 0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.connect((reply.host, reply.port))
                udp.send(HELLO.encode())
                udp.setblocking(False)
                assert await asyncio.get_running_loop().run_in_executor(None, _received, udp) == HELLO
        assert channel.closed
        assert (connection.bytes_up, connection.bytes_down) == (5, 5)

    run(scene())


def test_the_outbounds_refusal_is_answered(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(failures=[NotAllowed("no")])
        async with served(connection) as client:
            await client.send(opening())
            assert await receive_exactly(client, 6) == bytes.fromhex("0500 05 02 00 01")

    run(scene())


class Encrypted(SocketStream):
    """Stands for TLS."""

    @property
    @override
    def protection(self) -> Protection:
        return Protection.ENCRYPTED


def test_datagrams_do_not_go_in_the_clear_beside_tls(run: Run) -> None:
    async def scene() -> None:
        for kind, may in ((SocketStream, True), (Encrypted, False)):
            near, far = socket.create_server(("127.0.0.1", 0)), socket.socket()
            far.connect(near.getsockname())
            stream = kind(far)
            assert may_associate(stream) is may
            stream.abort()
            near.close()

    run(scene())


def test_without_a_socket_there_is_no_association(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        connection.channel = channel = EchoChannel()
        async with served(connection) as client:
            monkeypatch.setattr("socks6.proxy.inbounds.socks5.udp_socket", _no_socket)
            await client.send(opening())
            assert await receive_exactly(client, 6) == bytes.fromhex("0500 05 01 00 01")
        assert channel.closed
        assert connection.answers == [(1, "no UDP port for the client: no descriptors")]  # for the log

    run(scene())


def _no_socket(*_: object, **__: object) -> None:
    raise OSError("no descriptors")


def _received(udp: socket.socket) -> Socks5Datagram:
    udp.settimeout(5)
    return decode_socks5_datagram(udp.recv(65536))
