"""UDP ASSOCIATE in the SOCKS 6 inbound (§ Handling UDP ASSOCIATE): the association on its client's stream."""

import asyncio
from collections import deque
from typing import Final

from socks6.errors import OperationFailed
from socks6.message.codes import Availability, ReplyCode
from socks6.message.datagrams import Datagram
from socks6.message.framing import Socks6Framing
from socks6.message.options import UdpError, find
from socks6.message.replies import OperationReply
from socks6.net.machine_io import flush, next_event
from socks6.net.stream import ByteStream
from socks6.net.wire_log import wire_trace
from socks6.protocol.association import ServerAssociation
from socks6.protocol.events import AssociationMessageReceived, MessagesIgnored, Violation
from socks6.protocol.server import ServerConversation
from socks6.proxy.commands import OpenedAssociation, ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.relay.datagrams.association_relay import AssociationEvents, AssociationRelay
from socks6.telemetry import Ending

MAX_WAITING: Final = 256 * 1024  # bytes for a client that does not read its stream; beyond, the oldest go


async def associate(
    conversation: ServerConversation, connection: ClientConnection, request: ProxyRequest
) -> None:
    """Open the association, and serve it until the stream ends."""
    await flush(conversation, connection.stream)
    try:
        association = await connection.associate(request)
    except OperationFailed as failure:
        conversation.send_reply(OperationReply(code=failure.code))
        return
    try:
        bound = association.bound
        conversation.send_reply(
            OperationReply(
                code=ReplyCode.SUCCEEDED, host=bound.host, port=bound.port, options=association.options
            )
        )
        await flush(conversation, connection.stream)
        await _ServedAssociation(conversation, connection, association).run()
    finally:
        await association.channel.aclose()


class _ServedAssociation:
    """One association on its client's stream."""

    def __init__(
        self, conversation: ServerConversation, connection: ClientConnection, opened: OpenedAssociation
    ) -> None:
        datagrams = connection.proxy.datagrams
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._conversation = conversation
        wish = find(opened.options, UdpError)
        self._association = ServerAssociation(
            datagrams.new_id(),
            conversation.dialect,
            deadline=loop.time() + datagrams.initial_timeout,
            reports=wish is not None and wish.availability == Availability.YES,
            trace=wire_trace(connection.source),
        )
        self._outbox = Outbox(connection.stream)
        self._relay = AssociationRelay(
            datagrams,
            self._association,
            opened.channel,
            AssociationEvents(
                to_stream=self._outbox.put, confirmed=self._confirm, over=self._end, lost=self._path_lost
            ),
            port=connection.client_port,
            options=opened.client_options,
            user=connection.default_identity.name,
        )
        connection.relaying(self._relay)
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until the stream ends, or something else ends the association. Raises OSError."""
        self._outbox.put_first(self._association.data_to_send())
        loop = asyncio.get_running_loop()
        timer = loop.call_at(self._association.next_timeout() or 0, self._expire)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = group.create_task(self._read()), group.create_task(self._outbox.run())
                await self._over.wait()
                for task in tasks:
                    task.cancel()
        except* OSError as broken:
            raise broken.exceptions[0] from None
        finally:
            timer.cancel()
            await self._relay.aclose()
            self._connection.carried(self._relay.bytes_up, self._relay.bytes_down)

    async def _read(self) -> None:
        """Take what the client sends on its stream."""
        while True:
            match await next_event(self._conversation, self._connection.stream):
                case AssociationMessageReceived(message=Datagram() as message, layout=layout):
                    if layout is not None:
                        framing = Socks6Framing(message.association_id, self._association.dialect, layout)
                        self._relay.from_stream(framing, message.data, message.host, message.port)
                case MessagesIgnored():
                    pass
                case Violation() as event:
                    self._connection.refused(Ending.MALFORMED, event.reason)
                    break
                case _:
                    break  # the stream has ended, and the association with it
        self._over.set()

    def _confirm(self) -> None:
        self._conversation.expect_layout(self._association.layout)
        self._outbox.put_first(self._association.data_to_send())

    def _expire(self) -> None:
        self._association.handle_timeout(asyncio.get_running_loop().time() + 0.001)
        if self._association.next_timeout() is None and self._association.path is None:
            self._end("no first datagram")

    def _path_lost(self, reason: str) -> None:
        self._connection.refused(Ending.DONE, reason)
        self._over.set()

    def _end(self, reason: str) -> None:
        self._connection.refused(Ending.IDLE, reason)
        self._over.set()


class Outbox:
    """Messages that wait for a client to read its stream: bounded, the oldest datagrams going first."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._messages: deque[bytes] = deque()
        self._first = b""
        self._size = 0
        self._filled = asyncio.Event()

    def put_first(self, data: bytes) -> None:
        """Queue a message before all datagrams; it is never dropped."""
        self._first += data
        self._filled.set()

    def put(self, message: bytes) -> None:
        """Queue a datagram; the oldest are dropped if too much waits."""
        self._messages.append(message)
        self._size += len(message)
        while self._size > MAX_WAITING:
            self._size -= len(self._messages.popleft())
        self._filled.set()

    async def run(self) -> None:
        """Send what is put in, for ever. Raises OSError."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            data = self._first + b"".join(self._messages)
            self._first = b""
            self._messages.clear()
            self._size = 0
            await self._stream.send(data)
