"""CONNECT in the SOCKS 6 inbound (§ Handling CONNECT)."""

from socks6.errors import OperationFailed, TtlExpired
from socks6.message.codes import Leg, ReplyCode
from socks6.message.options import Ttl, find_all
from socks6.message.replies import OperationReply
from socks6.net.machine_io import DeferredWrite
from socks6.proxy.inbounds.base import Call, Tunnel
from socks6.proxy.inbounds.socks6_operation import Operation


async def connect(operation: Operation) -> Tunnel | None:
    """Connect; both replies leave together where that takes no time."""
    conversation, call = operation.conversation, operation.call
    answer = await DeferredWrite(conversation, operation.stream).begin()
    try:
        connection = await operation.engine.connect(call)
    except OperationFailed as failure:
        conversation.send_reply(_refusal(failure, call))
        await answer.flush()
        return None
    except BaseException:
        answer.cancel()
        raise
    try:
        conversation.send_reply(
            OperationReply(
                code=ReplyCode.SUCCEEDED,
                host=connection.bound.host or "0.0.0.0",  # noqa: S104 - "nowhere", on the wire
                port=connection.bound.port,
                options=connection.options,
            )
        )
        await answer.flush()
    except BaseException:
        connection.stream.abort()
        raise
    return Tunnel(remote=connection.stream, first=call.first_data[connection.first_data_sent :])


def _refusal(failure: OperationFailed, call: Call) -> OperationReply:
    """Return the reply for a failure: no address, but for the router that a client's TTL asked about.

    An extension of ours (docs/decisions/0008): it lets a client trace the way from the proxy.
    """
    match failure:
        case TtlExpired(reporter=str() as router) if _chose_ttl(call):
            return OperationReply(code=failure.code, host=router)
        case _:
            return OperationReply(code=failure.code)


def _chose_ttl(call: Call) -> bool:
    return any(option.leg & Leg.PROXY_REMOTE for option in find_all(call.options, Ttl))
