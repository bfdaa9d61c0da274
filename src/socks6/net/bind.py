"""Listening on behalf of a client: real sockets of this machine (§ Handling BIND)."""

import asyncio
import errno
import secrets
import socket
from collections.abc import Hashable, Sequence
from typing import Final

from typing_extensions import override

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.codes import Leg
from socks6.message.options import TFO, StackOption, find
from socks6.net.crowding import MAPPED
from socks6.net.dial import Address, Resolver, most_telling
from socks6.net.resolve import literal_address
from socks6.net.serve import GONE_ALREADY, PAUSE_SECONDS, SHORTAGES
from socks6.net.sockets import SocketListener, SocketStream
from socks6.net.stackopts import accept_fast_open, in_force, prepare, prepared_socket
from socks6.net.stream import Accepted, Binding, Endpoint, Judge

ANYWHERE: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - to listen everywhere
UNSPECIFIED: Final = frozenset(ANYWHERE.values())
LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # nobody's: RFC 5737, 3849
ANY_PORT: Final = range(1)  # 0: the system chooses
MOST_TRIES: Final = 4096  # ports of a range, until one is free
STRANGERS: Final = 16  # with room for one peer only, so many others may come first and be sent away


class DirectBinding(Binding):
    """A listening socket, and who may connect to it."""

    def __init__(
        self,
        sock: socket.socket,
        wanted: tuple[StackOption, ...],
        *,
        judge_peer: Judge,
        backlog: int,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        """Take over a socket that listens. Out of descriptors, trying again waits for `pause` seconds."""
        self._options = in_force(sock, wanted, Leg.PROXY_REMOTE)
        self._listener = SocketListener(sock, url="tcp://bind")
        self._bound = self._listener.local
        self._wanted = wanted
        self._judge_peer = judge_peer
        self._backlog = backlog
        self._pause = pause

    @property
    @override
    def bound(self) -> Endpoint:
        return self._bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        return self._options

    @property
    @override
    def backlog(self) -> int:
        return self._backlog

    @override
    async def accept(self) -> Accepted:
        """See `Binding.accept`."""
        while True:
            try:
                stream = await self._next_stream()
            except OSError as error:
                raise GeneralFailure(f"accepting: {error.strerror or error}") from error
            peer = stream.remote
            peer = Endpoint(peer.host.partition("%")[0], peer.port)  # whatever the scope
            if self._judge_peer(peer.host, peer.port):
                break
            stream.abort()
            await asyncio.sleep(0)  # however many come that may not
        if not self._backlog:
            await self.aclose()
        return Accepted(stream=stream, peer=peer, options=self._in_force(stream))

    @override
    async def aclose(self) -> None:
        """See `Binding.aclose`."""
        await self._listener.aclose()

    async def _next_stream(self) -> SocketStream:
        """Wait for somebody; out of descriptors or memory, try again after a pause. Raises OSError when closed."""
        while True:
            try:
                stream = self._listener.accept_nowait()
                if stream is not None:
                    return stream
                await self._listener.wait_readable()
            except OSError as error:
                if error.errno in SHORTAGES:
                    await asyncio.sleep(self._pause)
                elif error.errno not in GONE_ALREADY:
                    raise

    def _in_force(self, stream: SocketStream) -> tuple[StackOption, ...]:
        sock = stream.raw_socket
        if not self._wanted or sock is None:
            return ()
        prepare(sock, self._wanted, Leg.PROXY_REMOTE)  # what it did not inherit
        return in_force(sock, self._wanted, Leg.PROXY_REMOTE)


async def bind_directly(
    resolver: Resolver,
    place: Endpoint,
    wanted: tuple[StackOption, ...],
    *,
    judge: Judge,
    judge_peer: Judge,
    backlog: int,
    free_ports: Sequence[int] = ANY_PORT,
    holder: Hashable = None,
) -> DirectBinding:
    """Listen at the first address of `place` that may be bound and can be. Raises OSError.

    Where any port will do, it is one of `free_ports`.

    What is not an address of this machine, or taken, is a general failure (01): the draft has no code for it.
    """
    host, port = unmapped(place.host), place.port
    found = await resolver.resolve(host, port, holder=holder)
    allowed = [address for address in found if judge(address.host, port)]
    if not allowed:
        raise NotAllowed(f"no address of {host} may be bound")
    ports = (port,) if port else secrets.SystemRandom().sample(free_ports, min(len(free_ports), MOST_TRIES))
    sock = _first_listening(allowed, ports, wanted, backlog)
    return DirectBinding(sock, wanted, judge_peer=judge_peer, backlog=backlog)


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
    addresses: Sequence[Address], ports: Sequence[int], wanted: tuple[StackOption, ...], backlog: int
) -> socket.socket:
    errors: list[OSError] = []
    for address in addresses:
        for port in ports:
            try:
                return _listening(address, port, wanted, backlog)
            except OSError as error:
                errors.append(error)
                if error.errno != errno.EADDRINUSE:
                    break
    raise most_telling(errors)


def _listening(address: Address, port: int, wanted: tuple[StackOption, ...], backlog: int) -> socket.socket:
    """Return a listening socket with these options, which accepted ones inherit. Raises OSError."""
    sock = prepared_socket(address.family, wanted, Leg.PROXY_REMOTE)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # peers of yesterday are no obstacle
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the family that was asked for
        sock.bind((address.socket_address[0], port, *address.socket_address[2:]))
        waiting = backlog or STRANGERS
        fast_open = find(wanted, TFO) is not None
        if fast_open:
            accept_fast_open(sock, waiting)
        sock.listen(waiting)
        if not fast_open:
            # § TFO options: MUST NOT accept it unasked, not even where the administrator has every
            # listening socket do so (net.ipv4.tcp_fastopen & 0x400), which happens as it begins to listen
            accept_fast_open(sock, 0)
    except BaseException:
        sock.close()
        raise
    return sock
