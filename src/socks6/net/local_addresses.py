"""Which addresses are this machine's own: those whose packets the kernel would deliver here.

The kernel is asked each time (RTM_GETROUTE over netlink, some 5 us), so that the answer holds for every interface,
for networks that are routed to this machine as a whole, and from the moment that an address comes or goes.
"""

import errno
import os
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from socks6.net.scopes import on_failure

HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ROUTE: Final = Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, ..., type, flags
ATTRIBUTE: Final = Struct("=HH")  # struct rtattr: length, type
ERROR: Final = Struct("=i")  # struct nlmsgerr: the number, negative

INTERFACE_ADDRESS: Final = Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index

NLM_F_REQUEST: Final = 1
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26
RTA_DST: Final = 1
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2  # on point-to-point links, where the other is the peer's
RT_SCOPE_LINK: Final = 253  # and beyond: of a link, of this machine
RTN_LOCAL: Final = 2
RTN_ANYCAST: Final = 4  # of IPv6: delivered here as well
TYPE_OFFSET: Final = HEADER.size + 7

SHORTEST_ANSWER: Final = HEADER.size + ROUTE.size  # also of an error
LONGEST_ANSWER: Final = 8192
LONGEST_LIST: Final = 65536
MOST_LISTS: Final = 1024  # datagrams of one dump
LATE_ANSWERS: Final = 16  # to questions that were given up, passed over before the right one
LENGTHS: Final[dict[int, int]] = {socket.AF_INET: 4, socket.AF_INET6: 16}
DISCARD_PORT: Final = 9  # nothing is sent there


class LocalAddresses:
    """Distinguishes this machine's own addresses from all others. Keeps a socket open, once it was asked."""

    def __init__(self) -> None:
        self._netlink: weakref.finalize[[int], LocalAddresses] | None = None  # closes the socket
        self._descriptor = -1
        self._sequence = 0
        self._refused = False

    def holds(self, packed: bytes) -> bool:
        """Return whether an address, 4 or 16 bytes, is this machine's. Where the kernel cannot be asked, it is not."""
        if not self._refused:
            try:
                return self._ask_kernel(packed)
            except OSError:
                self.close()  # a sandbox without netlink, for instance: there is another way
        return _is_its_own_source(packed)

    def close(self) -> None:
        """Free the socket. Idempotent; the next question opens another."""
        if self._netlink is not None:
            self._netlink()
            self._netlink = None

    def _ask_kernel(self, packed: bytes) -> bool:
        """Return what the kernel answers. Raises OSError where it does not."""
        self._sequence = self._sequence + 1 & 0xFFFF_FFFF
        descriptor = self._open()
        os.write(descriptor, route_question(packed, self._sequence))
        for _ in range(LATE_ANSWERS):  # the kernel has answered by now
            answer = os.read(descriptor, LONGEST_ANSWER)
            if len(answer) >= SHORTEST_ANSWER and HEADER.unpack_from(answer)[3] == self._sequence:
                return leads_here(answer)
        raise OSError(errno.EPROTO, "netlink does not answer")

    def _open(self) -> int:
        if self._netlink is None:
            try:
                self._descriptor = netlink_socket().detach()
            except OSError as failure:
                # out of descriptors is over soon; what is forbidden stays so
                self._refused = failure.errno in {errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES}
                raise
            self._netlink = weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor


def route_question(packed: bytes, sequence: int) -> bytes:
    """Return the bytes that ask for the route to an address of 4 or 16 bytes."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    size = HEADER.size + ROUTE.size + ATTRIBUTE.size + len(packed)
    return (
        HEADER.pack(size, RTM_GETROUTE, NLM_F_REQUEST, sequence, 0)
        + ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
        + ATTRIBUTE.pack(ATTRIBUTE.size + len(packed), RTA_DST)
        + packed
    )


def leads_here(answer: bytes) -> bool:
    """Return whether the route in an answer ends here. Raises OSError for what is no answer."""
    kind = HEADER.unpack_from(answer)[1]
    if kind == NLMSG_ERROR:
        number = -ERROR.unpack_from(answer, HEADER.size)[0]
        if number in {errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP}:
            # forbidden, or routes of the types "prohibit" and "blackhole": the other way of asking knows
            raise OSError(number, os.strerror(number))
        return False  # there is no route
    if kind != RTM_NEWROUTE:
        raise OSError(errno.EPROTO, "not an answer about a route")
    return answer[TYPE_OFFSET] in {RTN_LOCAL, RTN_ANYCAST}


def interface_addresses(family: int) -> list[str]:
    """Return this machine's addresses of a family that others can reach: none of loopback or of a link alone.

    Raises OSError where the kernel does not answer.
    """
    found: list[str] = []
    with netlink_socket() as netlink:
        size = HEADER.size + INTERFACE_ADDRESS.size
        netlink.send(
            HEADER.pack(size, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            + INTERFACE_ADDRESS.pack(family, 0, 0, 0, 0)
        )
        for _ in range(MOST_LISTS):
            for kind, body in split(netlink.recv(LONGEST_LIST), 0, HEADER, lambda header: header[:2]):
                if kind == NLMSG_DONE:
                    return found
                if kind != RTM_NEWADDR or len(body) < INTERFACE_ADDRESS.size:
                    raise OSError(errno.EPROTO, "not a list of addresses")
                found += _reachable_address(body, family)
    raise OSError(errno.EPROTO, "a list without end")


def _reachable_address(body: bytes, family: int) -> list[str]:
    """Return the address of one entry, if it is of use."""
    its_family, _, _, scope, _ = INTERFACE_ADDRESS.unpack_from(body)
    if its_family != family or scope >= RT_SCOPE_LINK:
        return []
    attributes = dict(split(body, INTERFACE_ADDRESS.size, ATTRIBUTE, lambda header: header))
    packed = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS, b""))
    return [socket.inet_ntop(family, packed)] if len(packed) == LENGTHS[family] else []


def split(
    data: bytes, start: int, header: Struct, length_and_kind: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> Iterator[tuple[int, bytes]]:
    """Return kind and body of what stands one after the other, each padded to 4 bytes; what is cut off is left out."""
    while start + header.size <= len(data):
        length, kind = length_and_kind(header.unpack_from(data, start))
        if length < header.size or start + length > len(data):
            return
        yield kind, data[start + header.size : start + length]
        start += length + 3 & ~3


def netlink_socket(groups: int = 0) -> socket.socket:
    """Return a socket that asks the kernel, or is told by it what happens in these groups. Raises OSError."""
    if sys.platform != "linux":
        raise OSError(errno.EAFNOSUPPORT, "netlink is Linux's")
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    with on_failure(sock.close):
        if groups:
            sock.bind((0, groups))
        else:
            sock.connect((0, 0))  # the kernel; no other sender is heard
    return sock


def _is_its_own_source(packed: bytes) -> bool:
    """Return whether this machine would send to an address from that very address, as it does to its own."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    try:
        source = source_address(socket.inet_ntop(family, packed))
    except OSError:
        return False
    return socket.inet_pton(family, source.partition("%")[0]) == packed


def source_address(host: str) -> str:
    """Return the address of this machine that the kernel would send from, to an address; nothing is sent. Raises OSError."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, DISCARD_PORT))
        return str(sock.getsockname()[0])
