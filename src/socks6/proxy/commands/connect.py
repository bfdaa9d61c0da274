"""CONNECT: the rules judge the name, then the outbound connects and the rules judge each address."""

import socket
from collections.abc import Hashable
from dataclasses import replace

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.address import is_unspecified
from socks6.message.codes import Leg
from socks6.net.direct import DNS_PORT
from socks6.net.stackopts import apply_options
from socks6.net.stream import ConnectResult, Outbound
from socks6.policy.rules import Policy
from socks6.policy.stack import permit_options
from socks6.proxy.commands.truth import whole_truth
from socks6.proxy.inbounds.base import Call


async def connect(
    call: Call,
    *,
    policy: Policy,
    outbound: Outbound,
    client: socket.socket | None = None,
    holder: Hashable = None,
) -> ConnectResult:
    """Carry out a CONNECT, with what the policy permits of its stack options. Raises OperationFailed.

    `client` is the client's socket, for options about its leg; `holder` is as for `Outbound.connect`. The connection's options are those in force,
    on either leg, also where what was asked for is not permitted (§ Stack options).
    """
    decision = _naming_policy(call, policy).judge_name(
        call.identity, call.command, call.host, call.port, final=not outbound.resolves
    )
    if not decision.allowed:
        raise NotAllowed(decision.reason)

    def judge(address: str, port: int) -> bool:
        return policy.judge_address(call.identity, call.command, call.host, address, port).allowed

    permitted = permit_options(policy.stack, call.identity, call.options)
    if client is not None:
        apply_options(client, permitted, Leg.CLIENT_PROXY)
    connection = await outbound.connect(
        call.host,
        call.port,
        judge=judge,
        options=tuple(option for option in permitted if option.leg & Leg.PROXY_REMOTE),
        first_data=call.first_data,
        holder=holder,
    )
    if not call.options:
        return connection
    # the remote's own connection, not one to another proxy
    remote = connection.stream.raw_socket if outbound.resolves else None
    try:
        options = whole_truth(call.options, permitted, connection.options, client=client, remote=remote)
    except OSError as error:
        connection.stream.abort()
        raise GeneralFailure(f"after connecting: {error.strerror or error}") from error
    except BaseException:
        connection.stream.abort()
        raise
    return replace(connection, options=options)


def _naming_policy(call: Call, policy: Policy) -> Policy:
    """Return what judges the host as written: rules alone where it stands for the DNS service.

    § DNS provided by SOCKS: the outbound has such a service or answers 05; as an address it stays shut.
    """
    if call.port == DNS_PORT and is_unspecified(call.host):
        return replace(policy, allow_private=True)
    return policy
