"""How stack options are set on sockets and read back: building blocks, and the adapters of the standard options.

Numbers that Python's socket module lacks are from linux/in.h, in6.h, tcp.h and mptcp.h. An option without an adapter is
not supported by this system, and left out of answers.
"""

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, NamedTuple

from socks6.dataclass import dataclass
from socks6.message.codes import Availability
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.message.options.stack import UNKNOWN_FACTS, ConnectFacts, SocketAdapter

IPPROTO_MPTCP: Final = 262
SOL_MPTCP: Final = 284
MPTCP_INFO: Final = 1
MPTCP_FLAGS: Final = Struct("=8xI")  # where struct mptcp_info has mptcpi_flags
MPTCP_FELL_BACK: Final = 1
TCP_IS_MPTCP: Final = 43  # Linux 6.8
ALWAYS_WHOLE: Final = frozenset((2, 3))  # IP_PMTUDISC_DO, _PROBE; other values leave it to the route
TCP_FAMILIES: Final = frozenset((socket.AF_INET, socket.AF_INET6))
MAPPED: Final = "::ffff:"  # an IPv4 address within an IPv6 socket


class ReadOnly(NamedTuple):
    """An adapter of what is no matter of a socket that is there already: `get` reads it."""

    get: Callable[[socket.socket, ConnectFacts], int | None]

    def write(self, sock: socket.socket, value: int) -> None:
        """Do nothing."""

    def read(self, sock: socket.socket, facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:
        return self.get(sock, facts)


class SocketOption(NamedTuple):
    """The adapter of an integer of setsockopt, by its level and name."""

    level: int
    name: int

    def write(self, sock: socket.socket, value: int) -> None:
        sock.setsockopt(*self, value)

    def read(self, sock: socket.socket, facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:  # noqa: ARG002 - an adapter
        try:
            return sock.getsockopt(*self)
        except OSError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class IpSocketOption:
    """An integer of setsockopt that IPv4 and IPv6 call differently."""

    ipv4: SocketOption
    ipv6: SocketOption

    def write(self, sock: socket.socket, value: int) -> None:
        if sock.family == socket.AF_INET:
            sock.setsockopt(*self.ipv4, value)
        elif sock.family == socket.AF_INET6:
            sock.setsockopt(*self.ipv6, value)
            with contextlib.suppress(OSError):  # for a peer with an IPv4 address
                sock.setsockopt(*self.ipv4, value)

    def read(self, sock: socket.socket, facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:  # noqa: ARG002 - an adapter
        if sock.family not in TCP_FAMILIES:
            return None
        option = self.ipv6 if sock.family == socket.AF_INET6 and not _carries_ipv4(sock) else self.ipv4
        try:
            return sock.getsockopt(*option)
        except OSError as error:
            # MPTCP sockets neither set nor report most of IP: then it is what every new socket has
            return _default(sock.family, option) if error.errno == errno.EOPNOTSUPP else None


IP_TOS: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, socket.IP_TOS),
    ipv6=SocketOption(socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
)
IP_TTL: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, socket.IP_TTL),
    ipv6=SocketOption(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
)
IP_MULTICAST_TTL: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
    ipv6=SocketOption(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS),
)
IP_MTU_DISCOVER: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, 10), ipv6=SocketOption(socket.IPPROTO_IPV6, 23)
)
IPV6_DONTFRAG: Final = SocketOption(socket.IPPROTO_IPV6, 62)


class _Ttl:
    """The TTL of datagrams to one host and to a group."""

    def write(self, sock: socket.socket, value: int) -> None:
        IP_TTL.write(sock, value)
        if sock.type == socket.SOCK_DGRAM:
            IP_MULTICAST_TTL.write(sock, value)

    def read(self, sock: socket.socket, facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:
        return IP_TTL.read(sock, facts)


class _NoFragmentation:
    def write(self, sock: socket.socket, value: int) -> None:
        # "1" allows fragmentation and demands nothing: the kernel's default does
        if value == Availability.YES:
            IP_MTU_DISCOVER.write(sock, 2)
            if sock.family == socket.AF_INET6:
                IPV6_DONTFRAG.write(sock, 1)  # a datagram that is too long is an error, not two packets

    def read(self, sock: socket.socket, facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:
        discovery = IP_MTU_DISCOVER.read(sock, facts)
        return None if discovery is None else _availability(discovery in ALWAYS_WHOLE)


EVERYWHERE: Final[Mapping[type[StackOption], SocketAdapter]] = {
    Tos: IP_TOS,
    HappyEyeballs: ReadOnly(lambda _, facts: None if facts.raced is None else _availability(facts.raced)),
    Ttl: _Ttl(),
}
LINUX: Final[Mapping[type[StackOption], SocketAdapter]] = {
    **EVERYWHERE,
    NoFragmentation: _NoFragmentation(),
    Tfo: ReadOnly(lambda sock, facts: facts.syn_bytes if _is_tcp(sock) else None),
    Multipath: ReadOnly(lambda sock, _: _availability(is_multipath(sock)) if _is_tcp(sock) else None),
}
ADAPTERS: Final = LINUX if sys.platform == "linux" else EVERYWHERE


def is_multipath(sock: socket.socket) -> bool:
    """Return whether a connection is MPTCP, and did not fall back to TCP."""
    with contextlib.suppress(OSError):
        return bool(sock.getsockopt(socket.IPPROTO_TCP, TCP_IS_MPTCP))
    try:  # an older kernel: EOPNOTSUPP after falling back, ENOPROTOOPT for what never was MPTCP
        info = sock.getsockopt(SOL_MPTCP, MPTCP_INFO, MPTCP_FLAGS.size)
    except OSError:
        return False
    return len(info) == MPTCP_FLAGS.size and not MPTCP_FLAGS.unpack(info)[0] & MPTCP_FELL_BACK


def _availability(available: bool) -> int:
    return Availability.YES.value if available else Availability.NO.value


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in TCP_FAMILIES and sock.type == socket.SOCK_STREAM


def _carries_ipv4(sock: socket.socket) -> bool:
    try:
        return str(sock.getpeername()[0]).startswith(MAPPED)
    except OSError:  # not connected yet, or gone
        return False


def _default(family: int, option: SocketOption) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as fresh:
        return fresh.getsockopt(*option)
