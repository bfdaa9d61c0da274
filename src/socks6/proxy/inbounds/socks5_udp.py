"""SOCKS 5 UDP ASSOCIATE (RFC 1928, sections 4 and 7): a UDP socket for the client, joined to an association."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

from socks6.errors import OperationFailed
from socks6.message.codes import ReplyCode
from socks6.message.framing import Socks5Framing
from socks6.message.socks5 import NO_ADDRESS
from socks6.net.datagrams.shared import udp_socket
from socks6.net.machine_io import flush
from socks6.net.sockets import endpoint
from socks6.net.stream import ByteStream, DatagramChannel, Protection
from socks6.protocol.association import ClientAssociation
from socks6.protocol.socks5 import Socks5Conversation
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.relay.datagrams.association_relay import AssociationEvents, AssociationRelay, DatagramRelay
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.telemetry import Ending

SOCKET_BUFFER_BYTES: Final = 1 << 20  # asked of the kernel, each way; it may grant less


def may_associate(stream: ByteStream) -> bool:
    """Return whether a client has UDP: over TCP in the clear alone.

    Over a Unix socket it is unknown where its datagrams would come from; beside TLS they would go in the clear.
    """
    return stream.protection is Protection.CLEAR and bool(stream.remote.host)


async def associate(
    conversation: Socks5Conversation, connection: ClientConnection, request: ProxyRequest
) -> None:
    """Serve an association until the client's stream ends, or nothing has come or gone for too long."""
    # RFC 1928, section 6: its address and port are the client's own, as far as it knows them; few do
    request = replace(request, host=NO_ADDRESS, port=0)
    try:
        association = await connection.associate(request)
    except OperationFailed as failure:
        conversation.send_failure(failure.code)
        return
    try:
        await _relay(conversation, connection, request, association.channel)
    finally:
        await association.channel.aclose()


async def _relay(
    conversation: Socks5Conversation,
    connection: ClientConnection,
    request: ProxyRequest,
    channel: DatagramChannel,
) -> None:
    stream, datagrams = connection.stream, connection.proxy.datagrams
    loop = asyncio.get_running_loop()

    def end(reason: str) -> None:
        connection.refused(Ending.IDLE, reason)
        limit.reschedule(loop.time())

    with contextlib.ExitStack() as held:
        try:
            port = open_port(stream, datagrams)
            held.callback(port.close)
            relay = AssociationRelay(
                datagrams,
                ClientAssociation(Socks5Framing()),
                channel,
                AssociationEvents(over=end),
                port=port,
                client_host=stream.remote.host,
            )
        except OSError as error:  # descriptors or memory are short
            reason = f"no UDP port for the client: {error.strerror or error}"
            connection.answered(request, ReplyCode.GENERAL_FAILURE, reason)
            conversation.send_failure(ReplyCode.GENERAL_FAILURE)
            return
        connection.relaying(relay)
        try:
            async with asyncio.timeout(None) as limit:
                conversation.send_success(*endpoint(port.sock.getsockname()))
                await flush(conversation, stream)
                while await stream.receive():  # nothing that comes on it has a meaning
                    pass
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            await relay.aclose()
            connection.carried(relay.bytes_up, relay.bytes_down)


def open_port(stream: ByteStream, datagrams: DatagramRelay) -> ClientPort:
    """Return a port of the client's own at the address where it has reached us. Raises OSError."""
    raw = stream.raw_socket
    address = raw.getsockname() if raw is not None else stream.local
    sock = udp_socket((address[0], 0, *address[2:]), buffer_bytes=SOCKET_BUFFER_BYTES)
    return datagrams.own_port(sock)
