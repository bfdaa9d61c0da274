"""BIND in the SOCKS 6 inbound (§ Handling BIND, § Listen Backlog options)."""

import asyncio
import contextlib

from socks6.errors import OperationFailed
from socks6.message.codes import ReplyCode
from socks6.message.dialect import GO_212, Dialect
from socks6.message.options import Option, StackOption, StreamId
from socks6.message.replies import OperationReply
from socks6.net.machine_io import DeferredWrite, flush
from socks6.net.stream import AcceptedPeer, Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.inbounds.base import Company, Tunnel
from socks6.proxy.inbounds.socks6_operation import Operation
from socks6.proxy.inbounds.waiting import ClientLeft, at_place, await_peer, while_present


async def bind(operation: Operation) -> Tunnel | None:
    """Bind a place, say so, and wait for a peer; or keep the place, and leave the peers to others."""
    conversation = operation.conversation
    answer = await DeferredWrite(conversation, operation.stream).begin()
    try:
        binding = await operation.engine.bind(operation.call)
    except OperationFailed as failure:
        conversation.send_reply(OperationReply(code=failure.code))
        await answer.flush()
        return None
    except BaseException:
        answer.cancel()
        raise
    try:
        if isinstance(binding, BacklogListener):
            await _keep(operation, binding, answer)
            return None
        conversation.send_reply(_success(binding.bound, binding.options))
        await answer.flush()
        return await await_peer(
            conversation,
            operation.stream,
            operation.engine,
            binding,
            operation.call,
            succeed=lambda accepted: conversation.send_reply(_success(accepted.peer, accepted.options)),
            fail=lambda code: conversation.send_reply(OperationReply(code=code)),
        )
    finally:
        answer.cancel()
        await binding.aclose()


async def _keep(operation: Operation, listener: BacklogListener, answer: DeferredWrite) -> None:
    """Keep the place as long as the client stays; what it sends here is nobody's."""
    conversation, company, stream_id = (
        operation.conversation,
        operation.engine.company,
        operation.call.stream_id,
    )
    if company is None:
        conversation.send_reply(_success(listener.bound, listener.options))
        await answer.flush()
        await _announce(operation, listener)
        return
    try:
        company.claim_bind(stream_id)
    except OperationFailed as failure:
        operation.engine.answered(operation.call, failure.code, failure.reason)
        conversation.send_reply(OperationReply(code=failure.code))
        await answer.flush()
        return
    try:
        conversation.send_reply(_success(listener.bound, listener.options, stream_id))
        await answer.flush()
        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(
                _push(company, listener, conversation.dialect, stream_id), name="push peers"
            )
            await _announce(operation, listener)
            pushing.cancel()
    finally:
        company.leave_bind(stream_id)


async def _push(company: Company, listener: BacklogListener, dialect: Dialect, stream_id: int | None) -> None:
    """Give each peer a stream of its own, for as long as the connection lasts."""
    with contextlib.suppress(OSError):  # the connection is over, or the listener is: nothing else ends it
        while True:
            accepted = await listener.accept()
            reply = _success(accepted.peer, accepted.options, stream_id)
            await company.push(accepted, reply.encode(dialect))


async def _announce(operation: Operation, listener: BacklogListener) -> None:
    """Have the listener run, and tell of its peers where they are to be told of, until the client leaves."""
    conversation, stream, engine = operation.conversation, operation.stream, operation.engine

    async def announce(accepted: AcceptedPeer) -> None:
        conversation.send_announcement(_success(accepted.peer, accepted.options))
        try:
            await flush(conversation, stream)
        except OSError as error:
            raise ClientLeft(str(error), broke=True) from error

    async def serve() -> None:
        announces = listener.announces or conversation.dialect.version == GO_212.version
        await listener.run(announce if announces else None)

    try:
        await while_present(stream, serve, lambda _: None)
    except ClientLeft as left:
        conversation.receive_eof(asyncio.get_running_loop().time())
        engine.refused(left.ending, str(left))
    except OperationFailed as failure:
        engine.answered(at_place(operation.call, listener), failure.code, failure.reason)
        conversation.send_reply(OperationReply(code=failure.code))


def _success(
    place: Endpoint, options: tuple[StackOption, ...], stream_id: int | None = None
) -> OperationReply:
    host = place.host or "0.0.0.0"  # noqa: S104 - "nowhere", on the wire
    told: tuple[Option, ...] = options if stream_id is None else (*options, StreamId(id=stream_id))
    return OperationReply(code=ReplyCode.SUCCEEDED, host=host, port=place.port, options=told)
