"""The outbound without an upstream proxy: real sockets of this machine."""

import asyncio
import copy
import dataclasses
import errno
import os
import socket
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Final

from socks6.compat import override
from socks6.errors import ConnectionRefused, NotAllowed, OutgoingAddressFailed
from socks6.message.address import UNSPECIFIED_IPV4, is_unspecified
from socks6.message.codes import Availability, Leg
from socks6.message.options import HappyEyeballs, StackOption, Tfo, find
from socks6.message.options.stack import ConnectFacts
from socks6.net.bind import ANY_PORT, bind_directly, family_of
from socks6.net.datagrams.direct import USUAL, DatagramSettings, DirectAssociations
from socks6.net.dial import (
    ATTEMPT_DELAY,
    Dialler,
    connect_in_turn,
    failure_for,
    happy_eyeballs,
    interleaved,
)
from socks6.net.resolve import ResolvedAddress, Resolver, literal_address
from socks6.net.scopes import on_failure
from socks6.net.shares import Shares, descriptor_limit
from socks6.net.sockets import (
    CONNECTED,
    CONNECTING,
    SocketStream,
    begin_connecting,
    bind_outgoing,
    stream_socket,
    wait_connected,
)
from socks6.net.stackopts.table import effective_options, for_leg
from socks6.net.stream import (
    Binding,
    ConnectResult,
    DatagramChannel,
    DatagramJudge,
    Endpoint,
    Judge,
    Outbound,
)

CONNECT_SECONDS: Final = 30.0  # the name's lookup included; Linux sends five SYNs within it
DNS_PORT: Final = 53
AF_INET: Final = socket.AF_INET.value
AF_INET6: Final = socket.AF_INET6.value
NO_BOUND_ADDRESS: Final = Endpoint(UNSPECIFIED_IPV4, 0)


class DirectOutbound(Outbound):
    """An Outbound that connects by itself.

    `first_family` (AF_INET or AF_INET6) is tried first when a name has addresses of both; without it the
    family of the address that the system prefers. `racing` says whether addresses are raced (Happy Eyeballs)
    when the client says nothing about it. `dns_server` carries out the draft's DNS service.
    `bind_ports` are those that a BIND gets which asks for none in particular. `descriptors` is how many sockets may
    be connecting at a time, in shares by holder; by default half of what the process may have.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        *,
        connect_timeout: float = CONNECT_SECONDS,
        attempt_delay: float = ATTEMPT_DELAY,
        first_family: int | None = None,
        racing: bool = True,
        dns_server: Endpoint | None = None,
        datagrams: DatagramSettings = USUAL,
        bind_ports: Sequence[int] = ANY_PORT,
        descriptors: int | None = None,
    ) -> None:
        self._descriptors = descriptors
        self._resolver = resolver or Resolver()
        self._connect_timeout = connect_timeout
        self._attempt_delay = attempt_delay
        self._first_family = first_family
        self._racing = racing
        self._dns_server = dns_server
        self._bind_ports = bind_ports
        self._local_address = ""
        self._associations = DirectAssociations(self._resolver, datagrams)

    @property
    @override
    def resolves(self) -> bool:
        return True

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        wanted = for_leg(options, Leg.PROXY_REMOTE) if options else ()
        if is_unspecified(host):
            return await self._connect_to_dns(port, wanted, first_data, holder)
        try:
            return await self._connect(Endpoint(host, port), judge, wanted, first_data, holder)
        except OSError as error:
            raise failure_for(error) from error

    @override
    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        wanted = for_leg(options, Leg.PROXY_REMOTE) if options else ()
        try:
            return await bind_directly(
                self._resolver,
                Endpoint(host, port),
                wanted,
                judge=judge,
                judge_peer=judge_peer,
                backlog=backlog,
                free_ports=self._bind_ports,
                holder=holder,
                instead=instead,
            )
        except OSError as error:
            raise failure_for(error) from error

    @override
    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        if self._local_address:
            if not is_unspecified(host) and host != self._local_address:
                raise NotAllowed(f"the user's datagrams go out from {self._local_address}")
            host = self._local_address
        try:
            return await self._associations.open(
                host, port, judge=judge, options=options, owner=owner, holder=holder
            )
        except OSError as error:
            if self._local_address and error.errno == errno.EADDRNOTAVAIL:
                raise OutgoingAddressFailed(
                    f"outgoing address {self._local_address}: {error.strerror}"
                ) from error
            raise failure_for(error) from error

    @override
    def from_address(self, address: str) -> "DirectOutbound":
        _ = self._connecting  # made now, it is shared
        other = copy.copy(self)
        other._local_address = address  # noqa: SLF001 - of the same class
        return other

    @override
    async def aclose(self) -> None:
        await self._associations.aclose()

    def begin_connecting(
        self, host: str, port: int, holder: Hashable, *, tuned: bool = True
    ) -> tuple[socket.socket, bool]:
        """Begin to connect to a literal address that may be reached, without options. Raises OperationFailed.

        Return the socket, which is `tuned` as `stream_socket` says, and whether it is connected; else `finish_connecting`
        is due.
        """
        family, address = (AF_INET6, (host, port, 0, 0)) if ":" in host else (AF_INET, (host, port))
        try:
            self._check_share(holder)
            sock = stream_socket(family, socket.IPPROTO_TCP, tuned=tuned)
        except OSError as error:
            raise failure_for(error) from error
        if self._local_address:
            self._bind_outgoing(sock)
        number = begin_connecting(sock, address)
        if number in CONNECTED or number in CONNECTING:
            return sock, number in CONNECTED
        sock.close()
        raise failure_for(OSError(number, os.strerror(number)))

    def _bind_outgoing(self, sock: socket.socket) -> None:
        """Raises OperationFailed; the socket is closed then."""
        try:
            with on_failure(sock.close):
                bind_outgoing(sock, self._local_address)
        except OSError as error:
            raise failure_for(error) from error

    async def finish_connecting(self, sock: socket.socket, holder: Hashable) -> None:
        """Wait until a socket is connected. Raises OperationFailed; the socket is closed then."""
        self._connecting.take(holder)
        try:
            with on_failure(sock.close):
                await wait_connected(sock, asyncio.get_running_loop().time() + self._connect_timeout)
        except OSError as error:
            raise failure_for(error) from error
        finally:
            self._connecting.give_back(holder)

    def _check_share(self, holder: Hashable) -> None:
        if not self._connecting.may_take(holder):
            raise OSError(errno.EMFILE, "too many connections of this client are being made")

    async def _connect_plainly(self, host: str, port: int, holder: Hashable) -> ConnectResult:
        sock, connected = self.begin_connecting(host, port, holder)
        if not connected:
            await self.finish_connecting(sock, holder)
        stream = SocketStream(sock)
        return ConnectResult(stream=stream, bound=stream.local)

    async def _connect(
        self,
        asked: Endpoint,
        judge: Judge,
        wanted: tuple[StackOption, ...],
        first_data: bytes,
        holder: Hashable,
    ) -> ConnectResult:
        host, port = asked
        if port == 0:
            raise ConnectionRefused("nothing listens on port 0")
        deadline = asyncio.get_running_loop().time() + self._connect_timeout
        if literal := literal_address(host, port):
            addresses = _allowed((literal,), host, judge)
            if not wanted:
                return await self._connect_plainly(host, port, holder)
        else:
            async with asyncio.timeout_at(deadline):
                addresses = _allowed(await self._resolver.resolve(host, port, holder=holder), host, judge)
        if self._local_address:
            addresses = _of_family(self._local_address, addresses)
        order = interleaved(addresses, self._first_family)
        dialler = Dialler(
            wanted,
            syn_data=_syn_data(wanted, first_data),
            deadline=deadline,
            local_address=self._local_address,
        )
        shares = self._connecting

        async def dial(address: ResolvedAddress) -> socket.socket:
            self._check_share(holder)
            shares.take(holder)
            try:
                return await dialler.dial(address)
            finally:
                shares.give_back(holder)

        raced = len(addresses) > 1 and self._races(wanted)
        if raced:
            sock = await happy_eyeballs(
                order,
                dial,
                delay=self._attempt_delay,
                deadline=deadline,
                room=lambda: shares.may_take(holder),
            )
        else:
            sock = await connect_in_turn(order, dial, deadline=deadline)
        stream = SocketStream(sock)
        syn_bytes = dialler.syn_bytes(sock)
        found: tuple[StackOption, ...] = ()
        if wanted or raced:
            origin = ConnectFacts(raced=None if literal else raced, syn_bytes=syn_bytes)
            with on_failure(stream.abort):
                found = _in_force(sock, wanted, origin)
        return ConnectResult(stream=stream, bound=stream.local, options=found, first_data_sent=syn_bytes)

    @cached_property
    def _connecting(self) -> Shares:
        """Return the shares of sockets that are connecting: made when the process has set its limits."""
        return Shares(descriptor_limit() // 2 if self._descriptors is None else self._descriptors)

    def _races(self, wanted: Sequence[StackOption]) -> bool:
        wish = find(wanted, HappyEyeballs)
        return self._racing if wish is None else wish.availability == Availability.YES

    async def _connect_to_dns(
        self, port: int, wanted: tuple[StackOption, ...], first_data: bytes, holder: Hashable
    ) -> ConnectResult:
        """Carry out a CONNECT to no address: the DNS service, or nothing at all (§ DNS provided by SOCKS)."""
        if port != DNS_PORT:
            raise NotAllowed("an unspecified address is no destination")
        if self._dns_server is None:
            raise ConnectionRefused("there is no DNS service")
        # the operator named the server: no rule for clients' destinations is asked
        connection = await self.connect(
            *self._dns_server, judge=_anything, options=wanted, first_data=first_data, holder=holder
        )
        return dataclasses.replace(connection, bound=NO_BOUND_ADDRESS)


def _allowed(addresses: tuple[ResolvedAddress, ...], host: str, judge: Judge) -> tuple[ResolvedAddress, ...]:
    """Return the addresses that may be reached. Raises NotAllowed if there are none."""
    allowed = tuple(address for address in addresses if _may_reach(address, judge))
    if not allowed:
        raise NotAllowed(f"no address of {host} may be reached")
    return allowed


def _of_family(local: str, addresses: tuple[ResolvedAddress, ...]) -> tuple[ResolvedAddress, ...]:
    """Return the addresses of the family of a local one, or all if there are none: the attempt says why it fails."""
    family = family_of(local)
    return tuple(address for address in addresses if address.family == family) or addresses


def _may_reach(address: ResolvedAddress, judge: Judge) -> bool:
    # a name may lead to an unspecified address: connecting there would reach this machine
    return not is_unspecified(address.host) and judge(address.host, address.socket_address[1])


def _in_force(
    sock: socket.socket, wanted: tuple[StackOption, ...], origin: ConnectFacts
) -> tuple[StackOption, ...]:
    if origin.raced and find(wanted, HappyEyeballs) is None:
        wanted = (
            *wanted,
            HappyEyeballs(availability=Availability.YES),
        )  # the client did not ask for it, so the reply says so
    return effective_options(sock, wanted, Leg.PROXY_REMOTE, origin)


def _syn_data(wanted: Sequence[StackOption], first_data: bytes) -> bytes | None:
    """Return what may go with the SYN (§ TFO options: no more than asked, 0 being any amount); None: no TFO."""
    wish = find(wanted, Tfo)
    return None if wish is None else first_data[: wish.payload_size or None]


def _anything(address: str, port: int) -> bool:  # noqa: ARG001 - a Judge
    return True
