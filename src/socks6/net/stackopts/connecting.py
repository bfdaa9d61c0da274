"""Connecting a socket with stack options."""

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

from socks6.message.codes import Availability, Leg
from socks6.message.options import Multipath, StackOption, Ttl
from socks6.net.scopes import on_failure
from socks6.net.sockets import bind_outgoing, finish_connecting, stream_socket
from socks6.net.stackopts.adapter import IPPROTO_MPTCP
from socks6.net.stackopts.icmp_errors import collect_icmp_errors, next_icmp_error, stop_icmp_errors
from socks6.net.stackopts.table import apply_options, for_leg, holds, write
from socks6.net.stream import SocketAddress

TCP_FASTOPEN_CONNECT: Final = 30  # linux/tcp.h; Python's socket module lacks it


class ConnectedSocket(NamedTuple):
    """A connected socket, and how many bytes went into its SYN."""

    sock: socket.socket
    syn_bytes: int


async def connect_with_options(
    family: int,
    address: SocketAddress,
    wanted: Sequence[StackOption],
    *,
    leg: Leg,
    syn_data: bytes | None = None,
    deadline: float | None = None,
    local_address: str = "",
) -> ConnectedSocket:
    """Connect to a numeric address with the options wanted of `leg`, from `local_address` if there is one.

    `syn_data` goes with the SYN, as much as fits, if the kernel has the host's cookie; else it asks for one,
    also when it is empty. None: no TCP Fast Open. Raises OSError, TtlExpired with a router's address.
    """
    wanted = for_leg(wanted, leg)
    sock = socket_with_options(family, wanted, leg)
    with on_failure(sock.close):
        if local_address:
            bind_outgoing(sock, local_address)
        reported = any(isinstance(option, Ttl) for option in wanted) and collect_icmp_errors(sock)
        error, sent = _begin(sock, address, syn_data)
        if reported:
            await _finish_reported(sock, address, error, deadline)
        else:
            await finish_connecting(sock, address, error, deadline)
    return ConnectedSocket(sock, sent)


def socket_with_options(family: int, wanted: Sequence[StackOption], leg: Leg) -> socket.socket:
    """Return a TCP socket with the options wanted of `leg`, MPTCP if that is wanted and can be. Raises OSError."""
    if any(isinstance(option, Multipath) and option.availability == Availability.YES for option in wanted):
        sock = _multipath_socket(family, wanted)
        if sock is not None:
            return sock
    sock = stream_socket(family, socket.IPPROTO_TCP)
    apply_options(sock, wanted, leg)
    return sock


def _multipath_socket(family: int, wanted: Sequence[StackOption]) -> socket.socket | None:
    """Return an MPTCP socket, if there is MPTCP and such a socket can have all that is wanted.

    Linux refuses a TTL and the like on it: a request for both an exact value and MPTCP gets the value.
    """
    try:
        sock = stream_socket(family, IPPROTO_MPTCP)
    except OSError:
        return None
    for option in wanted:
        try:
            write(sock, option)
        except OSError:
            if not holds(sock, option):
                sock.close()
                return None
    return sock


def _begin(sock: socket.socket, address: SocketAddress, syn_data: bytes | None) -> tuple[int, int]:
    """Begin to connect; return the error number, and how many bytes went into the SYN."""
    if syn_data is not None:
        with contextlib.suppress(OSError):  # the administrator may have switched it off
            sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    error = sock.connect_ex(address)
    if error or syn_data is None:
        return error, 0
    # The cookie is there, and the SYN waits for data. What does not go into it is not taken: tcp_sendmsg stops
    # at the first packet while the handshake goes on.
    try:
        return errno.EINPROGRESS, sock.send(syn_data)
    except BlockingIOError:
        return errno.EINPROGRESS, 0


async def _finish_reported(
    sock: socket.socket, address: SocketAddress, error: int, deadline: float | None
) -> None:
    """Wait for the connection, or for a router's report that the host cannot be reached."""
    while True:
        try:
            await finish_connecting(sock, address, error, deadline)
        except OSError as failure:
            raise _reported(sock) or failure from None
        if _connected(sock):
            stop_icmp_errors(sock)
            return
        # Woken by a report. Linux tries on when it comes while the socket is in use; there is no need to.
        if reported := _reported(sock):
            raise reported
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # the connection is over already
            raise OSError(error, os.strerror(error))
        error = errno.EINPROGRESS


def _reported(sock: socket.socket) -> OSError | None:
    report = next_icmp_error(sock)
    return None if report is None else report.as_error()


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
