"""The SOCKS 5 inbound, which serves SOCKS 4 and 4a clients too."""

import asyncio
from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from socks6.errors import AuthenticationBusy, OperationFailed
from socks6.message import socks5
from socks6.message.codes import Command, ReplyCode
from socks6.net.machine_io import flush, next_event
from socks6.net.stream import ByteStream
from socks6.policy.identity import Identity
from socks6.protocol.events import CredentialsOffered, Ended, Violation
from socks6.protocol.methods.base import Credentials
from socks6.protocol.socks5 import MethodRefused, Socks5Conversation, Socks5Event, SocksRequestReceived
from socks6.proxy.inbounds.base import Call, Engine, Inbound, Tunnel
from socks6.proxy.inbounds.optimism import open_tunnel
from socks6.proxy.inbounds.socks5_bind import bind
from socks6.proxy.inbounds.socks5_udp import associate, may_associate
from socks6.telemetry import Ending

ENDINGS: Final[Mapping[type, Ending]] = {
    MethodRefused: Ending.UNAUTHENTICATED,
    Violation: Ending.MALFORMED,
    Ended: Ending.NO_REQUEST,
}


class Socks5Inbound(Inbound):
    """Serves SOCKS 4, 4a and 5: CONNECT, and UDP ASSOCIATE for SOCKS 5.

    If `optimistic`, success is told before the far side is asked, so that a client's first bytes can go along
    with the request; when the far side fails, the client is reset. An association ends with its connection, or
    after `udp_idle` seconds without a datagram; 0 for never.
    """

    name: Final = "socks5"

    def __init__(self, *, optimistic: bool = False, udp_idle: float = 0.0) -> None:
        self._optimistic = optimistic
        self._udp_idle = udp_idle

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Inbound.serve`."""
        conversation = Socks5Conversation(authentication_required=engine.authenticator.required)
        if first:
            conversation.receive_data(first, asyncio.get_running_loop().time())
        call = await self._receive_call(conversation, stream, engine)
        tunnel = await self._operate(conversation, stream, engine, call) if call else None
        if tunnel is None:
            await flush(conversation, stream)
        return tunnel

    async def _receive_call(
        self, conversation: Socks5Conversation, stream: ByteStream, engine: Engine
    ) -> Call | None:
        """Receive a request and authenticate its client; None if it was sent away."""
        identity = engine.stranger
        while True:
            event: Socks5Event | None = await next_event(conversation, stream)
            match event:
                case CredentialsOffered():
                    try:
                        known = await self._verify(event.credentials, engine)
                    except AuthenticationBusy as busy:
                        conversation.cannot_verify()
                        engine.refused(Ending.FAILED, str(busy))
                        return None
                    conversation.verified(accepted=known is not None)
                    if known is None:
                        engine.refused(Ending.UNAUTHENTICATED, "wrong credentials")
                        return None
                    identity = known
                case SocksRequestReceived():
                    request = event.request
                    return Call(
                        command=request.command,
                        host=request.host,
                        port=request.port,
                        identity=identity,
                        first_data=conversation.unread(),
                    )
                case MethodRefused() | Violation() | Ended():
                    engine.refused(ENDINGS[type(event)], event.reason)
                    return None
                case None:
                    raise AssertionError("a conversation ends with an event")

    async def _verify(self, credentials: Credentials, engine: Engine) -> Identity | None:
        """Ask who the client is; where nobody has to say, whatever it says makes it no other."""
        if engine.authenticator.required:
            return await engine.authenticator.verify(credentials)
        return engine.stranger

    async def _operate(
        self, conversation: Socks5Conversation, stream: ByteStream, engine: Engine, call: Call
    ) -> Tunnel | None:
        """Carry out the command; None when there is nothing to relay."""
        if call.command == Command.BIND:
            return await bind(conversation, stream, engine, call)
        if call.command == Command.UDP_ASSOCIATE and conversation.speaks_socks5 and may_associate(stream):
            await associate(conversation, stream, engine, call, idle=self._udp_idle)
            return None
        if call.command != Command.CONNECT:
            code = ReplyCode.COMMAND_NOT_SUPPORTED
            engine.answered(call, code, f"command {call.command} is not supported")
            conversation.send_failure(code)
            return None
        if self._optimistic:
            conversation.send_success(socks5.NO_ADDRESS, 0)
            await flush(conversation, stream)
            return await open_tunnel(stream, engine, call)
        try:
            connection = await engine.connect(call)
        except OperationFailed as failure:
            conversation.send_failure(failure.code)
            return None
        try:
            conversation.send_success(connection.bound.host or socks5.NO_ADDRESS, connection.bound.port)
            await flush(conversation, stream)
        except BaseException:
            connection.stream.abort()
            raise
        return Tunnel(remote=connection.stream, first=call.first_data[connection.first_data_sent :])
