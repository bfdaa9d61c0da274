"""ICMP errors of a socket, from the kernel's error queue (ip(7), IP_RECVERR)."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from socks6.errors import TtlExpired
from socks6.net.stackopts.adapter import IpSocketOption, SocketOption

SUPPORTED: Final = sys.platform == "linux"
RECEIVE_ERRORS: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, 11),  # IP_RECVERR
    ipv6=SocketOption(socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR
)
MSG_ERRQUEUE: Final = 0x2000
EXTENDED_ERROR: Final = Struct("=IBBBxII")  # struct sock_extended_err: errno, origin, type, code, info, data
ERROR_QUEUE_BYTES: Final = 256  # more than an error and a reporter take
FROM_ICMP, FROM_ICMP6 = 2, 3  # SO_EE_ORIGIN_*
REPORTERS: Final = {  # where a router's address is behind these
    FROM_ICMP: (socket.AF_INET, Struct("=4x4s")),  # struct sockaddr_in
    FROM_ICMP6: (socket.AF_INET6, Struct("=8x16s")),  # struct sockaddr_in6
}
TTL_EXPIRED: Final = frozenset(((FROM_ICMP, 11, 0), (FROM_ICMP6, 3, 0)))  # origin, type, code


class IcmpError(NamedTuple):
    """An ICMP message about a packet of ours, and who sent it."""

    error: int  # an errno
    origin: int
    type: int
    code: int
    reporter: str

    def as_error(self) -> OSError:
        """Return what to raise."""
        if (self.origin, self.type, self.code) in TTL_EXPIRED:
            return TtlExpired(f"the TTL expired at {self.reporter}", reporter=self.reporter)
        return OSError(self.error, f"{os.strerror(self.error)}, says {self.reporter}")


def collect_icmp_errors(sock: socket.socket) -> bool:
    """Enable the queue of ICMP errors for the socket; return whether it does."""
    try:
        if SUPPORTED:
            RECEIVE_ERRORS.write(sock, 1)
    except OSError:
        return False
    return SUPPORTED


def stop_icmp_errors(sock: socket.socket) -> None:
    """Disable the queue of ICMP errors, and drop what is in it.

    On a connected TCP socket that collects, any ICMP error would end the connection.
    """
    with contextlib.suppress(OSError):
        RECEIVE_ERRORS.write(sock, 0)


def next_icmp_error(sock: socket.socket) -> IcmpError | None:
    """Return the next ICMP error, None if there is none; errors from elsewhere are passed over."""
    return next((error for error, _ in queued_errors(sock) if error.origin in REPORTERS), None)


def queued_errors(sock: socket.socket) -> Iterator[tuple[IcmpError, object]]:
    """Take the errors that wait, this machine's own too, with where their packets went; those have no reporter."""
    with contextlib.suppress(OSError):  # nothing is left, or the socket is closed
        while True:
            _, control, _, destination = sock.recvmsg(1, ERROR_QUEUE_BYTES, MSG_ERRQUEUE)
            for level, name, data in control:
                if SocketOption(level, name) in (RECEIVE_ERRORS.ipv4, RECEIVE_ERRORS.ipv6):
                    yield _parsed(data), destination


def _parsed(data: bytes) -> IcmpError:
    error, origin, kind, code, _, _ = EXTENDED_ERROR.unpack_from(data)
    reporter = ""
    if origin in REPORTERS:
        family, layout = REPORTERS[origin]
        reporter = socket.inet_ntop(family, *layout.unpack_from(data, EXTENDED_ERROR.size))
    return IcmpError(error, origin, kind, code, reporter)
