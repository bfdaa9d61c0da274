"""CONNECT: the rules judge the name, then the outbound connects and the rules judge each address."""

from dataclasses import replace

from socks6.errors import NotAllowed
from socks6.net.direct import DNS_PORT, UNSPECIFIED
from socks6.net.stream import Connection, Outbound
from socks6.policy.rules import Policy
from socks6.proxy.fronts.base import Call


async def connect(call: Call, *, policy: Policy, outbound: Outbound) -> Connection:
    """Carry out a CONNECT. Raises OperationFailed."""
    decision = _naming_policy(call, policy).judge_name(
        call.identity, call.command, call.host, call.port, final=not outbound.resolves
    )
    if not decision.allowed:
        raise NotAllowed(decision.reason)

    def judge(address: str, port: int) -> bool:
        return policy.judge_address(call.identity, call.command, call.host, address, port).allowed

    return await outbound.connect(
        call.host, call.port, judge=judge, options=call.options, first_data=call.first_data
    )


def _naming_policy(call: Call, policy: Policy) -> Policy:
    """Return what judges the host as written: rules alone where it stands for the DNS service.

    § DNS provided by SOCKS: the outbound has such a service or answers 05; as an address it stays shut.
    """
    if call.port == DNS_PORT and call.host in UNSPECIFIED:
        return replace(policy, allow_private=True)
    return policy
