"""The SOCKS 6 inbound: requests of the protocol itself."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from socks6.errors import AuthenticationBusy
from socks6.message.codes import Command, Method, ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import (
    STANDARD,
    OptionTable,
    SessionTeardown,
    StackOption,
    StreamId,
    find,
    find_all,
)
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.machine_io import flush, next_event
from socks6.net.stackopts.received import syn_brought_data
from socks6.net.stream import ByteStream
from socks6.net.transports.tls import TlsStream
from socks6.policy.identity import Identity
from socks6.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    CredentialsOffered,
    Ended,
    RequestReceived,
    ServerEvent,
    Violation,
    ViolationKind,
)
from socks6.protocol.methods.base import ServerMethod, check_methods
from socks6.protocol.methods.userpass import UsernamePasswordServer
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from socks6.proxy.inbounds.base import Call, Engine, Inbound, Tunnel
from socks6.proxy.inbounds.socks6_associate import associate
from socks6.proxy.inbounds.socks6_bind import bind
from socks6.proxy.inbounds.socks6_connect import connect
from socks6.proxy.inbounds.socks6_noop import noop
from socks6.proxy.inbounds.socks6_operation import CommandHandler, Operation
from socks6.proxy.inbounds.socks6_session import SessionNegotiation
from socks6.proxy.sessions import Session
from socks6.telemetry import Ending

METHODS: Final[Mapping[int, Callable[[], ServerMethod]]] = {
    Method.USERNAME_PASSWORD: UsernamePasswordServer,
}
COMMANDS: Final[Mapping[int, CommandHandler]] = {
    Command.NOOP: noop,
    Command.CONNECT: connect,
    Command.BIND: bind,
    Command.UDP_ASSOCIATE: associate,
}
DOUBTFUL: Final = "its first bytes came within the SYN, without a token: the network may double them"
ENDINGS: Final[Mapping[ViolationKind, Ending]] = {
    ViolationKind.VERSION: Ending.MALFORMED,
    ViolationKind.MALFORMED: Ending.MALFORMED,
    ViolationKind.FRAGMENTED: Ending.MALFORMED,
    ViolationKind.DEADLINE: Ending.NO_REQUEST,
}


class Socks6Inbound(Inbound):
    """Serves SOCKS 6 (and, if told, its older dialects).

    `methods` are the authentication methods that it offers, each with a way to make one for a client. Unless
    `tfo_without_token`, what the network may double is refused (§ TCP Fast Open on the Client-Proxy Leg).
    """

    name = "socks6"

    def __init__(
        self,
        *,
        dialects: tuple[Dialect, ...] = (DRAFT_12,),
        option_table: OptionTable = STANDARD,
        methods: Mapping[int, Callable[[], ServerMethod]] = METHODS,
        quiet: bool = False,
        ignore_fragmented: bool = False,
        tfo_without_token: bool = True,
    ) -> None:
        check_methods(methods)  # when the proxy is configured, not when a client comes
        self._dialects = dialects
        self._option_table = option_table
        self._methods = methods
        self._quiet = quiet
        self._ignore_fragmented = ignore_fragmented
        self._tfo_without_token = tfo_without_token

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Inbound.serve`."""
        conversation = ServerConversation(
            methods=self._methods,
            authentication_required=engine.authenticator.required,
            deadline=engine.deadline,
            dialects=self._dialects,
            table=self._option_table,
            quiet=self._quiet,
            whole_request=self._ignore_fragmented,
        )
        if first:
            conversation.receive_data(first, asyncio.get_running_loop().time())
        admitted = await _admit(conversation, stream, engine)
        if admitted and not admitted.once:
            await engine.wait_handshake_confirmed()
        tunnel = await self._operate(conversation, stream, engine, admitted) if admitted else None
        if tunnel is None:
            await flush(conversation, stream)
        if self._quiet and not conversation.authenticated:
            await stay_silent(stream, engine.deadline)
        return tunnel

    async def _operate(
        self, conversation: ServerConversation, stream: ByteStream, engine: Engine, admitted: "_Admitted"
    ) -> Tunnel | None:
        """Carry out the command; None when there is nothing to relay."""
        call = _call_of(conversation, admitted)
        operation = Operation(conversation=conversation, stream=stream, engine=engine, call=call)
        if not (self._tfo_without_token or admitted.once) and _may_come_twice(operation):
            _refuse(operation, ReplyCode.NOT_ALLOWED, DOUBTFUL)
            return None
        return await COMMANDS.get(call.command, _refuse_command)(operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """A request that was let in."""

    request: Request
    identity: Identity
    session: Session | None
    once: bool = False  # a token of its session was spent for it: a replay would be refused


async def _admit(conversation: ServerConversation, stream: ByteStream, engine: Engine) -> _Admitted | None:
    """Receive a request and authenticate it; None if the client was refused."""
    request: Request | None = None
    talk: SessionNegotiation | None = None
    identity = engine.stranger
    while True:
        event: ServerEvent | None = await next_event(conversation, stream)
        match event:
            case RequestReceived():
                request = event.request
                if find(request.options, SessionTeardown) is not None:
                    await engine.wait_handshake_confirmed()  # no replay of an early request may end a session
                talk = SessionNegotiation.about(request.options, engine)
                _begin(conversation, talk, engine)
            case CredentialsOffered():
                try:
                    known = await engine.authenticator.verify(event.credentials)
                except AuthenticationBusy as busy:
                    conversation.refuse(reason=str(busy))
                    engine.refused(Ending.FAILED, str(busy))
                    return None
                conversation.verified(accepted=known is not None)
                identity = known or engine.stranger
            case Authenticated() if request is not None:
                if admitted := _settle(conversation, talk, engine, request, identity):
                    return admitted
            case _:
                _note_refusal(event, talk, engine)
                return None


def _begin(conversation: ServerConversation, talk: SessionNegotiation | None, engine: Engine) -> None:
    """Let a request in on the strength of its session, or have its credentials judged."""
    if talk is not None:
        talk.begin(conversation)
    elif engine.session is not None:
        conversation.accept_session()
    else:
        conversation.authenticate()


def _settle(
    conversation: ServerConversation,
    talk: SessionNegotiation | None,
    engine: Engine,
    request: Request,
    identity: Identity,
) -> _Admitted | None:
    """Answer a request whose client is known; None if it is refused all the same."""
    if talk is None:
        identity = engine.session.identity if engine.session else identity
        conversation.send_authenticated()
    else:
        identity = talk.settle(conversation, identity)
    if conversation.state is not ServerState.OPERATING:
        return None
    session = engine.admitted(identity, talk.session if talk else None)
    once = talk is not None and talk.spent
    return _Admitted(request=request, identity=identity, session=session, once=once)


def _note_refusal(event: ServerEvent | None, talk: SessionNegotiation | None, engine: Engine) -> None:
    """Tell the log why there is no request to carry out."""
    match event:
        case AuthenticationRefused():
            ending = talk.refusal if talk else Ending.UNAUTHENTICATED
            engine.refused(ending, "" if ending is Ending.DONE else event.reason)
        case Violation():
            engine.refused(ENDINGS[event.kind], event.reason)
        case Ended():
            engine.refused(Ending.NO_REQUEST, event.reason)
        case _:
            raise AssertionError(f"unexpected {event}")


def _call_of(conversation: ServerConversation, admitted: _Admitted) -> Call:
    request = admitted.request
    stream_id = find(request.options, StreamId)
    return Call(
        command=request.command,
        host=request.host,
        port=request.port,
        identity=admitted.identity,
        session=admitted.session,
        options=tuple(find_all(request.options, StackOption)),
        stream_id=None if stream_id is None else stream_id.id,
        first_data=conversation.unread(),
    )


def _may_come_twice(operation: Operation) -> bool:
    """Return whether data of the application came within the SYN, or so soon after it that nobody can tell."""
    raw = operation.stream.raw_socket
    brings_data = operation.call.command == Command.CONNECT and bool(operation.call.first_data)
    return brings_data and raw is not None and syn_brought_data(raw)


async def _refuse_command(operation: Operation) -> Tunnel | None:
    """Answer a command that is not in the table."""
    _refuse(operation, ReplyCode.COMMAND_NOT_SUPPORTED, f"command {operation.call.command} is not supported")
    return None


def _refuse(operation: Operation, code: ReplyCode, reason: str) -> None:
    operation.engine.answered(operation.call, code, reason)
    operation.conversation.send_reply(OperationReply(code=code))


async def stay_silent(stream: ByteStream, deadline: float) -> None:
    """Treat every stranger alike: nothing is said until `deadline`, whatever it sends or ends, and then it is reset.

    What came over TLS is not even decrypted. Raises OSError when the stream breaks.
    """
    tls = stream.attribute(TlsStream)
    source = stream if tls is None else tls.beneath
    try:
        async with asyncio.timeout_at(deadline):
            while await source.receive():
                pass
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        stream.abort()
