"""What the peer's packets show: the TOS that a TCP client sends with, whether its SYN carried data."""

import socket
import sys
from struct import Struct
from typing import Final, NamedTuple

ANSWER: Final = Struct("@Niii")  # struct cmsghdr (length, level, type) and an int
ROOM: Final = 256


OPTIONS: Final = 5  # where struct tcp_info (linux/tcp.h) has tcpi_options
SYN_DATA: Final = 32  # TCPI_OPT_SYN_DATA


class _Names(NamedTuple):
    """Linux's numbers (linux/in.h, in6.h): level, the option to switch it on and the one to read, the answer's type."""

    level: int
    receive: int
    packet_options: int
    answer: int


NAMES: Final = {
    socket.AF_INET: _Names(socket.IPPROTO_IP, 13, 9, 1),  # IP_RECVTOS, IP_PKTOPTIONS, IP_TOS
    socket.AF_INET6: _Names(socket.IPPROTO_IPV6, 66, 6, 67),  # IPV6_RECVTCLASS, _2292PKTOPTIONS, _TCLASS
}


def received_tos(sock: socket.socket) -> int | None:
    """Return the TOS of the packets that a connected TCP socket receives; None where the system does not show it."""
    names = NAMES.get(sock.family)
    if names is None or sys.platform != "linux":
        return None
    try:
        sock.setsockopt(names.level, names.receive, 1)
        options = sock.getsockopt(names.level, names.packet_options, ROOM)
    except OSError:
        return None
    if len(options) < ANSWER.size:
        return None
    _, level, kind, value = ANSWER.unpack_from(options)
    return value if (level, kind) == (names.level, names.answer) else None


def syn_brought_data(sock: socket.socket) -> bool:
    """Return whether a connection that was accepted began with data in its SYN (TCP Fast Open), which may come twice.

    False where the system does not show it.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, OPTIONS + 1)[OPTIONS] & SYN_DATA)
    except (OSError, IndexError):
        return False  # not of TCP, or gone
