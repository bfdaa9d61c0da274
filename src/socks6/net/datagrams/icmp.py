"""ICMP errors about datagrams, from a socket's error queue (§ Reporting ICMP Errors)."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Final

from socks6.message.codes import DatagramErrorCode
from socks6.net.stackopts.adapter import SocketOption
from socks6.net.stackopts.icmp_errors import (
    ERROR_QUEUE_BYTES,
    EXTENDED_ERROR,
    FROM_ICMP,
    FROM_ICMP6,
    IPV4_REPORTER,
    IPV6_REPORTER,
    MSG_ERRQUEUE,
    RECEIVE_ERRORS,
)
from socks6.net.stream import DatagramReport

FROM_HERE: Final = 1  # SO_EE_ORIGIN_LOCAL
MAX_REPORTS: Final = 64  # taken from a queue at a time
CODES: Final = {  # by origin, ICMP type and code (§ Reporting ICMP Errors); what is absent is not reported
    (FROM_ICMP, 3, 0): DatagramErrorCode.NETWORK_UNREACHABLE,
    (FROM_ICMP, 3, 1): DatagramErrorCode.HOST_UNREACHABLE,
    (FROM_ICMP, 11, 0): DatagramErrorCode.TTL_EXPIRED,
    (FROM_ICMP6, 1, 0): DatagramErrorCode.NETWORK_UNREACHABLE,
    (FROM_ICMP6, 1, 3): DatagramErrorCode.HOST_UNREACHABLE,
    (FROM_ICMP6, 3, 0): DatagramErrorCode.TTL_EXPIRED,
    (FROM_ICMP6, 2, 0): DatagramErrorCode.TOO_BIG,
}


def queued_reports(sock: socket.socket) -> Iterator[DatagramReport]:
    """Take what waits in the error queue of a socket that collects errors; yield what clients may learn of.

    Over IPv6 the kernel itself finds datagrams too big for a path that it knows already: then this machine is
    the reporter. It reports that for each attempt to send; the same twice in a row is yielded once.
    """
    last: DatagramReport | None = None
    for _ in range(MAX_REPORTS):
        try:
            _, control, _, destination = sock.recvmsg(0, ERROR_QUEUE_BYTES, MSG_ERRQUEUE)
        except OSError:  # nothing is left, or the socket is closed
            return
        for level, name, data in control:
            if SocketOption(level, name) in (RECEIVE_ERRORS.ipv4, RECEIVE_ERRORS.ipv6):
                report = _parsed(data, destination, sock.family)
                if report is not None and not (report == last and report.code == DatagramErrorCode.TOO_BIG):
                    yield report
                last = report or last


def _parsed(data: bytes, destination: object, family: int) -> DatagramReport | None:
    if len(data) < EXTENDED_ERROR.size or not isinstance(destination, tuple):
        return None
    error, origin, kind, code, _, _ = EXTENDED_ERROR.unpack_from(data)
    host, port = str(destination[0]).partition("%")[0], int(destination[1])
    if origin == FROM_HERE and error == errno.EMSGSIZE and family == socket.AF_INET6:
        return DatagramReport(host, port, DatagramErrorCode.TOO_BIG, _address_towards(host, port))
    meaning = CODES.get((origin, kind, code))
    if meaning is None:
        return None
    if origin == FROM_ICMP:
        (reporter,) = IPV4_REPORTER.unpack_from(data, EXTENDED_ERROR.size)
        return DatagramReport(host, port, meaning, socket.inet_ntop(socket.AF_INET, reporter))
    (reporter,) = IPV6_REPORTER.unpack_from(data, EXTENDED_ERROR.size)
    return DatagramReport(host, port, meaning, socket.inet_ntop(socket.AF_INET6, reporter))


def _address_towards(host: str, port: int) -> str:
    """Return the address of ours that an IPv6 host sees."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect((host, port))  # asks the routes, sends nothing
        return str(sock.getsockname()[0]).partition("%")[0]
    return "::"
