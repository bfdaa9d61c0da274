"""The HTTP inbound: CONNECT, and requests for plain http."""

import asyncio
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from socks6.errors import AuthenticationBusy, OperationFailed
from socks6.message.codes import Command
from socks6.message.http import BUSY
from socks6.net.machine_io import flush, next_event
from socks6.net.stream import ByteStream
from socks6.policy.identity import Identity
from socks6.protocol.events import Ended, Violation
from socks6.protocol.http import ForwardRequested, HttpConversation, HttpEvent, TunnelRequested
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.inbounds.base import Call, Engine, Inbound, Tunnel
from socks6.proxy.inbounds.http_forward import Forwarder
from socks6.proxy.inbounds.optimism import open_tunnel
from socks6.telemetry import Ending

MOST_UNAUTHENTICATED: Final = (
    8  # requests in a row without good credentials; the answer to the last one closes
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How patient the inbound is. Times are seconds."""

    keep_alive_timeout: float = 60.0  # from a response's end to the next request's head
    idle_timeout: float = 300.0  # without a byte of a request or response that is under way
    fin_timeout: float = 30.0  # the same, once the client has closed its side
    optimistic: bool = False  # answer CONNECT before the far side has, and reset the client if that fails


class HttpInbound(Inbound):
    """Serves HTTP/1.1 clients that use a proxy."""

    name = "http"

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self._settings = settings or HttpSettings()

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Inbound.serve`."""
        return await _Visit(stream, engine, self._settings).serve(first)


class _Visit:
    """One client: its requests, one after another."""

    def __init__(self, stream: ByteStream, engine: Engine, settings: HttpSettings) -> None:
        self._stream = stream
        self._engine = engine
        self._settings = settings
        self._conversation = HttpConversation()
        self._forwarder = Forwarder(
            self._conversation,
            stream,
            engine,
            idle_timeout=settings.idle_timeout,
            fin_timeout=settings.fin_timeout,
        )
        self._calls = 0
        self._unauthenticated = 0  # requests in a row
        self._refusal = ""
        self._ending = Ending.UNAUTHENTICATED
        self._proven: tuple[UsernamePasswordCredentials, Identity] | None = None

    async def serve(self, first: bytes) -> Tunnel | None:
        """Serve requests until the connection ends or becomes a tunnel."""
        conversation = self._conversation
        if first:
            conversation.receive_data(first, asyncio.get_running_loop().time())
        try:
            while True:
                event = await self._next_request()
                match event:
                    case TunnelRequested() | ForwardRequested():
                        if (tunnel := await self._answer(event)) is not None:
                            return tunnel
                        await flush(conversation, self._stream)  # before a request that is here already
                    case _:
                        self._take_leave(event)
                        await flush(conversation, self._stream)
                        return None
        finally:
            await self._forwarder.aclose()

    async def _next_request(self) -> HttpEvent | None:
        """Return the next request; the first one has the handshake's deadline, the others have ours."""
        limit = self._settings.keep_alive_timeout if self._calls else None
        try:
            async with asyncio.timeout(limit):
                return await next_event(self._conversation, self._stream)
        except TimeoutError:
            return None

    async def _answer(self, request: TunnelRequested | ForwardRequested) -> Tunnel | None:
        """Authenticate a request's client and carry the request out."""
        try:
            identity = await self._identify(request.credentials)
        except AuthenticationBusy as busy:
            self._refusal = str(busy)
            self._ending = Ending.FAILED
            self._conversation.send_failure(BUSY)
            return None
        if identity is None:
            self._ending = Ending.UNAUTHENTICATED
            self._refusal = "no credentials" if request.credentials is None else "wrong credentials"
            self._unauthenticated += 1
            self._conversation.demand_credentials(close=self._unauthenticated >= MOST_UNAUTHENTICATED)
            return None
        self._unauthenticated = 0
        self._calls += 1
        if isinstance(request, ForwardRequested):
            return await self._forwarder.forward(request, identity)
        return await self._open_tunnel(request, identity)

    async def _identify(self, credentials: UsernamePasswordCredentials | None) -> Identity | None:
        """Return who the client is; credentials that were verified are good for the connection, or until a reload."""
        authenticator = self._engine.authenticator
        if not authenticator.required:
            return self._engine.stranger
        if credentials is None:
            return None
        if self._proven is not None and self._proven[0] == credentials:
            identity = self._proven[1]
            if self._engine.stands(identity):
                return identity
        verified = await authenticator.verify(credentials)
        self._proven = None if verified is None else (credentials, verified)
        return verified

    async def _open_tunnel(self, request: TunnelRequested, identity: Identity) -> Tunnel | None:
        conversation = self._conversation
        call = Call(
            command=Command.CONNECT,
            host=request.host,
            port=request.port,
            identity=identity,
            first_data=conversation.unread(),
        )
        if self._settings.optimistic:
            conversation.send_established()
            await flush(conversation, self._stream)
            return await open_tunnel(self._stream, self._engine, call)
        try:
            connection = await self._engine.connect(call)
        except OperationFailed as failure:
            conversation.send_failure(failure.code)
            return None
        try:
            conversation.send_established()
            await flush(conversation, self._stream)
        except BaseException:
            connection.stream.abort()
            raise
        return Tunnel(remote=connection.stream, first=call.first_data[connection.first_data_sent :])

    def _take_leave(self, event: HttpEvent | None) -> None:
        """Tell the log why a client goes without a call, or with bad manners."""
        if isinstance(event, Violation):
            self._engine.refused(Ending.MALFORMED, event.reason)
        elif self._calls == 0 and self._refusal:
            self._engine.refused(self._ending, self._refusal)
        elif self._calls == 0 and isinstance(event, Ended):
            self._engine.refused(Ending.NO_REQUEST, event.reason)
