"""UDP ports for associations: opened as asked, in pairs, reserved for their owner, joined to multicast groups."""

import contextlib
import socket
from collections.abc import Callable, Hashable, Iterable
from struct import Struct
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import NotAllowed
from socks6.message.codes import Leg, Parity
from socks6.message.options import PortParity, StackOption
from socks6.net.resolve import WILDCARDS, ResolvedAddress
from socks6.net.scopes import on_failure
from socks6.net.stackopts.table import apply_options

ATTEMPTS: Final = 64  # to find a free pair of ports
RECEIVE_BUFFER: Final = 1 << 20  # bytes; the kernel lowers it to net.core.rmem_max
GROUP_AND_INTERFACE: Final = Struct("=4s4si")  # struct ip_mreqn: group, address, index
GROUP6_AND_INTERFACE: Final = Struct("=16si")  # struct ipv6_mreq
IP_MULTICAST_ALL: Final = 49  # linux/in.h
IPV6_MULTICAST_ALL: Final = 29  # linux/in6.h
PARITIES: Final = {Parity.EVEN.value: 0, Parity.ODD.value: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPort:
    """A bound socket, and the parity that it has of the one requested; `release` gives up the reserved counterpart."""

    sock: socket.socket
    parity: PortParity | None
    release: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reservation:
    owner: Hashable
    sock: socket.socket


class PortAllocator:
    """Opens the ports of one machine's associations, and holds those that are reserved."""

    def __init__(self, *, multicast_interface: str = "") -> None:
        """`multicast_interface` is the name of where groups are joined and sent to; "" leaves it to the routes."""
        self._interface = multicast_interface
        self._reserved: dict[tuple[int, int], _Reservation] = {}  # by family and port

    def open(
        self,
        address: ResolvedAddress,
        options: Iterable[StackOption],
        parity: PortParity | None = None,
        owner: Hashable = None,
    ) -> OpenedPort:
        """Bind a socket to an address, a group of multicast perhaps; port 0 is any, with the parity requested.

        Raises OSError, NotAllowed for a port that is reserved for another owner.
        """
        options = tuple(options)
        family, port = address.family, address.socket_address[1]
        if port == 0 and parity is not None:
            return self._open_pair(address, options, parity, owner)
        nothing = None if parity is None else PortParity(parity=Parity.ANY)
        claimed = self._claim(family, port, owner)
        if claimed is not None:
            apply_options(claimed, options, Leg.PROXY_REMOTE)
            return OpenedPort(sock=claimed, parity=nothing, release=_nothing)
        return OpenedPort(sock=self._bound(address, options), parity=nothing, release=_nothing)

    def holds_for(self, owner: Hashable, address: ResolvedAddress) -> bool:
        """Return whether the port of an address is reserved, and for this owner."""
        reservation = self._reserved.get((address.family, address.socket_address[1]))
        return reservation is not None and owner is not None and reservation.owner == owner

    def open_other_family(self, sock: socket.socket, options: Iterable[StackOption]) -> socket.socket | None:
        """Return a socket of the other family: with the same port number where it is free, else with any.

        None where the machine does not have the family.
        """
        family = socket.AF_INET6 if sock.family == socket.AF_INET else socket.AF_INET
        options = tuple(options)
        for port in (sock.getsockname()[1], 0):
            with contextlib.suppress(OSError):
                return self._bound(WILDCARDS[family].at(port), options)
        return None

    def close(self) -> None:
        """Hold no port any more. Idempotent."""
        for reservation in self._reserved.values():
            reservation.sock.close()
        self._reserved.clear()

    def _claim(self, family: int, port: int, owner: Hashable) -> socket.socket | None:
        """Return the socket of a reserved port. Raises NotAllowed when it is another's."""
        reservation = self._reserved.get((family, port))
        if reservation is None:
            return None
        # § Port Parity options: only an explicit request for the port, from the same session
        if owner is None or reservation.owner != owner:
            raise NotAllowed("the port is reserved for another client")
        del self._reserved[family, port]
        return reservation.sock

    def _open_pair(
        self,
        address: ResolvedAddress,
        options: tuple[StackOption, ...],
        requested: PortParity,
        owner: Hashable,
    ) -> OpenedPort:
        for _ in range(ATTEMPTS):
            sock = self._bound(address, options)
            port = sock.getsockname()[1]
            fits = PARITIES.get(requested.parity, port % 2) == port % 2
            if fits and not requested.reserve:
                return OpenedPort(sock=sock, parity=requested, release=_nothing)
            # an even port's counterpart is the next higher one, an odd one's the next lower
            other = None
            with contextlib.suppress(OSError, OverflowError):
                other = self._bound(address.at(port ^ 1), options)
            if other is None:
                sock.close()
                continue
            if not fits:
                sock, other = other, sock
            if not requested.reserve:
                other.close()
                return OpenedPort(sock=sock, parity=requested, release=_nothing)
            return OpenedPort(sock=sock, parity=requested, release=self._reserve(other, owner))
        nothing = PortParity(parity=Parity.ANY)
        return OpenedPort(sock=self._bound(address, options), parity=nothing, release=_nothing)

    def _reserve(self, sock: socket.socket, owner: Hashable) -> Callable[[], None]:
        key = sock.family, sock.getsockname()[1]
        reservation = _Reservation(owner=owner, sock=sock)
        self._reserved[key] = reservation

        def release() -> None:
            if self._reserved.get(key) is reservation:  # else it was claimed
                del self._reserved[key]
                sock.close()

        return release

    def _bound(self, address: ResolvedAddress, options: tuple[StackOption, ...]) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_DGRAM)
        with on_failure(sock.close):
            sock.setblocking(False)
            _set_where_known(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if address.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            apply_options(sock, options, Leg.PROXY_REMOTE)
            group = is_multicast(address.host)
            if group:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others may have joined as well
            self._choose_interface(sock)
            sock.bind(address.socket_address)
            if group:
                self._join(sock, address)
        return sock

    def _choose_interface(self, sock: socket.socket) -> None:
        if not self._interface:
            return
        index = socket.if_nametoindex(self._interface)
        if sock.family == socket.AF_INET:
            choice = GROUP_AND_INTERFACE.pack(bytes(4), bytes(4), index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, choice)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)

    def _join(self, sock: socket.socket, address: ResolvedAddress) -> None:
        index = socket.if_nametoindex(self._interface) if self._interface else 0
        group = socket.inet_pton(address.family, address.host)
        if address.family == socket.AF_INET:
            request = GROUP_AND_INTERFACE.pack(group, bytes(4), index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            _set_where_known(sock, socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)  # only what this socket joined
        else:
            request = GROUP6_AND_INTERFACE.pack(group, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            _set_where_known(sock, socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)


def is_multicast(host: str) -> bool:
    """Return whether an address is that of a group."""
    if ":" in host:
        return host[:2].lower() == "ff" and host.index(":") == 4
    return 224 <= int(host.partition(".")[0]) <= 239


def _set_where_known(sock: socket.socket, level: int, name: int, value: int) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(level, name, value)


def _nothing() -> None:
    pass
