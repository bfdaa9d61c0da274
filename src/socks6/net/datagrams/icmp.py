"""ICMP errors about datagrams, from a socket's error queue (§ Reporting ICMP Errors)."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from itertools import islice
from typing import Final

from socks6.message.codes import DatagramErrorCode
from socks6.net.stackopts.icmp_errors import FROM_ICMP, FROM_ICMP6, IcmpError, queued_errors
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
    for error, destination in islice(queued_errors(sock), MAX_REPORTS):
        report = _report(error, destination, sock.family)
        if report is not None and not (report == last and report.code == DatagramErrorCode.TOO_BIG):
            yield report
        last = report or last


def _report(error: IcmpError, destination: object, family: int) -> DatagramReport | None:
    if not isinstance(destination, tuple):
        return None
    host, port = str(destination[0]).partition("%")[0], int(destination[1])
    if error.origin == FROM_HERE and error.error == errno.EMSGSIZE and family == socket.AF_INET6:
        return DatagramReport(host, port, DatagramErrorCode.TOO_BIG, _address_towards(host, port))
    meaning = CODES.get((error.origin, error.type, error.code))
    return None if meaning is None else DatagramReport(host, port, meaning, error.reporter)


def _address_towards(host: str, port: int) -> str:
    """Return the address of ours that an IPv6 host sees."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect((host, port))  # asks the routes, sends nothing
        return str(sock.getsockname()[0]).partition("%")[0]
    return "::"
