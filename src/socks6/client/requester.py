"""Makes a client's requests: dials the proxy for each, within the session where there is one."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from socks6.client.connector import DialFunction, ProxyConnector
from socks6.client.quic_pool import NotAnswered, StreamRequest, first_answer
from socks6.client.request import receive_operation, receive_verdict, refusal_error
from socks6.client.session import ClientSession, RefusalReason, RequestSessionState, SessionLease
from socks6.errors import Socks6Error, TokenRejected
from socks6.message.codes import Command, Leg
from socks6.message.dialect import Dialect
from socks6.message.options import ListenBacklog, Option, OptionTable, StackOption, StreamId, find, find_all
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import MAX_INITIAL_DATA, Request
from socks6.net.stream import ByteStream
from socks6.net.url import AUTO, QUIC, ProxyUrl
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import AuthenticationRefused
from socks6.protocol.methods.base import ClientMethod

TEARDOWN_SECONDS: Final = 2.0
MAYBE_CARRIED_OUT: Final = (
    "the proxy rejected the request's token: the network may have doubled the request, and the other copy may"
    " have been carried out"
)

MethodFactory = Callable[[], ClientMethod]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedRequest:
    """A request that the proxy has granted, as far as it has come.

    `lease` keeps its session: who takes the stream lets it go when the stream is closed.
    """

    conversation: ClientConversation
    stream: ByteStream
    authentication: AuthenticationReply
    reply: OperationReply
    lease: SessionLease | None = None

    async def aclose(self) -> None:
        """Close, when nothing of it is needed any more. Idempotent; when cancelled, it aborts."""
        try:
            await self.stream.aclose()
        finally:
            self.abort()

    def abort(self) -> None:
        """Give it up at once. Idempotent."""
        self.stream.abort()
        if self.lease is not None:
            self.lease.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RefusedRequest:
    """A request that the proxy did not carry out."""

    why: RefusalReason
    error: Socks6Error
    in_syn: bool  # what the proxy refused may have been the second copy of it


class Requester:
    """Makes requests of one proxy. Any number may be under way at the same time."""

    def __init__(
        self,
        url: ProxyUrl,
        *,
        dial: DialFunction | None,
        methods: Sequence[MethodFactory],
        dialect: Dialect,
        option_table: OptionTable,
        fast_open: bool,
        session: ClientSession,
    ) -> None:
        self.session: Final = session
        self._connector: Final = ProxyConnector(url, dial=dial, fast_open=fast_open)
        self._methods: Final = tuple(methods)
        self._dialect: Final = dialect
        self._option_table: Final = option_table
        self._early: Final = dial is None and url.transport in {QUIC, AUTO}
        self._fast_open: Final = fast_open and dial is None and not (url.path or url.transport)

    async def ask(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        needs_session: bool = False,
    ) -> GrantedRequest:
        """Make a request on a connection of its own; return it granted.

        What the proxy refuses because of its session or token was not carried out, and is repeated once for
        either reason. The exception is a token that was rejected where the network may have doubled the
        request: TokenRejected. Raises as `make_request` does.
        """
        self._check_initial_data(initial_data)
        if idempotent:
            await self._fetch_tokens()
        repeats = {RefusalReason.SESSION, RefusalReason.TOKEN}
        anew = False
        while True:
            part = self.session.begin(_now(), spend=idempotent, anew=anew, need=needs_session)
            answer = await self._attempt(request, initial_data, part=part, idempotent=idempotent)
            if isinstance(answer, GrantedRequest):
                return answer
            if answer.why is RefusalReason.TOKEN and answer.in_syn:
                raise TokenRejected(MAYBE_CARRIED_OUT)
            if answer.why not in repeats:
                raise answer.error
            repeats.remove(answer.why)
            anew = answer.why is RefusalReason.SESSION

    async def ask_within(self, first: GrantedRequest, request: Request) -> GrantedRequest:
        """Make a request that must be of the same session as another, which is still open. Raises Socks6Error."""
        answer = await self._attempt(request, part=self.session.join(first.lease, _now()))
        if isinstance(answer, GrantedRequest):
            return answer
        raise answer.error

    async def open_session(self) -> bool:
        """Have a session, and tokens, before they are needed; return whether there is one. Raises Socks6Error."""
        if self.session.enabled and not self.session.is_open:
            await self._noop(ask=True)
        return self.session.is_open

    def close_idle(self) -> None:
        """Close connections that no stream uses. Idempotent."""
        self._connector.close()

    async def leave(self) -> None:
        """Tear the session down, unless that would cut streams off (§ Session teardown). Raises nothing.

        Cancelling cuts short nothing but the waiting: a session is then left to the proxy's own time-out.
        """
        try:
            await self._tear_down()
            await self._connector.aclose()
        finally:
            self._connector.abandon()

    def abandon(self) -> None:
        """Close what is idle, for one who cannot wait; a session is left to the proxy's own time-out."""
        self._connector.abandon()

    async def _tear_down(self) -> None:
        options = self.session.leave(_now())
        if not options:
            return
        conversation = ClientConversation(_noop_request(options), dialect=self._dialect)
        with contextlib.suppress(OSError, Socks6Error):
            async with asyncio.timeout(TEARDOWN_SECONDS):
                stream = await self._connector.connect(StreamRequest(Command.NOOP))
                try:
                    await receive_verdict(conversation, stream)  # of either kind: it has been done by then
                finally:
                    stream.abort()

    async def _fetch_tokens(self) -> None:
        """Have a token to spend, if the proxy gives any: with no more than one NOOP, and one at a time."""
        if not self.session.begin_fetching(_now()):
            return
        try:
            await self._noop()
        finally:
            self.session.end_fetching(_now())

    async def _noop(self, *, ask: bool = False) -> None:
        """Do nothing within the session, or in opening one; a session that is gone is replaced."""
        answer = await self._attempt(_noop_request(), part=self.session.begin(_now(), ask=ask))
        if isinstance(answer, _RefusedRequest) and answer.why is RefusalReason.SESSION:
            answer = await self._attempt(_noop_request(), part=self.session.begin(_now(), anew=True))
        if isinstance(answer, _RefusedRequest):
            raise answer.error
        await answer.aclose()

    async def _attempt(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        part: RequestSessionState,
        idempotent: bool = False,
    ) -> GrantedRequest | _RefusedRequest:
        answer: GrantedRequest | _RefusedRequest | None = None
        try:
            answer = await self._carry_out(request, initial_data, part, idempotent)
            return answer
        finally:
            self.session.end(part)
            if part.lease is not None and not isinstance(answer, GrantedRequest):
                part.lease.release()

    async def _carry_out(
        self, request: Request, initial_data: bytes, part: RequestSessionState, idempotent: bool
    ) -> GrantedRequest | _RefusedRequest:
        """Make a request, once more if its connection was lost before anything came back and that does no harm.

        That is as with what is sent ahead (§ TCP Fast Open on the Client-Proxy Leg): it has a token, so that no proxy
        carries it out twice, or neither it nor its data wants one.
        """
        repeatable = part.token is not None or not (initial_data or idempotent)
        try:
            return await self._carry_out_once(request, initial_data, part, idempotent, repeatable)
        except NotAnswered:
            self._connector.doubt()
            return await self._carry_out_once(request, initial_data, part, idempotent, repeatable=False)

    async def _carry_out_once(
        self,
        request: Request,
        initial_data: bytes,
        part: RequestSessionState,
        idempotent: bool,
        repeatable: bool,
    ) -> GrantedRequest | _RefusedRequest:
        backlog = find(request.options, ListenBacklog) is not None
        conversation = ClientConversation(
            replace(request, options=(*request.options, *part.options)),
            methods=[make() for make in self._methods] if part.authenticates else (),
            initial_data=initial_data,
            dialect=self._dialect,
            table=self._option_table,
            announcements=backlog,
        )
        # § TCP Fast Open on the Client-Proxy Leg: what is in the SYN may come twice
        in_syn = self._fast_open and (part.token is not None or not (initial_data or idempotent))
        in_syn = in_syn or (self._early and part.token is not None)
        client_leg_options = (
            option for option in find_all(request.options, StackOption) if option.leg & Leg.CLIENT_PROXY
        )
        early_data = conversation.data_to_send() if in_syn else None
        new_connection = backlog and find(request.options, StreamId) is None
        stream = await self._connector.connect(
            StreamRequest(
                request.command,
                tuple(client_leg_options),
                early_data,
                new_connection=new_connection,
                repeatable=repeatable,
            )
        )
        try:
            verdict = await first_answer(stream, receive_verdict(conversation, stream), repeatable=repeatable)
            if isinstance(verdict, AuthenticationRefused):
                stream.abort()
                why = self.session.refused(part, verdict.reply, _now())
                return _RefusedRequest(why=why, error=refusal_error(verdict), in_syn=in_syn)
            self.session.authenticated(part, verdict.reply, _now())
            reply = await receive_operation(conversation, stream)
            self.session.operated(part, reply, _now())
            self._connector.answered(stream)
        except BaseException:
            stream.abort()
            raise
        return GrantedRequest(
            conversation=conversation,
            stream=stream,
            authentication=verdict.reply,
            reply=reply,
            lease=part.lease,
        )

    def _check_initial_data(self, initial_data: bytes) -> None:
        """Raise ValueError for more than a negotiation allows, also where a session saves us from any."""
        too_long = len(initial_data) > MAX_INITIAL_DATA
        if too_long and any(self._dialect.advertises_offers or make().slow for make in self._methods):
            raise ValueError(f"{len(initial_data)} bytes of initial data; at most {MAX_INITIAL_DATA}")


def _noop_request(options: tuple[Option, ...] = ()) -> Request:
    return Request(command=Command.NOOP, host="0.0.0.0", port=0, options=options)  # noqa: S104 - zeros, on the wire


def _now() -> float:
    return asyncio.get_running_loop().time()
