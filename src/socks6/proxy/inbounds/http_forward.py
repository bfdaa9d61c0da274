"""Forwarding requests for plain http: one client's requests, one after another, to their origins."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from http import HTTPStatus
from typing import Final, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import (
    AuthenticationFailed,
    CertificateRefused,
    OperationFailed,
    RemoteProtocolError,
    TlsFailed,
    UpstreamFailed,
)
from socks6.message.codes import Command, ReplyCode
from socks6.message.http import ORIGIN_BROKE, ORIGIN_MALFORMED, ORIGIN_SILENT, Failure, failure_for
from socks6.net.machine_io import feed
from socks6.net.stream import ByteStream
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.events import Ended, Violation
from socks6.protocol.http import BodyEnded, BodyReceived, ForwardRequested, HttpConversation
from socks6.protocol.http_origin import (
    InterimReceived,
    OriginConversation,
    OriginEvent,
    ResponseReceived,
    SwitchReceived,
)
from socks6.protocol.machine import Machine
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Tunnel
from socks6.relay.delivery import deliver, end_in_order, reset_if_killed

REPEATABLE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})  # safe methods (RFC 9110 §9.2.1)
EVENTS_PER_TURN: Final = 16  # after which other connections get their turn, were all bytes there at once

EventT = TypeVar("EventT")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How the HTTP inbound serves. Times are seconds."""

    keep_alive_timeout: float = 60.0  # from a response's end to the next request's head
    idle_timeout: float = 300.0  # without a byte of a request or response that is under way
    fin_timeout: float = 30.0  # the same, once the client has closed its side
    optimistic: bool = False  # answer CONNECT before the remote has, and reset the client if that fails


class ExchangeResult(Enum):
    """How an exchange with an origin went."""

    WHOLE = "whole"
    SWITCHED = "switched"
    BROKE = "the origin broke the connection off"
    MALFORMED = "the origin's response is malformed"
    SILENT = "the origin is silent"
    CLIENT_LOST = "the client broke off"


FAILURES: Final[dict[ExchangeResult, Failure]] = {
    ExchangeResult.BROKE: ORIGIN_BROKE,
    ExchangeResult.MALFORMED: ORIGIN_MALFORMED,
    ExchangeResult.SILENT: ORIGIN_SILENT,
}

# The error types (RFC 9209 §2.3) of what goes wrong with the proxy to go through; the first that fits counts.
UPSTREAM_ERROR_TYPES: Final[Mapping[type[Exception], str]] = {
    CertificateRefused: "tls_certificate_error",
    TlsFailed: "tls_protocol_error",
    AuthenticationFailed: "proxy_configuration_error",
    RemoteProtocolError: "proxy_configuration_error",  # it speaks no SOCKS 6
    ConnectionRefusedError: "connection_refused",
    socket.gaierror: "dns_error",
    TimeoutError: "connection_timeout",
    ConnectionResetError: "connection_terminated",
}
OTHER_UPSTREAM_ERROR: Final = "destination_unavailable"


@dataclass(slots=True, kw_only=True)
class OriginConnection:
    """A connection to an origin."""

    key: ProxyRequest  # what another request must have in common to use it: where it goes, and its user
    policy: Policy  # that let it be
    stream: ByteStream
    machine: OriginConversation
    unsent: bytes  # of the request, without its body
    fresh: bool = True  # no request was sent on it before
    settled: bool = False  # the last request was sent wholly

    def takes(self, key: ProxyRequest, policy: Policy) -> bool:
        """Return whether another request may be sent here, under the policy that holds now."""
        if key != self.key or policy is not self.policy or not self.settled or not self.machine.reusable:
            return False
        try:
            return self.stream.receive_nowait(1) is None  # neither closed meanwhile, nor speaking unasked
        except OSError:
            return False


class HttpForwarder:
    """Forwards the requests of one client; keeps the last origin's connection for the next request."""

    def __init__(
        self, conversation: HttpConversation, connection: ClientConnection, settings: HttpSettings
    ) -> None:
        self._conversation = conversation
        self._connection = connection
        self._stream = connection.stream
        self._idle_timeout = settings.idle_timeout  # of the client that has closed its side: `fin_timeout`
        self._fin_timeout = settings.fin_timeout
        self._idle = asyncio.timeout(None)  # of the exchange that goes on
        self._client_error: OSError | None = None
        self._client_lost = False  # the request will never be whole
        self._events = 0
        self._origin: OriginConnection | None = None

    async def forward(self, request: ForwardRequested, identity: Identity) -> Tunnel | None:
        """Carry out one request; a tunnel if the origin switches protocols.

        Raises OSError when the client's stream breaks, or the response cannot be completed.
        """
        key = ProxyRequest(command=Command.CONNECT, host=request.host, port=request.port, identity=identity)
        while True:
            try:
                origin = await self._reach(key, request)
            except OperationFailed as failure:
                self._conversation.send_failure(failure_for_client(failure, self._connection))
                return None
            result = await self._exchange(origin, request)
            if result is ExchangeResult.SWITCHED:
                return await self._hand_over(origin)
            if result is ExchangeResult.WHOLE:
                return None
            await self.aclose()
            if not self._may_repeat(result, origin, request):
                await self._fail(result, key)
                return None

    async def aclose(self) -> None:
        """Close the connection to the last origin."""
        origin, self._origin = self._origin, None
        if origin is not None:
            await origin.stream.aclose()

    async def _reach(self, key: ProxyRequest, request: ForwardRequested) -> OriginConnection:
        """Return a connection to the origin, the request's head ready to be sent. Raises OperationFailed."""
        origin = self._origin
        if origin is not None and origin.takes(key, self._connection.proxy.policy):
            origin.unsent = _written(origin.machine, request)
            origin.fresh = origin.settled = False
            return origin
        await self.aclose()
        machine = OriginConversation()
        head = _written(machine, request)
        policy = self._connection.proxy.policy
        remote = await self._connection.connect(replace(key, initial_data=head))
        unsent = head[remote.first_data_sent :]
        settled = not (unsent or request.has_body)  # then the response may be there, too
        self._origin = OriginConnection(
            key=key,
            policy=policy,
            stream=remote.stream,
            machine=machine,
            unsent=unsent,
            settled=settled,
        )
        return self._origin

    async def _exchange(self, origin: OriginConnection, request: ForwardRequested) -> ExchangeResult:
        """Send the request and pass the response on, both at the same time, until the response is through."""
        self._idle = asyncio.timeout(self._idle_timeout)
        reset_if_killed(self._stream, origin.stream)
        try:
            async with self._idle, asyncio.TaskGroup() as group:
                upload = group.create_task(self._upload(origin, request), name="http upload")
                result = await self._download(origin)
                upload.cancel()
        except TimeoutError:
            result = ExchangeResult.SILENT
        if result is ExchangeResult.WHOLE:
            end_in_order(origin.stream)
        if not self._conversation.in_response:
            end_in_order(self._stream)
        return result

    async def _upload(self, origin: OriginConnection, request: ForwardRequested) -> None:
        """Send the request; ends quietly when the origin takes no more, since its response says why."""
        machine = origin.machine
        data = origin.unsent
        whole = not request.has_body
        while await _sent(origin.stream, data):
            self._connection.carried(len(data), 0)
            if (account := self._connection.account) is not None:
                await account.up.pay(len(data))
            if whole:
                origin.settled = True
                await self._watch(origin)
                return
            try:
                event = await self._receive(self._conversation, self._stream)
            except OSError as error:
                self._lose_client(origin, error)
                return
            match event:
                case BodyReceived():
                    machine.send_body(event.data)
                case BodyEnded():
                    machine.end_body()
                    whole = True
                case _:
                    self._lose_client(origin)
                    return
            data = machine.data_to_send()

    async def _watch(self, origin: OriginConnection) -> None:
        """Notice if the client goes before its response is there; what else it sends waits for its turn."""
        try:
            data = await self._stream.receive()
        except OSError as error:
            self._lose_client(origin, error)
            return
        feed(self._conversation, data)
        if not data:
            # it may only receive from now on, or be gone: the two look alike
            self._idle_timeout = self._fin_timeout
            self._progress()

    async def _download(self, origin: OriginConnection) -> ExchangeResult:
        """Pass the response on."""
        event: OriginEvent | None
        while True:
            try:
                event = await self._receive(origin.machine, origin.stream)
            except OSError:
                event = None
            if self._client_lost:
                return ExchangeResult.CLIENT_LOST
            result = self._pass_on(event)
            data = self._conversation.data_to_send()
            try:
                await self._stream.send(data)
            except OSError as error:
                self._client_error = error
                return ExchangeResult.CLIENT_LOST
            self._connection.carried(0, len(data))
            if (account := self._connection.account) is not None:
                await account.down.pay(len(data))
            if result is not None:
                return result

    def _pass_on(self, event: OriginEvent | None) -> ExchangeResult | None:
        """Queue an event for the client; return the result if that was the last one."""
        conversation = self._conversation
        match event:
            case InterimReceived():
                conversation.send_interim(event.head)
            case ResponseReceived():
                conversation.send_head(event.head)
            case BodyReceived():
                conversation.send_body(event.data)
            case SwitchReceived():
                conversation.send_switch(event.head)
                return ExchangeResult.SWITCHED
            case BodyEnded():
                conversation.end_body()
                return ExchangeResult.WHOLE
            case Violation():
                return ExchangeResult.MALFORMED
            case Ended() | None:
                return ExchangeResult.BROKE
        return None

    async def _receive(self, machine: Machine[EventT], stream: ByteStream) -> EventT | None:
        """Return what comes next on one leg, without sending: that is the other direction's."""
        while (event := machine.next_event()) is None and machine.bytes_wanted():
            feed(machine, await stream.receive())
        self._events += 1
        if self._events % EVENTS_PER_TURN == 0:
            await asyncio.sleep(0)
        self._progress()
        return event

    def _progress(self) -> None:
        """Restart the wait for progress."""
        if not self._idle.expired():
            self._idle.reschedule(asyncio.get_running_loop().time() + self._idle_timeout)

    def _lose_client(self, origin: OriginConnection, error: OSError | None = None) -> None:
        """Record that the client breaks its request off, or itself; that ends the download too."""
        self._client_lost = True
        self._client_error = error
        origin.stream.abort()

    async def _hand_over(self, origin: OriginConnection) -> Tunnel:
        """Return the connection as a tunnel; the origin's first bytes in the new protocol go out before."""
        if first := origin.machine.unread():
            await self._stream.send(first)
        self._origin = None
        return Tunnel(remote=origin.stream, initial_data=self._conversation.unread())

    def _may_repeat(
        self, result: ExchangeResult, origin: OriginConnection, request: ForwardRequested
    ) -> bool:
        """Return whether the origin closed a kept connection just as the request came (RFC 9112 §9.3.1)."""
        unheard = result is ExchangeResult.BROKE and not origin.fresh and not origin.machine.answered
        return unheard and request.head.method in REPEATABLE and not request.has_body

    async def _fail(self, result: ExchangeResult, key: ProxyRequest) -> None:
        """Answer the client, if it can still be answered; raises OSError otherwise."""
        if self._client_error is not None:
            raise self._client_error
        self._connection.answered(key, ReplyCode.GENERAL_FAILURE, result.value)
        if self._conversation.in_response:
            await deliver(self._stream)
            self._stream.abort()  # a response without an announced length would seem whole otherwise
            raise ConnectionAbortedError(result.value)
        if result in FAILURES:
            self._conversation.send_failure(FAILURES[result])


def failure_for_client(failure: OperationFailed, connection: ClientConnection) -> Failure:
    """Return a failure in HTTP's terms. Clients of this machine learn why the proxy to go through failed, and its URL."""
    if not isinstance(failure, UpstreamFailed):
        return failure_for(failure.code)
    cause = failure.__cause__
    causes = cause, getattr(cause, "__cause__", None)  # ProxyUnreachable itself fits none
    kinds = (kind for error in causes for kind in UPSTREAM_ERROR_TYPES if isinstance(error, kind))
    error_type = next(map(UPSTREAM_ERROR_TYPES.__getitem__, kinds), OTHER_UPSTREAM_ERROR)
    status = HTTPStatus.GATEWAY_TIMEOUT if error_type == "connection_timeout" else HTTPStatus.BAD_GATEWAY
    words = str(cause) if connection.is_local else f"the proxy to go through: {error_type.replace('_', ' ')}"
    return Failure(status, error_type, words)


def _written(machine: OriginConversation, request: ForwardRequested) -> bytes:
    """Return a request as the origin gets it, without its body."""
    machine.send_request(request.head)
    if not request.has_body:
        machine.end_body()
    return machine.data_to_send()


async def _sent(stream: ByteStream, data: bytes) -> bool:
    """Send; return False if the stream is broken."""
    try:
        await stream.send(data)
    except OSError:
        return False
    return True
