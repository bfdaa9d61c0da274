"""A UDP port where several protocols are spoken, distinguished by a datagram's first byte (RFC 7983, RFC 9443)."""

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from socks6.message.address import is_unspecified
from socks6.net.datagrams.packet_info import (
    ANCILLARY_BYTES,
    destination_address,
    reply_control,
    request_packet_info,
)
from socks6.net.datagrams.poller import FAILED, DatagramPoller
from socks6.net.datagrams.segments import SegmentSender, ask_for_segments, segment_size
from socks6.net.scopes import on_failure
from socks6.net.sockets import bind_explained
from socks6.net.stream import SocketAddress

DTLS_BYTES: Final = range(20, 64)
QUIC_BYTES: Final = range(64, 256)
MAX_READS: Final = 64  # datagrams taken before others have their turn
MAX_DATAGRAM_BYTES: Final = 65536
SOCKET_BUFFER_BYTES: Final = 1 << 22  # bytes asked of the kernel, each way; it lowers them to its own limit


class Arrival(NamedTuple):
    """A datagram, or several in a row, and the 5-tuple that they came by."""

    data: bytes
    source: SocketAddress
    local: bytes  # the address that it was sent to; empty where the port has but one
    size: int  # of each in a row, but for the last, which may be shorter; of the one


Receiver: TypeAlias = Callable[[Sequence[Arrival]], None]
"""Takes what came in one turn of one of the protocols."""


class SharedPort:
    """A socket that no protocol owns; what none of them claims is dropped and counted."""

    def __init__(self, host: str, port: int, poller: DatagramPoller) -> None:
        """Bind it. Raises OSError."""
        self.sock: Final = udp_socket((host, port))
        self.dropped = 0  # of no protocol, or not taken by the kernel
        self._poller = poller
        self._holders = 1
        self._receivers: list[Receiver | None] = [None] * 256
        self._sender = SegmentSender(self.sock)
        self._in_rows: set[Receiver] = set()
        ask_for_segments(self.sock)
        with on_failure(self.sock.close):
            self.number: Final[int] = self.sock.getsockname()[1]
            poller.add(self.sock.fileno(), self._ready)

    def register(self, first_bytes: Iterable[int], receiver: Receiver, *, in_rows: bool = False) -> None:
        """Give datagrams that begin with one of these bytes to `receiver`.

        One by one, or `in_rows`: as many at a time as the kernel hands over.
        """
        for byte in first_bytes:
            self._receivers[byte] = receiver
        if in_rows:
            self._in_rows.add(receiver)

    def is_registered(self, first_byte: int) -> bool:
        """Return whether there is a receiver of datagrams that begin with this byte."""
        return self._receivers[first_byte] is not None

    def send(
        self,
        data: bytes,
        source: SocketAddress,
        local: bytes = b"",
        control: Sequence[tuple[int, int, bytes]] = (),
    ) -> bool:
        """Send to where something came from, at once or not at all; return whether it went."""
        try:
            if local or control:
                self.sock.sendmsg((data,), [*reply_control(source, local), *control], 0, source)
            else:
                self.sock.sendto(data, source)
        except OSError:
            self.dropped += 1
            return False
        return True

    def send_many(self, datagrams: Sequence[bytes], source: SocketAddress, local: bytes = b"") -> None:
        """Send datagrams to where something came from; what the kernel does not take at once waits a little."""
        self._sender.send(datagrams, source, reply_control(source, local))

    def hold(self) -> None:
        """Keep it open until `close` has been called once more."""
        self._holders += 1

    def close(self) -> None:
        """Close the port when every holder has called this."""
        self._holders -= 1
        if self._holders <= 0 and self.sock.fileno() >= 0:
            self._sender.close()
            self._poller.remove(self.sock.fileno())
            self.sock.close()

    def _ready(self, _: int, events: int) -> None:
        if events & FAILED:
            read_error(self.sock)
        batches: dict[Receiver, list[Arrival]] = {}
        for _ in range(MAX_READS):
            try:
                data, control, _, source = self.sock.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue
            receiver = self._receivers[data[0]] if data else None
            if receiver is None:
                self.dropped += 1
                continue
            arrival = Arrival(data, source, destination_address(control), segment_size(control) or len(data))
            whole = receiver in self._in_rows or arrival.size >= len(data)
            batches.setdefault(receiver, []).extend((arrival,) if whole else _single(arrival))
        for receiver, arrivals in batches.items():
            receiver(arrivals)


class SharedPorts:
    """Opens each port once, for however many protocols."""

    def __init__(self, poller: DatagramPoller) -> None:
        self._poller = poller
        self._ports: dict[tuple[str, int], SharedPort] = {}

    def open(self, host: str, port: int) -> SharedPort:
        """Return a port; each caller must close it. Raises OSError."""
        shared = self._ports.get((host, port))
        if shared is not None and shared.sock.fileno() >= 0:
            shared.hold()
            return shared
        shared = SharedPort(host, port, self._poller)
        self._ports[host, shared.number] = shared
        return shared


def _single(row: Arrival) -> Iterable[Arrival]:
    """Return the datagrams of a row one by one."""
    for start in range(0, len(row.data), row.size):
        data = row.data[start : start + row.size]
        yield row._replace(data=data, size=len(data))


def udp_socket(
    address: SocketAddress | None,
    *,
    remote: SocketAddress | None = None,
    buffer_bytes: int = SOCKET_BUFFER_BYTES,
    only_ipv6: bool = True,
) -> socket.socket:
    """Return a socket that is bound to an address, connected to `remote`, or both. Raises OSError."""
    some = address or remote
    assert some is not None  # noqa: S101 - or it would be good for nothing
    family = socket.AF_INET6 if ":" in some[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    with on_failure(sock.close):
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
        if address is not None:
            if family == socket.AF_INET6 and only_ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if is_unspecified(address[0]):
                request_packet_info(sock)
            bind_explained(sock, address)
        if remote is not None:
            sock.connect(remote)
    return sock


def read_error(sock: socket.socket) -> None:
    """Take an error off a socket: that a peer is gone changes nothing for the others."""
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
