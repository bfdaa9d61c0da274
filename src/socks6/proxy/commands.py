"""What a client may ask for (`ProxyRequest`), and how CONNECT and UDP ASSOCIATE are carried out; BIND is in `bind`.

The rules judge the host as it was written, the outbound does the work, and the rules judge each address on the way.
The answer says which stack options are in force, whether they were permitted or not (§ Stack options).
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import Availability, Command, Leg, Parity
from socks6.message.options import NoFragmentation, PortParity, StackOption, UdpError, find
from socks6.net.bind import family_of, own_address, unmapped
from socks6.net.direct import DNS_PORT
from socks6.net.sockets import stream_socket
from socks6.net.stackopts.table import apply_options, effective_options, merge_legs
from socks6.net.stream import (
    ByteStream,
    ConnectResult,
    DatagramChannel,
    DatagramJudge,
    Endpoint,
    Outbound,
)
from socks6.policy.hosts import parse_host
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.policy.stack import permit_options
from socks6.proxy.sessions import Session


@dataclass(slots=True, kw_only=True)  # frozen, it takes three times as long to make: 3 µs of each CONNECT
class ProxyRequest:
    """What a client asks for, whatever protocol it speaks. Only `ClientConnection.admit` changes it: its user's limits."""

    command: int  # socks6.message.codes.Command
    host: str
    port: int
    identity: Identity = ANONYMOUS
    options: tuple[StackOption, ...] = ()
    session: Session | None = None
    only_peer: str = ""  # BIND: the one host that may connect; empty for any
    stream_id: int | None = None  # BIND: by which a client distinguishes the peers of its bindings
    # bytes of the stream that came along; `ConnectResult.first_data_sent` is how many went
    initial_data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAssociation:
    """What came of an UDP ASSOCIATE; the caller closes the channel."""

    channel: DatagramChannel
    bound: Endpoint  # where remote hosts reach it, never an unspecified host
    options: tuple[StackOption, ...] = ()  # what is in force, on both legs
    client_options: tuple[StackOption, ...] = ()  # what the client's own UDP leg is to have


def judge_host(request: ProxyRequest, policy: Policy, *, final: bool) -> None:
    """Raise NotAllowed unless the rules allow the host as it is written, or may allow one of its addresses.

    `final` is whether no address will be judged later, since another proxy resolves the name. The host that stands for
    the DNS service is judged by the rules alone (§ DNS provided by SOCKS): the outbound has such a service or answers 05.
    """
    if request.command == Command.CONNECT and request.port == DNS_PORT and is_unspecified(request.host):
        policy = replace(policy, allow_private=True)
    decision = policy.judge_name(request.identity, request.command, request.host, request.port, final=final)
    if not decision.allowed:
        raise NotAllowed(decision.reason)


def judge_literal(request: ProxyRequest, policy: Policy) -> None:
    """Raise NotAllowed unless the rules allow a request's host, a certain IP address that is reached from here."""
    host = request.host
    meant = parse_host(host)
    as_written = meant is not None and meant.name == meant.address == host
    if not as_written:
        judge_host(request, policy, final=False)
    decision = policy.judge_address(request.identity, request.command, host, host, request.port)
    if not decision.allowed:
        raise NotAllowed(decision.reason if as_written else f"no address of {host} may be reached")


async def connect(
    request: ProxyRequest,
    *,
    policy: Policy,
    outbound: Outbound,
    client: socket.socket | None = None,
    holder: Hashable = None,
    on_address: Callable[[], None] | None = None,
) -> ConnectResult:
    """Carry out a CONNECT, with what the policy permits of its stack options. Raises OperationFailed.

    `client` is the client's socket, for options about its leg; `holder` is as for `Outbound.connect`. `on_address` is called
    with each address that the name has.
    """
    judge_host(request, policy, final=not outbound.resolves)

    def judge(address: str, port: int) -> bool:
        if on_address is not None:
            on_address()
        return policy.judge_address(request.identity, request.command, request.host, address, port).allowed

    permitted: tuple[StackOption, ...] = ()
    if request.options:
        permitted = permit_options(policy.stack, request.identity, request.options)
        if client is not None:
            apply_options(client, permitted, Leg.CLIENT_PROXY)
    if outgoing := request.identity.limits.outgoing:
        outbound = outbound.from_address(outgoing)
    connection = await outbound.connect(
        request.host,
        request.port,
        judge=judge,
        options=options_of(permitted, Leg.PROXY_REMOTE) if permitted else (),
        first_data=request.initial_data,
        holder=holder,
    )
    if not request.options:
        return connection
    # the remote's own connection, not one to another proxy
    remote = connection.stream.raw_socket if outbound.resolves else None
    async with undone_on_failure("after connecting", connection.stream.abort):
        options = option_answers(request.options, permitted, connection.options, client=client, remote=remote)
    return replace(connection, options=options)


async def associate(
    request: ProxyRequest,
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
    decision = policy.judge_command(request.identity, request.command)
    if not decision.allowed:
        raise NotAllowed(decision.reason)
    permitted = permit_options(policy.stack, request.identity, request.options)
    carrier = client.attribute(socket.socket)
    if carrier is not None:
        apply_options(carrier, permitted, Leg.CLIENT_PROXY)
    if outgoing := request.identity.limits.outgoing:
        outbound = outbound.from_address(outgoing)
    channel = await outbound.associate(
        request.host,
        request.port,
        judge=_DatagramRules(request, policy, final=not outbound.resolves),
        options=options_of(permitted, Leg.PROXY_REMOTE),
        owner=owner,
        holder=holder,
    )
    async with undone_on_failure("after opening a port", channel.aclose):
        bound = channel.bound
        return OpenedAssociation(
            channel=channel,
            bound=reachable(bound, advertised, client.local.host) if outbound.resolves else bound,
            options=_datagram_options(request, channel, carrier),
            client_options=options_of(permitted, Leg.CLIENT_PROXY),
        )


@asynccontextmanager
async def undone_on_failure(when: str, undo: Callable[[], Awaitable[None] | None]) -> AsyncIterator[None]:
    """Undo what was carried out so far if the block fails, of which an OSError becomes a GeneralFailure.

    That happens where descriptors are short, for instance, while it is asked which options are in force.
    """
    try:
        yield
    except BaseException as error:
        if (undoing := undo()) is not None:
            await undoing
        if isinstance(error, OSError):
            raise GeneralFailure(f"{when}: {error.strerror or error}") from error
        raise


@dataclass(frozen=True, slots=True)
class _DatagramRules(DatagramJudge):
    """The rules for the datagrams of one association."""

    request: ProxyRequest
    policy: Policy
    final: bool

    @override
    def judge_place(self, host: str, address: str, port: int) -> bool:
        if port == 0 and address == self.request.identity.limits.outgoing:
            return True  # the operator named it
        # an endpoint to bind, whatever will arrive there: the rules about BIND apply
        return self.policy.judge_address(self.request.identity, Command.BIND, host, address, port).allowed

    @override
    def judge_name(self, host: str, port: int) -> bool:
        request = self.request
        return self.policy.judge_name(request.identity, request.command, host, port, final=self.final).allowed

    @override
    def judge_address(self, host: str, address: str, port: int) -> bool:
        request = self.request
        outgoing = request.identity.limits.outgoing
        if outgoing and family_of(outgoing) != family_of(address):
            return False  # it would go out from another address
        return self.policy.judge_address(request.identity, request.command, host, address, port).allowed

    @override
    def judge_source(self, address: str, port: int) -> bool:
        return self.policy.judge_peer(self.request.identity, address, port).allowed


def reachable(bound: Endpoint, advertised: tuple[str, ...], local: str) -> Endpoint:
    """Return where remotes reach a bound endpoint, never an unspecified host.

    That is what the operator advertises for the family; else the address at which the client itself reached this machine;
    else that from which this machine would reach the world.
    """
    if not is_unspecified(bound.host):
        return bound
    family = family_of(bound.host)
    named = (host for host in advertised if not is_literal(host) or family_of(host) == family)
    return Endpoint(next(named, "") or default_host(family, local), bound.port)


def default_host(family: socket.AddressFamily, local: str) -> str:
    """Return an address of this machine: `local`, the client's own way here, if it is of the family."""
    local = unmapped(local.partition("%")[0])
    usable = is_literal(local) and family_of(local) == family and not is_unspecified(local)
    return local if usable else own_address(family)


def options_of(options: Iterable[StackOption], leg: Leg) -> tuple[StackOption, ...]:
    """Return the options about a leg."""
    return tuple(option for option in options if option.leg & leg)


def option_answers(
    asked: tuple[StackOption, ...],
    permitted: tuple[StackOption, ...],
    outbound_options: tuple[StackOption, ...],
    *,
    client: socket.socket | None,
    remote: socket.socket | None,
) -> tuple[StackOption, ...]:
    """Return what is in force of the options asked for, on both legs; the outbound answered `outbound_options`.

    `remote` is the socket of the remote leg, for what was not permitted; None where another proxy has it.
    """
    if remote is not None:
        outbound_options += effective_options(remote, _refused(asked, permitted), Leg.PROXY_REMOTE)
    client_options = () if client is None else effective_options(client, asked, Leg.CLIENT_PROXY)
    return merge_legs(client_options, outbound_options)


def listening_option_answers(
    asked: tuple[StackOption, ...],
    permitted: tuple[StackOption, ...],
    outbound_options: tuple[StackOption, ...],
    *,
    client: socket.socket | None,
    family: int | None,
) -> tuple[StackOption, ...]:
    """Return the same before a peer has connected: what was not permitted is as on any new socket.

    `family` is the listener's, None where another proxy has it.
    """
    if family is None or not _refused(asked, permitted):
        return option_answers(asked, permitted, outbound_options, client=client, remote=None)
    with stream_socket(family) as fresh:
        return option_answers(asked, permitted, outbound_options, client=client, remote=fresh)


def _refused(asked: Iterable[StackOption], permitted: Iterable[StackOption]) -> list[StackOption]:
    kinds = {type(option) for option in permitted}
    return [option for option in asked if type(option) not in kinds]


def _datagram_options(
    request: ProxyRequest, channel: DatagramChannel, client: socket.socket | None
) -> tuple[StackOption, ...]:
    """Return what is in force of everything that an association asked for."""
    remote_options = list(channel.options)
    if find(request.options, UdpError) and not find(remote_options, UdpError):
        remote_options.append(UdpError(availability=Availability.NO))
    if find(request.options, PortParity) and not find(remote_options, PortParity):
        remote_options.append(PortParity(parity=Parity.ANY))
    client_options = () if client is None else effective_options(client, request.options, Leg.CLIENT_PROXY)
    return merge_legs(tuple(map(_about_datagrams, client_options)), remote_options)


def _about_datagrams(option: StackOption) -> StackOption:
    """Return what holds of datagrams to the client (§ Stack options): their socket is shared, and may fragment."""
    if isinstance(option, NoFragmentation):
        return replace(option, availability=Availability.NO)
    return option
