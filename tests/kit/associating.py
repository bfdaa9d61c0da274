"""A scripted proxy for the client's side of UDP ASSOCIATE: on loopback, TCP and UDP at one port, reaching nothing.

It confirms the first datagram that gets through, and sends those with data back as if from where they were for.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override

from socks6.client.client import Client
from socks6.message.address import is_literal
from socks6.message.codes import Command
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    decode_message,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.options import StackOption
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.machine_io import flush, next_event
from socks6.net.sockets import SocketStream
from socks6.net.stream import ByteStream
from socks6.protocol.events import AssociationMessageReceived, Authenticated, Ended, RequestReceived
from socks6.protocol.server import ServerConversation

BOUND: Final = ("192.0.2.1", 4711)
NAMED: Final = "192.0.2.77"  # what every name leads to
FIRST_ID: Final = 0x0102030405060708
ATTEMPTS: Final = 16  # to find a port that is free for both TCP and UDP


@dataclass(kw_only=True)
class AssociatingProxy:
    """What it is to do, and what it has seen."""

    loses: int = 0  # so many UDP packets, before one gets through
    confirms: bool = True
    options: tuple[StackOption, ...] = ()
    reply: Callable[[int], OperationReply] | None = None  # instead of success, by the request's number
    dialect: Dialect = DRAFT_12
    requests: list[Request] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)  # that came over UDP
    messages: list[AssociationMessage] = field(default_factory=list)  # that got through, by either way
    layouts: list[DatagramLayout | None] = field(default_factory=list)
    ended: int = 0  # connections
    broken: int = 0  # those of them that ended by a reset
    endings: asyncio.Queue[None] = field(default_factory=asyncio.Queue)  # one for each of them
    url: str = ""
    _udp: asyncio.DatagramTransport | None = None
    _latched: dict[int, Any] = field(default_factory=dict)  # a UDP address or a conversation, by id
    _conversations: dict[int, tuple[ServerConversation, ByteStream]] = field(default_factory=dict)

    @property
    def association_id(self) -> int:
        """That of the last association."""
        return FIRST_ID + len(self.requests) - 1

    async def send(
        self, message: AssociationMessage, *, layout: DatagramLayout | None = None, padding: bytes = b""
    ) -> None:
        """Send a message on the last association's path."""
        await self._send(message, layout, padding=padding)

    async def send_raw(self, packet: bytes) -> None:
        """Send the last association's client a UDP packet."""
        assert self._udp is not None
        self._udp.sendto(packet, self._latched[self.association_id])

    async def send_on_stream(self, message: AssociationMessage) -> None:
        """Send a message on the last association's stream."""
        conversation, stream = self._conversations[self.association_id]
        await stream.send(message.encode(conversation.dialect))

    async def hang_up(self) -> None:
        """Close the last association's stream."""
        await self._conversations[self.association_id][1].send_eof()

    async def write(self, data: bytes) -> None:
        """Write to the last association's stream what no proxy should."""
        await self._conversations[self.association_id][1].send(data)

    async def serve(self, stream: ByteStream) -> None:
        """Serve one connection."""
        conversation = ServerConversation(
            methods={}, authentication_required=False, deadline=1e9, dialects=(DRAFT_12, GO_212)
        )
        try:
            await self._converse(conversation, stream)
            await flush(conversation, stream)
        except OSError:
            self.broken += 1
        self.ended += 1
        self.endings.put_nowait(None)
        await stream.aclose()

    async def _converse(self, conversation: ServerConversation, stream: ByteStream) -> None:
        """Talk to a client to the end, or to a reply that ends it."""
        while True:
            event = await next_event(conversation, stream)
            match event:
                case RequestReceived():
                    request = event.request
                    conversation.authenticate()
                case Authenticated():
                    conversation.send_authenticated()
                    if not await self._answer(request, conversation, stream):
                        return
                case AssociationMessageReceived(message=Datagram() as datagram):
                    await self._take(datagram, event.layout, None)
                case Ended():
                    return
                case _:
                    raise AssertionError(event)

    async def _answer(self, request: Request, conversation: ServerConversation, stream: ByteStream) -> bool:
        """Queue the reply to a request; return whether there is an association now."""
        if request.command == Command.NOOP:
            conversation.send_reply(OperationReply(code=0))
            return False
        number = len(self.requests)
        self.requests.append(request)
        if self.reply is not None and (reply := self.reply(number)).code:
            conversation.send_reply(reply)
            return False
        host, port = BOUND
        conversation.send_reply(OperationReply(code=0, host=host, port=port, options=self.options))
        self._conversations[FIRST_ID + number] = conversation, stream
        await flush(conversation, stream)
        await self.send_on_stream(AssociationInitialization(association_id=FIRST_ID + number))
        return True

    async def take_packet(self, packet: bytes, source: tuple[str, int]) -> None:
        """Take a packet that came over UDP."""
        self.packets.append(packet)
        if self.loses:
            self.loses -= 1
            return
        expected = self.layouts[-1] if self.layouts else None  # an association keeps its first datagram's
        message, layout = decode_message(packet, self.dialect, expected)
        assert isinstance(message, Datagram)
        await self._take(message, layout, source)

    async def _take(
        self, message: Datagram, layout: DatagramLayout | None, source: tuple[str, int] | None
    ) -> None:
        known = message.association_id in self._latched
        path = self._latched.setdefault(message.association_id, source)
        if path != source:
            return
        self.messages.append(message)
        self.layouts.append(layout)
        if not known and self.confirms:
            await self.send_on_stream(AssociationConfirmation(association_id=message.association_id))
        if message.data:
            host = message.host if is_literal(message.host) else NAMED
            echo = Datagram(
                association_id=message.association_id, host=host, port=message.port, data=message.data
            )
            await self._send(echo, layout)

    async def _send(
        self, message: AssociationMessage, layout: DatagramLayout | None = None, *, padding: bytes = b""
    ) -> None:
        path = self._latched[message.association_id]
        if path is None:
            conversation, stream = self._conversations[message.association_id]
            await stream.send(message.encode(conversation.dialect, layout))
        else:
            assert self._udp is not None
            self._udp.sendto(message.encode(self.dialect, layout) + padding, path)


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, proxy: AssociatingProxy, group: asyncio.TaskGroup) -> None:
        self._proxy = proxy
        self._group = group

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._group.create_task(self._proxy.take_packet(data, addr))


def _at_one_port(host: str) -> tuple[socket.socket, socket.socket]:
    """Return a listener and a UDP socket at the same port; one that is free for TCP may be taken for UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempts_left in reversed(range(ATTEMPTS)):
        listener, packets = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
        try:
            listener.bind((host, 0))
            packets.bind((host, listener.getsockname()[1]))
        except OSError as error:
            listener.close()
            packets.close()
            if error.errno != errno.EADDRINUSE or not attempts_left:
                raise
            continue
        listener.listen()
        listener.setblocking(False)
        packets.setblocking(False)
        return listener, packets
    raise AssertionError("the last attempt returns or raises")


@contextlib.asynccontextmanager
async def associating(
    proxy: AssociatingProxy, *, host: str = "127.0.0.1", udp: bool = True, timeout: float = 10.0
) -> AsyncIterator[Client]:
    """Run the proxy; give a client of it. Without `udp` nobody is at its UDP port."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as held:
        listener, packets = _at_one_port(host)
        held.enter_context(listener)
        held.enter_context(packets)
        port = listener.getsockname()[1]
        authority = f"[{host}]" if ":" in host else host
        proxy.url = f"socks6://{authority}:{port}"
        async with asyncio.TaskGroup() as group:
            if udp:
                proxy._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Packets(proxy, group), sock=packets
                )
            else:
                packets.close()

            async def accept() -> None:
                while True:
                    sock, _ = await loop.sock_accept(listener)
                    group.create_task(proxy.serve(SocketStream(sock)))

            accepting = group.create_task(accept())
            try:
                async with Client(proxy.url, timeout=timeout, dialect=proxy.dialect) as client:
                    yield client
            finally:
                accepting.cancel()
                if proxy._udp is not None:
                    proxy._udp.close()
                for _, stream in proxy._conversations.values():
                    stream.abort()
