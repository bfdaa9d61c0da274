"""ICMP errors about datagrams, as the kernel queues them."""

import errno
import socket
from collections.abc import Iterable
from struct import pack

import pytest
from typing_extensions import override

from socks6.message.codes import DatagramErrorCode
from socks6.net.datagrams.icmp import CODES, FROM_HERE, MAX_REPORTS, queued_reports
from socks6.net.stackopts.icmp_errors import FROM_ICMP, FROM_ICMP6
from socks6.net.stream import DatagramReport

IP_RECVERR, IPV6_RECVERR = (socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)
ROUTER = {
    FROM_ICMP: pack("=HH4s8x", socket.AF_INET, 0, bytes((192, 0, 2, 9))),
    FROM_ICMP6: pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::9"), 0),
    FROM_HERE: b"",
}
NAME = {FROM_ICMP: "192.0.2.9", FROM_ICMP6: "2001:db8::9"}
Entry = tuple[tuple[int, int], bytes, object]


def entry(origin: int, kind: int, code: int, destination: object, number: int = 113) -> Entry:
    """Return an entry of an error queue: of a router's ICMP message, or of this machine."""
    name = IP_RECVERR if origin == FROM_ICMP else IPV6_RECVERR
    return name, pack("=IBBBxII", number, origin, kind, code, 0, 0) + ROUTER[origin], destination


class Queue(socket.socket):
    """A socket with these entries in its error queue."""

    entries: list[Entry]

    @override
    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        if not self.entries:
            raise BlockingIOError
        name, data, destination = self.entries.pop(0)
        return b"", [(*name, data)], 0, destination


def reports(entries: Iterable[Entry], family: socket.AddressFamily = socket.AF_INET) -> list[DatagramReport]:
    with Queue(family, socket.SOCK_DGRAM) as queue:
        queue.entries = list(entries)
        return list(queued_reports(queue))


@pytest.mark.parametrize(("origin", "kind", "code"), CODES)
def test_what_the_draft_knows_is_reported_with_the_router(origin: int, kind: int, code: int) -> None:
    meaning = CODES[origin, kind, code]
    (report,) = reports([entry(origin, kind, code, ("198.51.100.1", 53))])
    assert report == DatagramReport("198.51.100.1", 53, meaning, NAME[origin])


def test_what_the_draft_does_not_know_is_passed_over() -> None:
    unknown = [
        entry(FROM_ICMP, 3, 3, ("198.51.100.1", 53)),  # port unreachable
        entry(FROM_ICMP6, 1, 4, ("2001:db8::1", 53)),
        entry(FROM_ICMP, 3, 0, None),  # the kernel does not say where the datagram went
    ]
    known = entry(FROM_ICMP, 11, 0, ("198.51.100.2", 53))
    assert [report.code for report in reports([*unknown, known])] == [DatagramErrorCode.TTL_EXPIRED]


def test_a_scope_is_no_part_of_an_address() -> None:
    (report,) = reports([entry(FROM_ICMP6, 3, 0, ("fe80::1%eth0", 53, 0, 2))])
    assert report.host == "fe80::1"


def test_too_big_for_a_known_path_is_this_machines_word_and_told_once() -> None:
    big = entry(FROM_HERE, 0, 0, ("::1", 9, 0, 0), errno.EMSGSIZE)
    other = entry(FROM_HERE, 0, 0, ("::1", 10, 0, 0), errno.EMSGSIZE)
    found = reports([big, big, other, big], socket.AF_INET6)
    assert [(report.port, report.reporter) for report in found] == [(9, "::1"), (10, "::1"), (9, "::1")]
    assert {report.code for report in found} == {DatagramErrorCode.TOO_BIG}


def test_over_ipv4_or_for_another_reason_it_is_not() -> None:
    assert reports([entry(FROM_HERE, 0, 0, ("127.0.0.1", 9), errno.EMSGSIZE)]) == []
    assert reports([entry(FROM_HERE, 0, 0, ("::1", 9, 0, 0), errno.ECONNREFUSED)], socket.AF_INET6) == []


def test_the_reporter_is_unknown_where_no_route_leads() -> None:
    big = entry(FROM_HERE, 0, 0, ("not an address", 9, 0, 0), errno.EMSGSIZE)
    assert [report.reporter for report in reports([big], socket.AF_INET6)] == ["::"]


def test_a_full_queue_is_taken_in_bounds() -> None:
    endless = [entry(FROM_ICMP, 3, 1, ("198.51.100.1", port)) for port in range(MAX_REPORTS + 5)]
    assert len(reports(endless)) == MAX_REPORTS


def test_a_closed_socket_has_none() -> None:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.close()
    assert list(queued_reports(sock)) == []
