"""CONNECT: the rules judge the name, then the outbound connects and the rules judge each address."""

from socks6.errors import NotAllowed
from socks6.net.stream import Connection, Outbound
from socks6.policy.rules import Policy
from socks6.proxy.fronts.base import Call


async def connect(call: Call, *, policy: Policy, outbound: Outbound) -> Connection:
    """Carry out a CONNECT. Raises OperationFailed."""
    decision = policy.judge_name(
        call.identity, call.command, call.host, call.port, final=not outbound.resolves
    )
    if not decision.allowed:
        raise NotAllowed(decision.reason)

    def judge(address: str, port: int) -> bool:
        return policy.judge_address(call.identity, call.command, call.host, address, port).allowed

    return await outbound.connect(
        call.host, call.port, judge=judge, options=call.options, first_data=call.first_data
    )
