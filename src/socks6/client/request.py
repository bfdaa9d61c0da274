"""Carries one request to a proxy and its answers back, over a stream that is already there."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from socks6.errors import (
    AuthenticationFailed,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    RemoteProtocolError,
    Socks6Error,
    TlsFailed,
    TokenRejected,
    TtlExpired,
    VersionMismatch,
    operation_failure,
)
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import IdempotenceRejected, SessionInvalid, find
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.machine_io import next_event
from socks6.net.stream import ByteStream
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import (
    AuthenticationAccepted,
    AuthenticationRefused,
    ClientEvent,
    Ended,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.methods.base import ClientMethod

EventT = TypeVar("EventT", bound=ClientEvent)


class Answers(NamedTuple):
    """What the proxy answered to a request that it granted."""

    authentication: AuthenticationReply
    operation: OperationReply


async def make_request(
    stream: ByteStream,
    request: Request,
    *,
    methods: Sequence[ClientMethod] = (),
    initial_data: bytes = b"",
    timeout: float | None = None,
    dialect: Dialect = DRAFT_12,
) -> Answers:
    """Write a request with its initial data in one go; return both successful replies.

    Reads not one byte more than the replies: what follows them stays in `stream`. Raises
    AuthenticationFailed, TokenRejected, OperationFailed, VersionMismatch, RemoteProtocolError, ProxyUnreachable,
    ProxyTimedOut (after `timeout` seconds); ValueError for a request that cannot be written.
    """
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    conversation = ClientConversation(
        request, methods=methods, initial_data=initial_data, deadline=deadline, dialect=dialect
    )
    return await carry_out(conversation, stream)


async def carry_out(conversation: ClientConversation, stream: ByteStream) -> Answers:
    """Write what the conversation still has to say, and return both successful replies.

    Reads and raises as `make_request` does.
    """
    verdict = await receive_verdict(conversation, stream)
    if isinstance(verdict, AuthenticationRefused):
        raise refusal_error(verdict)
    return Answers(verdict.reply, await receive_operation(conversation, stream))


async def receive_verdict(
    conversation: ClientConversation, stream: ByteStream
) -> AuthenticationAccepted | AuthenticationRefused:
    """Write what the conversation still has to say, and return how authentication ended. Raises Socks6Error."""
    event = await _next(conversation, stream)
    if isinstance(event, AuthenticationAccepted | AuthenticationRefused):
        return event
    raise error_for(event)


async def receive_operation(conversation: ClientConversation, stream: ByteStream) -> OperationReply:
    """Return the successful Operation Reply. Raises OperationFailed for another, and other Socks6Errors."""
    reply = (await _expect(conversation, stream, OperationAnswered)).reply
    if reply.code != ReplyCode.SUCCEEDED:
        raise failure_of(reply)
    return reply


async def await_peer(conversation: ClientConversation, stream: ByteStream) -> OperationReply:
    """Return BIND's second reply, which names the host that connected (§ Handling BIND).

    May be cancelled and called again: what has come of a reply is kept. Reads and raises as `make_request` does.
    """
    reply = (await _expect(conversation, stream, PeerConnected)).reply
    if reply.code != ReplyCode.SUCCEEDED:
        raise failure_of(reply)
    return reply


def refusal_error(event: AuthenticationRefused) -> Socks6Error:
    """Return what to raise for a request that the proxy refused; nothing of it came to be."""
    options = event.reply.options
    if find(options, IdempotenceRejected) is not None:
        return TokenRejected("the proxy rejected the request's token")
    if find(options, SessionInvalid) is not None:
        return AuthenticationFailed("the proxy knows no such session")
    return AuthenticationFailed(f"the proxy refused the credentials: {event.reason}")


def describe(code: int) -> str:
    """Return a reply code in words."""
    try:
        return f"{code:02X}, {ReplyCode(code).name.lower().replace('_', ' ')}"
    except ValueError:
        return f"{code:02X}"


def failure_of(reply: OperationReply) -> OperationFailed:
    """Return what to raise for a reply that is no success."""
    reason = f"the proxy replied {describe(reply.code)}"
    if reply.code == ReplyCode.TTL_EXPIRED and is_literal(reply.host) and not is_unspecified(reply.host):
        return TtlExpired(f"{reason} at {reply.host}", reporter=reply.host)
    return operation_failure(reply.code, reason)


async def _expect(conversation: ClientConversation, stream: ByteStream, kind: type[EventT]) -> EventT:
    """Return the next event if it is of this kind; raise what any other means."""
    event = await _next(conversation, stream)
    if isinstance(event, kind):
        return event
    raise error_for(event)


async def _next(conversation: ClientConversation, stream: ByteStream) -> ClientEvent | None:
    try:
        return await next_event(conversation, stream, exact=True)
    except TlsFailed:  # only now, over TLS 1.3, a client learns that its certificate was refused
        raise
    except OSError as error:
        # § Version Mismatch Replies: a proxy that closes with our request unread resets the connection
        conversation.receive_eof(asyncio.get_running_loop().time())
        event = conversation.next_event()
        if isinstance(event, Violation) and event.kind is ViolationKind.VERSION:
            return event
        raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error


def error_for(event: ClientEvent | None) -> Socks6Error:
    """Return what an event means that was not wanted."""
    match event:
        case AuthenticationRefused():
            return refusal_error(event)
        case Violation(kind=ViolationKind.VERSION):
            return VersionMismatch(event.reason)
        case Violation(kind=ViolationKind.DEADLINE):
            return ProxyTimedOut(event.reason)
        case Violation():
            return RemoteProtocolError(event.reason)
        case Ended():
            return ProxyUnreachable(event.reason)
        case _:
            return RemoteProtocolError(f"unexpected {event}")
