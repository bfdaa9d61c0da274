"""The rows of Linux. Numbers that Python's socket module lacks are from linux/in.h, in6.h, tcp.h and mptcp.h."""

import contextlib
import socket
from collections.abc import Mapping
from struct import Struct
from typing import Final

from socks6.message.codes import Availability
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.stackopts.adapter import (
    ConnectFacts,
    IpSocketOption,
    SocketOption,
    SocketOptionAdapter,
    availability,
    is_tcp,
    race_outcome,
)

IPPROTO_MPTCP: Final = 262
SOL_MPTCP: Final = 284
MPTCP_INFO: Final = 1
MPTCP_FLAGS: Final = Struct("=8xI")  # where struct mptcp_info has mptcpi_flags
MPTCP_FELL_BACK: Final = 1
TCP_IS_MPTCP: Final = 43  # Linux 6.8
ALWAYS_WHOLE: Final = frozenset((2, 3))  # IP_PMTUDISC_DO, _PROBE; other values leave it to the route

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


def is_multipath(sock: socket.socket) -> bool:
    """Tell whether a connection is MPTCP, and did not fall back to TCP."""
    with contextlib.suppress(OSError):
        return bool(sock.getsockopt(socket.IPPROTO_TCP, TCP_IS_MPTCP))
    try:  # an older kernel: EOPNOTSUPP after falling back, ENOPROTOOPT for what never was MPTCP
        info = sock.getsockopt(SOL_MPTCP, MPTCP_INFO, MPTCP_FLAGS.size)
    except OSError:
        return False
    return len(info) == MPTCP_FLAGS.size and not MPTCP_FLAGS.unpack(info)[0] & MPTCP_FELL_BACK


def _write_ttl(sock: socket.socket, ttl: int) -> None:
    IP_TTL.write(sock, ttl)
    if sock.type == socket.SOCK_DGRAM:
        IP_MULTICAST_TTL.write(sock, ttl)


def _write_no_fragmentation(sock: socket.socket, wish: int) -> None:
    # "1" allows fragmentation and demands nothing: the kernel's default does
    if wish == Availability.YES:
        IP_MTU_DISCOVER.write(sock, 2)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(*IPV6_DONTFRAG, 1)  # a datagram that is too long is an error, not two packets


def _read_no_fragmentation(sock: socket.socket, origin: ConnectFacts) -> int | None:
    discovery = IP_MTU_DISCOVER.read(sock, origin)
    return None if discovery is None else availability(discovery in ALWAYS_WHOLE)


def _read_syn_bytes(sock: socket.socket, origin: ConnectFacts) -> int | None:
    return origin.syn_bytes if is_tcp(sock) else None


def _read_multipath(sock: socket.socket, origin: ConnectFacts) -> int | None:  # noqa: ARG001 - a Read
    return availability(is_multipath(sock)) if is_tcp(sock) else None


ROWS: Final[Mapping[type[StackOption], SocketOptionAdapter]] = {
    Tos: SocketOptionAdapter(value="tos", write=IP_TOS.write, read=IP_TOS.read),
    HappyEyeballs: SocketOptionAdapter(value="availability", read=race_outcome),
    Ttl: SocketOptionAdapter(value="ttl", write=_write_ttl, read=IP_TTL.read),
    NoFragmentation: SocketOptionAdapter(
        value="availability", write=_write_no_fragmentation, read=_read_no_fragmentation
    ),
    Tfo: SocketOptionAdapter(value="payload_size", read=_read_syn_bytes),
    Multipath: SocketOptionAdapter(value="availability", read=_read_multipath),
}
