"""Both ends of DTLS: conversations in memory, a server on a port, and clients of it that a test drives by hand."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from typing_extensions import override

from socks6.net.accept import ConnectionLimits
from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.datagrams.shared import DTLS_BYTES, SharedPort
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters
from socks6.net.transports.dtls import (
    DtlsConnector,
    DtlsConversation,
    hello_verify_request,
    read_client_hello,
)
from socks6.net.transports.dtls_contexts import server_context
from socks6.net.transports.dtls_server import DtlsPeer, DtlsServer
from tests.kit.certificates import Files, certificate

PATIENCE: Final = 15.0  # on a machine that is busy with other tests


@contextlib.contextmanager
def trusted(*names: str, issuer: str = "good") -> Iterator[tuple[Files, TlsParameters]]:
    """Give a server's files, and what its clients say."""
    with certificate(*names, issuer=issuer) as files:
        yield files, TlsParameters(ca=files.ca)


def goes_on(later: DtlsConversation, earlier: DtlsConversation) -> bool:
    """Return whether a conversation goes on with the keys of an earlier one."""
    return later._tls.master_key() == earlier._tls.master_key()


class Couple:
    """A client and a server, joined by nothing but this; `sizes` are those of the datagrams between them."""

    def __init__(self, files: Files, connector: DtlsConnector, *, client_ca: str | None = None) -> None:
        self.context = server_context(replace(files.server, client_ca=client_ca))
        self.connector = connector
        self.client: DtlsConversation
        self.server: DtlsConversation
        self.sizes: list[int] = []
        self.meet()

    def meet(self) -> None:
        """Shake hands anew, as far as that goes."""
        self.client = self.connector.call()
        (hello,) = self.client.datagrams_to_send()
        first = read_client_hello(hello)
        assert first is not None
        self.client.receive(hello_verify_request(first, b"a cookie"))
        (hello,) = self.client.datagrams_to_send()
        self.server = DtlsConversation.answering(self.context, hello)
        while self.carry():
            pass

    def part(self) -> None:
        """End the connection in due form; keys of one that was not are never used again."""
        self.client.close()
        self.carry()

    def carry(self) -> bool:
        """Carry what each has to send; return whether there was anything."""
        to_client, to_server = self.server.datagrams_to_send(), self.client.datagrams_to_send()
        self.sizes += map(len, to_client + to_server)
        for datagram in to_client:
            self.client.receive(datagram)
        for datagram in to_server:
            self.server.receive(datagram)
        return bool(to_client or to_server)


@dataclass(kw_only=True)
class Stage:
    """A DTLS server on a port of this machine, which sends back whatever it gets."""

    port: SharedPort
    server: DtlsServer
    connector: DtlsConnector
    said: TlsParameters  # what clients say that know the server
    limits: ConnectionLimits
    messages: list[tuple[DtlsPeer, bytes]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, int]:
        """Where it is."""
        host, port = self.port.sock.getsockname()[:2]
        return host, port

    def send_back(self, peer: DtlsPeer, data: bytes) -> None:
        """Take data as the server does."""
        self.messages.append((peer, data))
        peer.send(data, [])

    async def client(self, connector: DtlsConnector | None = None) -> "HandClient":
        """Return a client that has not said anything yet."""
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(
            lambda: HandClient(connector or self.connector), remote_addr=self.place
        )
        client.transport = transport
        return client

    async def connected(self, connector: DtlsConnector | None = None) -> "HandClient":
        """Return a client that has shaken hands."""
        client = await self.client(connector)
        await client.shake_hands()
        return client


class HandClient(asyncio.DatagramProtocol):
    """A client's socket and conversation; the test says when what is done."""

    def __init__(self, connector: DtlsConnector) -> None:
        self._connector = connector
        self.conversation = connector.call()
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.packets.put_nowait(data)

    def begin_anew(self) -> None:
        """Forget everything, as a client does that was started again on its old port."""
        self.conversation = self._connector.call()

    def flush(self) -> None:
        """Send what the conversation has to say."""
        for datagram in self.conversation.datagrams_to_send():
            self.transport.sendto(datagram)

    async def shake_hands(self) -> None:
        """Shake hands. Fails unless that works in time."""
        async with asyncio.timeout(PATIENCE):
            while not self.conversation.established:
                self.flush()
                assert not self.conversation.over, self.conversation.failure
                await self._hear()
        self.flush()

    async def _hear(self) -> None:
        """Take what comes; a flight that is not answered was lost, and goes again."""
        try:
            async with asyncio.timeout(self.conversation.next_timeout()) as limit:
                packet = await self.packets.get()
        except TimeoutError:
            if not limit.expired():
                raise
            self.conversation.handle_timeout()
        else:
            self.conversation.receive(packet)

    async def fail_to_shake_hands(self) -> str:
        """Return how the handshake ended, which must not work."""
        async with asyncio.timeout(PATIENCE):
            while not self.conversation.over:
                assert not self.conversation.established
                self.flush()
                self.conversation.receive(await self.packets.get())
        return str(self.conversation.failure)

    def send(self, data: bytes) -> None:
        """Send data."""
        self.transport.sendto(self.conversation.encrypt(data))

    async def receive(self) -> bytes:
        """Return data that came; b"" when the server has ended the connection."""
        async with asyncio.timeout(PATIENCE):
            while not self.conversation.over:
                for data in self.conversation.receive(await self.packets.get()):
                    return data
        return b""

    async def exchange(self, data: bytes) -> None:
        """Send data, and see them come back."""
        self.send(data)
        assert await self.receive() == data

    def close(self) -> None:
        """Tell the server, and go."""
        self.conversation.close()
        self.flush()
        self.transport.close()


class DtlsSocket:
    """A client's DTLS connection on a blocking socket, its handshake done."""

    def __init__(self, place: tuple[str, int], connector: DtlsConnector, patience: float) -> None:
        self._connector = connector
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.ExitStack() as failing:
            failing.callback(self._sock.close)
            self._sock.settimeout(patience)
            self._sock.connect(place)
            self.begin_anew()
            failing.pop_all()

    def begin_anew(self) -> None:
        """Shake hands, as a client does that was started again on its old port."""
        self._conversation = self._connector.call()
        while not self._conversation.established:
            self._flush()
            assert not self._conversation.over, self._conversation.failure
            self._conversation.receive(self._sock.recv(65536))
        self._flush()

    def send(self, data: bytes) -> None:
        """Send data."""
        self._sock.send(self._conversation.encrypt(data))

    def receive(self) -> bytes:
        """Return the next data."""
        while not (found := self._conversation.receive(self._sock.recv(65536))):
            assert not self._conversation.over
        return found[0]

    def close(self) -> None:
        """Tell the server, and go."""
        self._conversation.close()
        self._flush()
        self._sock.close()

    def _flush(self) -> None:
        for datagram in self._conversation.datagrams_to_send():
            self._sock.send(datagram)


@contextlib.asynccontextmanager
async def dtls_stage(
    *,
    limits: ConnectionLimits | None = None,
    client_ca: bool = False,
    port: int = 0,
    issuer: str = "good",
    said: TlsParameters | None = None,
) -> AsyncIterator[Stage]:
    """Run a server; a fault in it fails the test."""
    faults: list[Exception] = []
    poller = DatagramPoller(faults.append)
    with trusted(issuer=issuer) as (files, usual):
        shared = SharedPort("127.0.0.1", port, poller)
        counted = limits or ConnectionLimits()

        stage = Stage(
            port=shared,
            server=DtlsServer(
                shared,
                ReloadingContext(
                    replace(files.server, client_ca=files.ca if client_ca else None), server_context
                ),
                deliver=lambda peer, data: stage.send_back(peer, data),  # noqa: PLW0108 - there is no stage yet
                limits=counted,
                refused=lambda source, reason: stage.refusals.append((source, reason)),
                wants_certificate=client_ca,
            ),
            connector=DtlsConnector("localhost", said or usual),
            said=said or usual,
            limits=counted,
        )
        shared.register(DTLS_BYTES, stage.server.datagrams_received)
        try:
            yield stage
        finally:
            stage.server.close()
            shared.close()
            poller.close()
    assert stage.server.limits.count == 0
    assert not faults, faults
