"""NOOP in the SOCKS 6 inbound: it always succeeds, whatever address it names (§ Requests)."""

from socks6.message.codes import ReplyCode
from socks6.message.replies import OperationReply
from socks6.proxy.inbounds.base import Tunnel
from socks6.proxy.inbounds.socks6_operation import Operation


async def noop(operation: Operation) -> Tunnel | None:
    """Answer, and do nothing."""
    operation.engine.answered(operation.call, ReplyCode.SUCCEEDED)
    operation.conversation.send_reply(OperationReply(code=ReplyCode.SUCCEEDED))
    return None
