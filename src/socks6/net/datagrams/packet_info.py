"""Ports that are bound to every address: which one a datagram was sent to, and how answers leave from there."""

import socket
import sys
from struct import Struct
from typing import Final, TypeAlias

from socks6.net.stream import SocketAddress

ANCILLARY_BYTES: Final = 128  # room for what the kernel adds to a datagram
LINUX: Final = sys.platform == "linux"  # linux/in.h, linux/in6.h; else macOS: netinet/in.h, netinet6/in6.h
IP_PKTINFO: Final = 8 if LINUX else 26  # struct in_pktinfo: interface, local address, destination
IPV6_RECVPKTINFO: Final = 49 if LINUX else 61
IPV6_PKTINFO: Final = 50 if LINUX else 46  # struct in6_pktinfo: destination, interface
PKTINFO: Final = Struct("=i4s4s")
PKTINFO6: Final = Struct("=16si")

Control: TypeAlias = list[tuple[int, int, bytes]]


def request_packet_info(sock: socket.socket) -> None:
    """Ask the kernel for the address that each datagram was sent to, on a port of every address. Raises OSError."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)


def destination_address(control: Control) -> bytes:
    """Return the address that a datagram was sent to, as it arrived; empty where the port has but one."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return bytes(data[4:8])
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            return bytes(data[:16])
    return b""


def reply_control(source: SocketAddress, local: bytes) -> Control:
    """Return what makes answers to `source` leave from the address that it sends to."""
    match len(local):
        case 4:
            return [(socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, local, bytes(4)))]
        case 16:
            scope = source[3] if len(source) == 4 else 0
            return [(socket.IPPROTO_IPV6, IPV6_PKTINFO, PKTINFO6.pack(local, scope))]
        case _:
            return []
