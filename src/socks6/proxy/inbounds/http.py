"""The HTTP inbound: CONNECT, and requests for plain http."""

import asyncio
from dataclasses import replace
from typing import Final

from socks6.compat import override
from socks6.errors import AuthenticationBusy, OperationFailed
from socks6.message.codes import Command
from socks6.message.http import BUSY, read_plain_connect
from socks6.net.machine_io import flush, next_event
from socks6.net.wire_log import wire_trace
from socks6.policy.identity import Identity
from socks6.protocol.events import Ended, Violation
from socks6.protocol.http import ForwardRequested, HttpConversation, HttpEvent, PageRequested, TunnelRequested
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import PlainForm, PlainInbound, Tunnel, open_tunnel
from socks6.proxy.inbounds.http_forward import HttpForwarder, HttpSettings, failure_for_client
from socks6.telemetry import Ending

SOME_CONNECT: Final = b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
MAX_UNAUTHENTICATED: Final = 8  # requests in a row without good credentials; the last answer closes


def _failure(failure: OperationFailed, connection: ClientConnection) -> bytes:
    """Return the answer to a plain CONNECT that failed."""
    conversation = HttpConversation()
    conversation.receive_data(SOME_CONNECT, 0.0)
    conversation.next_event()
    conversation.send_failure(failure_for_client(failure, connection))
    return conversation.data_to_send()


PLAIN_FORM: Final = PlainForm(
    read_connect=read_plain_connect, success=lambda _host, _port: ESTABLISHED, failure=_failure
)


class HttpInbound(PlainInbound):
    """Serves HTTP/1.1 clients that use a proxy."""

    name = "http"
    alpn = ("http/1.1",)

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self._settings = settings or HttpSettings()
        self.plain_forms = {SOME_CONNECT[0]: replace(PLAIN_FORM, optimistic=self._settings.optimistic)}

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        return await _HttpClient(connection, self._settings).serve(initial_data)


class _HttpClient:
    """One client: its requests, one after another."""

    def __init__(self, connection: ClientConnection, settings: HttpSettings) -> None:
        self._connection = connection
        self._stream = connection.stream
        self._settings = settings
        self._conversation = HttpConversation(wire_trace(connection.source))
        self._forwarder = HttpForwarder(self._conversation, connection, settings)
        self._requests = 0
        self._unauthenticated = 0  # requests in a row
        self._refusal = ""
        self._ending = Ending.UNAUTHENTICATED
        # and the version of these credentials
        self._proven: tuple[UsernamePasswordCredentials, Identity, object] | None = None

    async def serve(self, initial_data: bytes) -> Tunnel | None:
        """Serve requests until the connection ends or becomes a tunnel."""
        conversation = self._conversation
        if initial_data:
            conversation.receive_data(initial_data, asyncio.get_running_loop().time())
        try:
            while True:
                event = await self._next_request()
                match event:
                    case TunnelRequested() | ForwardRequested():
                        if (tunnel := await self._answer(event)) is not None:
                            return tunnel
                        await flush(conversation, self._stream)  # before a request that is here already
                    case PageRequested():
                        self._answer_page(event)
                        await flush(conversation, self._stream)
                        return None
                    case _:
                        self._record_end(event)
                        await flush(conversation, self._stream)
                        return None
        finally:
            await self._forwarder.aclose()

    async def _next_request(self) -> HttpEvent | None:
        """Return the next request; the first one has the handshake's deadline, the others have ours."""
        limit = self._settings.keep_alive_timeout if self._requests else None
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
            self._conversation.demand_credentials(close=self._unauthenticated >= MAX_UNAUTHENTICATED)
            return None
        self._unauthenticated = 0
        self._requests += 1
        if isinstance(request, ForwardRequested):
            return await self._forwarder.forward(request, identity)
        conversation = self._conversation
        return await open_tunnel(
            conversation,
            self._connection,
            ProxyRequest(
                command=Command.CONNECT,
                host=request.host,
                port=request.port,
                identity=identity,
                initial_data=conversation.unread(),
            ),
            succeed=lambda _: conversation.send_established(),
            fail=lambda failure: conversation.send_failure(failure_for_client(failure, self._connection)),
            optimistic=self._settings.optimistic,
        )

    def _answer_page(self, request: PageRequested) -> None:
        """Answer a client that takes the proxy for a web server."""
        from socks6.proxy.inbounds.http_pages import find_page  # noqa: PLC0415 - few clients ask

        page = find_page(request, self._connection)
        if page is None:
            self._record_end(self._conversation.refuse_page())
        else:
            self._conversation.send_page(page)

    async def _identify(self, credentials: UsernamePasswordCredentials | None) -> Identity | None:
        """Return the client's identity; verified credentials are good for the connection, or until a reload."""
        if not self._connection.authentication_required:
            return self._connection.default_identity
        if credentials is None:
            return None
        if self._proven is not None and self._proven[0] == credentials:
            identity, version = self._proven[1:]
            if self._connection.still_vouched(identity) and version == self._credential_version(identity):
                return identity
        verified = await self._connection.verify(credentials)
        self._proven = None
        if verified is not None:
            self._proven = credentials, verified, self._credential_version(verified)
        return verified

    def _credential_version(self, identity: Identity) -> object:
        return self._connection.proxy.authenticator.credential_version(identity)

    def _record_end(self, event: HttpEvent | None) -> None:
        """Record why a client goes without a request, or that it broke the protocol."""
        if isinstance(event, Violation):
            self._connection.refused(Ending.MALFORMED, event.reason)
        elif self._requests == 0 and self._refusal:
            self._connection.refused(self._ending, self._refusal)
        elif self._requests == 0 and isinstance(event, Ended):
            self._connection.refused(Ending.NO_REQUEST, event.reason)
