"""BIND in the SOCKS 6 front (§ Handling BIND, § Listen Backlog options)."""

import asyncio

from socks6.errors import OperationFailed
from socks6.message.codes import ReplyCode
from socks6.message.dialect import GO_212
from socks6.message.options import StackOption
from socks6.message.replies import OperationReply
from socks6.net.drive import Postponed, flush
from socks6.net.stream import Accepted, Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.fronts.base import Tunnel
from socks6.proxy.fronts.socks6_operation import Operation
from socks6.proxy.fronts.waiting import ClientLeft, at_place, await_peer, while_present


async def bind(operation: Operation) -> Tunnel | None:
    """Bind a place, say so, and wait for a peer; or keep the place, and leave the peers to others."""
    conversation = operation.conversation
    answer = await Postponed(conversation, operation.stream).begin()
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
        conversation.send_reply(_success(binding.bound, binding.options))
        await answer.flush()
        if isinstance(binding, BacklogListener):
            await _keep(operation, binding)
            return None
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


async def _keep(operation: Operation, listener: BacklogListener) -> None:
    """Keep the place as long as the client stays; what it sends here is nobody's."""
    conversation, stream, engine = operation.conversation, operation.stream, operation.engine

    async def announce(accepted: Accepted) -> None:
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


def _success(place: Endpoint, options: tuple[StackOption, ...]) -> OperationReply:
    host = place.host or "0.0.0.0"  # noqa: S104 - "nowhere", on the wire
    return OperationReply(code=ReplyCode.SUCCEEDED, host=host, port=place.port, options=options)
