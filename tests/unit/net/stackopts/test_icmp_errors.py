"""What the error queue says."""

import errno
import socket
import sys
from collections.abc import Iterator
from struct import pack

import pytest
from typing_extensions import override

if sys.platform != "linux":
    pytest.skip("only Linux has error queues", allow_module_level=True)

from socks6.errors import HostUnreachable, TtlExpired
from socks6.net.dial import failure_for
from socks6.net.stackopts.icmp_errors import IcmpError, collect_icmp_errors, next_icmp_error, stop_icmp_errors

IP_RECVERR, IPV6_RECVERR = (socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)
ROUTER4 = pack("=HH4s8x", socket.AF_INET, 0, bytes((192, 0, 2, 9)))
ROUTER6 = pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::9"), 0)
Control = tuple[tuple[int, int], bytes]


def entry(error: int, origin: int, kind: int, code: int) -> bytes:
    """Return a struct sock_extended_err."""
    return pack("=IBBBxII", error, origin, kind, code, 0, 0)


class Queue(socket.socket):
    """A socket with these entries in its error queue."""

    entries: list[list[Control]]

    @override
    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        assert flags == socket.MSG_ERRQUEUE
        if not self.entries:
            raise BlockingIOError
        return b"", [(*name, data) for name, data in self.entries.pop(0)], 0, None


def reports(*entries: list[Control]) -> list[IcmpError]:
    """Return what is read from such a queue."""
    with Queue() as queue:
        queue.entries = list(entries)
        found = []
        while report := next_icmp_error(queue):
            found.append(report)
        return found


@pytest.fixture
def unreachable() -> Iterator[socket.socket]:
    """Give a datagram socket that collects reports, and has sent to a port where nobody is."""
    with socket.socket(type=socket.SOCK_DGRAM) as closed, socket.socket(type=socket.SOCK_DGRAM) as sock:
        closed.bind(("127.0.0.1", 0))
        place = closed.getsockname()
        closed.close()
        assert collect_icmp_errors(sock)
        sock.setblocking(False)
        sock.sendto(b"anybody?", place)
        yield sock


def test_a_report_names_error_message_and_reporter(unreachable: socket.socket) -> None:
    assert next_icmp_error(unreachable) == IcmpError(errno.ECONNREFUSED, 2, 3, 3, "127.0.0.1")
    assert next_icmp_error(unreachable) is None


def test_dropped_reports_are_gone(unreachable: socket.socket) -> None:
    stop_icmp_errors(unreachable)
    assert next_icmp_error(unreachable) is None


def test_reports_come_over_ipv6_too() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as closed:
        closed.bind(("::1", 0))
        place = closed.getsockname()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        assert collect_icmp_errors(sock)
        sock.setblocking(False)
        sock.sendto(b"anybody?", place)
        assert next_icmp_error(sock) == IcmpError(errno.ECONNREFUSED, 3, 1, 4, "::1")


def test_a_closed_socket_collects_and_tells_nothing() -> None:
    with socket.socket() as closed:
        pass
    assert not collect_icmp_errors(closed)
    assert next_icmp_error(closed) is None
    stop_icmp_errors(closed)


def test_entries_that_are_not_from_icmp_are_passed_over() -> None:
    local = (IP_RECVERR, entry(errno.EMSGSIZE, 1, 0, 0))
    stamp = ((socket.SOL_SOCKET, 37), b"a time stamp")
    unreach = (IP_RECVERR, entry(errno.EHOSTUNREACH, 2, 3, 1) + ROUTER4)
    assert reports([local], [stamp], [stamp, unreach]) == [
        IcmpError(errno.EHOSTUNREACH, 2, 3, 1, "192.0.2.9")
    ]


@pytest.mark.parametrize(
    ("control", "reporter"),
    [
        ((IP_RECVERR, entry(errno.EHOSTUNREACH, 2, 11, 0) + ROUTER4), "192.0.2.9"),
        ((IPV6_RECVERR, entry(errno.EHOSTUNREACH, 3, 3, 0) + ROUTER6), "2001:db8::9"),
    ],
)
def test_time_exceeded_in_transit_is_an_expired_ttl(control: Control, reporter: str) -> None:
    (report,) = reports([control])
    error = report.as_error()
    assert isinstance(error, TtlExpired)
    assert error.reporter == reporter
    assert error.reason == f"the TTL expired at {reporter}"


def test_time_exceeded_in_reassembly_is_none() -> None:
    (report,) = reports([(IP_RECVERR, entry(errno.EHOSTUNREACH, 2, 11, 1) + ROUTER4)])
    assert not isinstance(report.as_error(), TtlExpired)


def test_any_other_report_is_its_error_with_the_reporter_named() -> None:
    failure = failure_for(IcmpError(errno.EHOSTUNREACH, 2, 3, 1, "192.0.2.9").as_error())
    assert type(failure) is HostUnreachable
    assert failure.reason == "No route to host, says 192.0.2.9"


def test_a_ttl_may_expire_where_nobody_says() -> None:
    assert TtlExpired("gone").reporter is None
