"""Listening on behalf of a client: real sockets of this machine (§ Handling BIND)."""

import asyncio
import errno
import secrets
import socket
from collections.abc import Hashable, Sequence
from dataclasses import KW_ONLY, field
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.address import UNSPECIFIED_IPV4, UNSPECIFIED_IPV6, is_unspecified
from socks6.message.codes import Leg
from socks6.message.options import StackOption, Tfo, find
from socks6.net.accept import CLIENT_GONE_ERRORS, SHORTAGE_ERRORS, SHORTAGE_PAUSE_SECONDS
from socks6.net.dial import most_informative
from socks6.net.eviction import MAPPED
from socks6.net.resolve import ResolvedAddress, Resolver, literal_address
from socks6.net.scopes import on_failure
from socks6.net.sockets import SocketListener, SocketStream
from socks6.net.stackopts.connecting import socket_with_options
from socks6.net.stackopts.table import accept_fast_open, apply_options, effective_options
from socks6.net.stream import AcceptedPeer, Binding, Endpoint, Judge

ANYWHERE: Final = {socket.AF_INET: UNSPECIFIED_IPV4, socket.AF_INET6: UNSPECIFIED_IPV6}
LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849
ANY_PORT: Final = range(1)  # 0: the system chooses
DRAWS: Final = 16  # of the system's, until a port is free at several addresses
# not this machine's, or of a link that was not named
NOT_HERE: Final = frozenset((errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT))
MOST_TRIES: Final = 4096  # ports of a range, until one is free
STRANGERS: Final = 16  # with room for one peer only, so many others may come first and be sent away


@dataclass(slots=True, eq=False)
class DirectBinding(Binding):
    """Sockets that listen at the same port, and which peers may connect to them.

    Takes over sockets that listen; if that raises, they are still the caller's. `host` is the host that was asked for, ""
    for the very address of the first socket. Out of descriptors, trying again waits for `pause` seconds.
    """

    socks: Sequence[socket.socket]
    _: KW_ONLY
    judge_peer: Judge
    backlog: int
    host: str = ""
    wanted: tuple[StackOption, ...] = ()
    pause: float = SHORTAGE_PAUSE_SECONDS
    options: tuple[StackOption, ...] = field(init=False)
    endpoints: tuple[Endpoint, ...] = field(init=False)
    bound: Endpoint = field(init=False)
    _listeners: tuple[SocketListener, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.options = effective_options(self.socks[0], self.wanted, Leg.PROXY_REMOTE)
        self._listeners = tuple(SocketListener(sock, url="tcp://bind") for sock in self.socks)
        self.endpoints = tuple(listener.local for listener in self._listeners)
        self.bound = Endpoint(self.host or self.endpoints[0].host, self.endpoints[0].port)

    @override
    async def accept(self) -> AcceptedPeer:
        while True:
            try:
                stream = await self._next_stream()
            except OSError as error:
                raise GeneralFailure(f"accepting: {error.strerror or error}") from error
            peer = stream.remote
            peer = Endpoint(peer.host.partition("%")[0], peer.port)  # whatever the scope
            options = self._in_force(stream) if self.judge_peer(peer.host, peer.port) else None
            if options is not None:
                break
            stream.abort()
        with on_failure(stream.abort):
            if not self.backlog:
                await self.aclose()
        return AcceptedPeer(stream=stream, peer=peer, options=options)

    @override
    async def aclose(self) -> None:
        for listener in self._listeners:
            await listener.aclose()

    async def _next_stream(self) -> SocketStream:
        """Wait for a peer; out of descriptors or memory, try again after a pause. Raises OSError when closed."""
        while True:
            try:
                for listener in self._listeners:
                    if (stream := listener.accept_nowait()) is not None:
                        return stream
                await self._wait_readable()
            except OSError as error:
                if error.errno in SHORTAGE_ERRORS:
                    await asyncio.sleep(self.pause)
                elif error.errno not in CLIENT_GONE_ERRORS:
                    raise

    async def _wait_readable(self) -> None:
        """Wait until a peer is at one of the sockets. Raises OSError when they are closed."""
        if len(self._listeners) == 1:
            await self._listeners[0].wait_readable()
            return
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(listener.wait_readable()) for listener in self._listeners]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* OSError as closed:
            raise closed.exceptions[0] from None

    def _in_force(self, stream: SocketStream) -> tuple[StackOption, ...] | None:
        """Return what is in force on a peer's connection; None if that is gone already."""
        sock = stream.raw_socket
        if not self.wanted or sock is None:
            return ()
        try:
            apply_options(sock, self.wanted, Leg.PROXY_REMOTE)  # what it did not inherit
            return effective_options(sock, self.wanted, Leg.PROXY_REMOTE)
        except OSError:
            return None


async def bind_directly(
    resolver: Resolver,
    asked: Endpoint,
    wanted: tuple[StackOption, ...],
    *,
    judge: Judge,
    judge_peer: Judge,
    backlog: int,
    free_ports: Sequence[int] = ANY_PORT,
    holder: Hashable = None,
    instead: Sequence[Sequence[str]] = (),
) -> DirectBinding:
    """Listen at the first address of `asked` that may be bound and can be. Raises OSError.

    Where any port will do, it is one of `free_ports`. Where any address will do, it is those of the first of
    `instead` of which this machine has one; every address of the family if it has none.

    What is not an address of this machine, or taken, is a general failure (01): the draft has no code for it.
    """
    host, port = unmapped(asked.host), asked.port
    found = await resolver.resolve(host, port, holder=holder)
    allowed = [address for address in found if judge(address.host, port)]
    if not allowed:
        raise NotAllowed(f"no address of {host} may be bound")
    ports = (port,) if port else secrets.SystemRandom().sample(free_ports, min(len(free_ports), MOST_TRIES))
    socks, anywhere = _first_listening(allowed, ports, wanted, backlog, instead)
    with on_failure(lambda: _close(socks)):
        return DirectBinding(socks, wanted=wanted, judge_peer=judge_peer, backlog=backlog, host=anywhere)


def unmapped(host: str) -> str:
    """Return an IPv4-mapped address as IPv4, any other host as it is."""
    if ":" in host and literal_address(host, 0):
        packed = socket.inet_pton(socket.AF_INET6, host)
        if packed.startswith(MAPPED):
            return socket.inet_ntop(socket.AF_INET, packed[len(MAPPED) :])
    return host


def family_of(literal: str) -> socket.AddressFamily:
    """Return the family of a literal address."""
    return socket.AF_INET6 if ":" in literal else socket.AF_INET


def own_address(family: socket.AddressFamily) -> str:
    """Return the address from which this machine would reach the world; a loopback one if it would not."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((ELSEWHERE[family], 9))  # asks the routing table, and sends nothing
            return Endpoint(*sock.getsockname()[:2]).host
    except OSError:
        return LOOPBACK[family]


def _first_listening(
    addresses: Sequence[ResolvedAddress],
    ports: Sequence[int],
    wanted: tuple[StackOption, ...],
    backlog: int,
    instead: Sequence[Sequence[str]],
) -> tuple[list[socket.socket], str]:
    """Return sockets, and the unspecified host that they stand for, "" where one was bound as it is."""
    errors: list[OSError] = []
    for address in addresses:
        anywhere = address.host if is_unspecified(address.host) else ""
        choices = [*map(_literals, instead), [address]] if anywhere else [[address]]
        for together in choices:
            try:
                return _listening_at_one_port(together, ports, wanted, backlog), anywhere
            except OSError as error:
                errors.append(error)
                if error.errno == errno.EADDRINUSE:  # peers look for it at this port alone
                    break
    raise most_informative(errors)


def _literals(hosts: Sequence[str]) -> list[ResolvedAddress]:
    return [address for host in hosts if (address := literal_address(host, 0)) is not None]


def _listening_at_one_port(
    addresses: Sequence[ResolvedAddress], ports: Sequence[int], wanted: tuple[StackOption, ...], backlog: int
) -> list[socket.socket]:
    """Return sockets that listen at the first of the ports that is free at all the addresses. Raises OSError."""
    failure = OSError(errno.EADDRNOTAVAIL, "no address of this machine")
    for port in ports if any(ports) else (0,) * DRAWS:
        try:
            return _listening_together(addresses, port, wanted, backlog)
        except OSError as error:
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
    raise failure


def _listening_together(
    addresses: Sequence[ResolvedAddress], port: int, wanted: tuple[StackOption, ...], backlog: int
) -> list[socket.socket]:
    """Return a socket for each address that is this machine's, one at least; port 0 is any. Raises OSError."""
    socks: list[socket.socket] = []
    failure = OSError(errno.EADDRNOTAVAIL, "no address of this machine")
    with on_failure(lambda: _close(socks)):
        for address in addresses:
            try:
                sock = _listening(address, port, wanted, backlog)
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                failure = error
                continue
            socks.append(sock)
            port = sock.getsockname()[1]
    if not socks:
        raise failure
    return socks


def _close(socks: Sequence[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def _listening(
    address: ResolvedAddress, port: int, wanted: tuple[StackOption, ...], backlog: int
) -> socket.socket:
    """Return a listening socket with these options, which accepted ones inherit. Raises OSError."""
    sock = socket_with_options(address.family, wanted, Leg.PROXY_REMOTE)
    with on_failure(sock.close):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # peers of yesterday are no obstacle
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the family that was asked for
        sock.bind((address.socket_address[0], port, *address.socket_address[2:]))
        waiting = backlog or STRANGERS
        fast_open = find(wanted, Tfo) is not None
        if fast_open:
            accept_fast_open(sock, waiting)
        sock.listen(waiting)
        if not fast_open:
            # § TFO options: MUST NOT accept it unasked, not even where the administrator has every
            # listening socket do so (net.ipv4.tcp_fastopen & 0x400), which happens as it begins to listen
            accept_fast_open(sock, 0)
    return sock
