"""UDP ASSOCIATE: the outbound opens a port, and the rules judge whom its datagrams go to and come from."""

import socket
from collections.abc import Hashable
from dataclasses import dataclass, replace

from typing_extensions import override

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.codes import Availability, Command, Leg, Parity
from socks6.message.options import NoFragmentation, PortParity, StackOption, UdpError, find
from socks6.net.stackopts import apply_options, effective_options, merge_legs
from socks6.net.stream import ByteStream, DatagramChannel, DatagramJudge, Outbound
from socks6.policy.rules import Policy
from socks6.policy.stack import permit_options
from socks6.proxy.commands.bind import reachable
from socks6.proxy.inbounds.base import Call, OpenedAssociation


async def associate(
    call: Call,
    *,
    policy: Policy,
    outbound: Outbound,
    client: ByteStream,
    advertised: tuple[str, ...] = (),
    owner: Hashable = None,
    holder: Hashable = None,
) -> OpenedAssociation:
    """Carry out an UDP ASSOCIATE, with what the policy permits of its stack options. Raises OperationFailed.

    `client` is the client's connection; `advertised` is as for `reachable`, `owner` and `holder` as for
    `Outbound.associate`.
    """
    decision = policy.judge_command(call.identity, call.command)
    if not decision.allowed:
        raise NotAllowed(decision.reason)
    permitted = permit_options(policy.stack, call.identity, call.options)
    carrier = client.attribute(socket.socket)
    if carrier is not None:
        apply_options(carrier, permitted, Leg.CLIENT_PROXY)
    channel = await outbound.associate(
        call.host,
        call.port,
        judge=_Judge(call, policy, final=not outbound.resolves),
        options=tuple(option for option in permitted if option.leg & Leg.PROXY_REMOTE),
        owner=owner,
        holder=holder,
    )
    try:
        return OpenedAssociation(
            channel=channel,
            bound=reachable(channel.bound, advertised, client.local.host)
            if outbound.resolves
            else channel.bound,
            options=_truth(call, channel, carrier),
            near_options=tuple(option for option in permitted if option.leg & Leg.CLIENT_PROXY),
        )
    except OSError as error:
        await channel.aclose()
        raise GeneralFailure(f"after opening a port: {error.strerror or error}") from error
    except BaseException:
        await channel.aclose()
        raise


@dataclass(frozen=True, slots=True)
class _Judge(DatagramJudge):
    call: Call
    policy: Policy
    final: bool

    @override
    def judge_place(self, host: str, address: str, port: int) -> bool:
        # a place to bind, whatever will come there: the rules about BIND say who may
        return self.policy.judge_address(self.call.identity, Command.BIND, host, address, port).allowed

    @override
    def judge_name(self, host: str, port: int) -> bool:
        call = self.call
        return self.policy.judge_name(call.identity, call.command, host, port, final=self.final).allowed

    @override
    def judge_address(self, host: str, address: str, port: int) -> bool:
        call = self.call
        return self.policy.judge_address(call.identity, call.command, host, address, port).allowed

    @override
    def judge_source(self, address: str, port: int) -> bool:
        return self.policy.judge_peer(self.call.identity, address, port).allowed


def _truth(call: Call, channel: DatagramChannel, client: socket.socket | None) -> tuple[StackOption, ...]:
    """Return what is in force of everything that was asked for."""
    far = list(channel.options)
    if find(call.options, UdpError) and not find(far, UdpError):
        far.append(UdpError(availability=Availability.NO))
    if find(call.options, PortParity) and not find(far, PortParity):
        far.append(PortParity(parity=Parity.ANY))
    near = () if client is None else effective_options(client, call.options, Leg.CLIENT_PROXY)
    return merge_legs(tuple(map(_about_datagrams, near)), far)


def _about_datagrams(option: StackOption) -> StackOption:
    """Return what holds of datagrams to the client (§ Stack options): their socket is shared, and may fragment."""
    if isinstance(option, NoFragmentation):
        return replace(option, availability=Availability.NO)
    return option
