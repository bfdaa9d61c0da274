"""The SOCKS 5 inbound, which serves SOCKS 4 and 4a clients too (RFC 1928): CONNECT, BIND and UDP ASSOCIATE."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from socks6.compat import override
from socks6.errors import AuthenticationBusy, OperationFailed
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import Command, Method, ReplyCode
from socks6.message.framing import Socks5Framing
from socks6.message.socks5 import (
    NO_ADDRESS,
    VERSION,
    Socks5MethodSelection,
    Socks5Reply,
    encode_success,
    is_plain_greeting,
    read_plain_connect,
    reply_code_for,
)
from socks6.net.bind import ANYWHERE, family_of, unmapped
from socks6.net.datagrams.shared import udp_socket
from socks6.net.machine_io import flush, next_event
from socks6.net.scopes import time_limit
from socks6.net.sockets import endpoint
from socks6.net.stream import ByteStream, DatagramChannel, Endpoint, Protection
from socks6.net.wire_log import wire_trace
from socks6.policy.identity import Identity
from socks6.protocol.association import ClientAssociation
from socks6.protocol.events import CredentialsOffered, Ended, Violation
from socks6.protocol.methods.base import Credentials
from socks6.protocol.socks5 import MethodRefused, Socks5Conversation, Socks5Event, SocksRequestReceived
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import PlainForm, PlainInbound, Tunnel, accept_peer, open_tunnel
from socks6.relay.datagrams.association_relay import AssociationEvents, AssociationRelay, DatagramRelay
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.telemetry import Ending

ENDINGS: Final[Mapping[type, Ending]] = {
    MethodRefused: Ending.UNAUTHENTICATED,
    Violation: Ending.MALFORMED,
    Ended: Ending.NO_REQUEST,
}
SOCKET_BUFFER_BYTES: Final = 1 << 20  # asked of the kernel, each way; it may grant less


PLAIN_FORM: Final = PlainForm(
    is_greeting=is_plain_greeting,
    welcome=Socks5MethodSelection(method=Method.NONE).encode(),
    read_connect=read_plain_connect,
    success=encode_success,
    failure=lambda failure, _: Socks5Reply(code=reply_code_for(failure.code)).encode(),
)


class Socks5Inbound(PlainInbound):
    """Serves SOCKS 4, 4a and 5: CONNECT and BIND, and UDP ASSOCIATE for SOCKS 5.

    If `optimistic`, success is answered before the remote is asked, so that a client's first bytes can go along
    with the request; when the remote fails, the client is reset.
    """

    name: Final = "socks5"

    def __init__(self, *, optimistic: bool = False) -> None:
        self._optimistic = optimistic
        self.plain_forms = {VERSION: replace(PLAIN_FORM, optimistic=optimistic)}

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        greeting = connection.greeting
        conversation = Socks5Conversation(
            authentication_required=connection.authentication_required and not greeting,
            trace=wire_trace(connection.source),
        )
        now = connection.proxy.loop.time()
        if greeting:
            conversation.receive_data(greeting, now)
            conversation.data_to_send()  # was sent
        if initial_data:
            conversation.receive_data(initial_data, now)
        request = await self._receive(conversation, connection)
        tunnel = await self._carry_out(conversation, connection, request) if request else None
        if tunnel is None:
            await flush(conversation, connection.stream)
        return tunnel

    async def _receive(
        self, conversation: Socks5Conversation, connection: ClientConnection
    ) -> ProxyRequest | None:
        """Receive a request and authenticate its client; None if it was sent away."""
        identity = connection.default_identity
        while True:
            event: Socks5Event | None = await next_event(conversation, connection.stream)
            match event:
                case CredentialsOffered():
                    try:
                        known = await _verify(event.credentials, connection)
                    except AuthenticationBusy as busy:
                        conversation.cannot_verify()
                        connection.refused(Ending.FAILED, str(busy))
                        return None
                    conversation.verified(accepted=known is not None)
                    if known is None:
                        connection.refused(Ending.UNAUTHENTICATED, "wrong credentials")
                        return None
                    identity = known
                case SocksRequestReceived():
                    return ProxyRequest(
                        command=event.request.command,
                        host=event.request.host,
                        port=event.request.port,
                        identity=identity,
                        initial_data=conversation.unread(),
                    )
                case MethodRefused() | Violation() | Ended():
                    connection.refused(ENDINGS[type(event)], event.reason)
                    return None
                case None:
                    raise AssertionError("a conversation ends with an event")

    async def _carry_out(
        self, conversation: Socks5Conversation, connection: ClientConnection, request: ProxyRequest
    ) -> Tunnel | None:
        """Carry out the command; None when there is nothing to relay."""
        if request.command == Command.CONNECT:
            return await open_tunnel(
                conversation,
                connection,
                request,
                succeed=lambda bound: _succeed(conversation, bound),
                fail=lambda failure: conversation.send_failure(failure.code),
                optimistic=self._optimistic,
            )
        if request.command == Command.BIND:
            return await _bind(conversation, connection, request)
        if (
            request.command == Command.UDP_ASSOCIATE
            and conversation.speaks_socks5
            and may_associate(connection.stream)
        ):
            await _associate(conversation, connection, request)
            return None
        code = ReplyCode.COMMAND_NOT_SUPPORTED
        connection.answered(request, code, f"command {request.command} is not supported")
        conversation.send_failure(code)
        return None


async def _verify(credentials: Credentials, connection: ClientConnection) -> Identity | None:
    """Return the client's identity; where none is required, credentials make it no other."""
    if connection.authentication_required:
        return await connection.verify(credentials)
    return connection.default_identity


async def _bind(
    conversation: Socks5Conversation, connection: ClientConnection, request: ProxyRequest
) -> Tunnel | None:
    """Bind, answer with the endpoint, wait for the peer, answer with its address; None when there is nothing to relay."""
    try:
        binding = await connection.bind(_place(request))
    except OperationFailed as failure:
        conversation.send_failure(failure.code)
        return None
    try:
        _succeed(conversation, binding.bound)
        await flush(conversation, connection.stream)
        return await accept_peer(
            conversation,
            connection,
            binding,
            request,
            succeed=lambda accepted: _succeed(conversation, accepted.peer),
            fail=conversation.send_failure,
        )
    finally:
        await binding.aclose()


def _place(request: ProxyRequest) -> ProxyRequest:
    """Return the request to bind an endpoint.

    What a BIND of SOCKS 4 or 5 names is the host that will connect, to which the client has a connection already.
    Only an unspecified address leaves that open, and then the port is the one to bind. So does a name, since it is not
    certain that it leads to what the client has seen.
    """
    host = unmapped(request.host)
    if is_unspecified(host):
        return replace(request, host=host)
    if is_literal(host):
        return replace(request, host=ANYWHERE[family_of(host)], port=0, only_peer=host)
    return replace(request, host=NO_ADDRESS, port=0)


def _succeed(conversation: Socks5Conversation, bound: Endpoint) -> None:
    conversation.send_success(bound.host or NO_ADDRESS, bound.port)


# UDP ASSOCIATE (RFC 1928, sections 4 and 7): a UDP socket for the client, joined to an association.


def may_associate(stream: ByteStream) -> bool:
    """Return whether a client has UDP: over TCP in the clear alone.

    Over a Unix socket it is unknown where its datagrams would come from; beside TLS they would go in the clear.
    """
    return stream.protection is Protection.CLEAR and bool(stream.remote.host)


async def _associate(
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
        await _relay_datagrams(conversation, connection, request, association.channel)
    finally:
        await association.channel.aclose()


async def _relay_datagrams(
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
            async with time_limit(None) as limit:
                conversation.send_success(*endpoint(port.sock.getsockname()))
                await flush(conversation, stream)
                while await stream.receive():  # nothing that comes on it has a meaning
                    pass
        finally:
            await relay.aclose()
            connection.carried(relay.bytes_up, relay.bytes_down)


def open_port(stream: ByteStream, datagrams: DatagramRelay) -> ClientPort:
    """Return a port of the client's own at the address where it has reached us. Raises OSError."""
    raw = stream.raw_socket
    address = raw.getsockname() if raw is not None else stream.local
    sock = udp_socket((address[0], 0, *address[2:]), buffer_bytes=SOCKET_BUFFER_BYTES)
    return datagrams.own_port(sock)
