"""A DatagramChannel with sockets of this machine: judged, filtered, over both families."""

import asyncio
import errno
import functools
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from socks6.compat import override
from socks6.message.address import is_unspecified
from socks6.message.options import StackOption
from socks6.net.bind import unmapped
from socks6.net.datagrams.filtering import RemoteFilter
from socks6.net.datagrams.icmp import queued_reports
from socks6.net.datagrams.names import NameCache
from socks6.net.datagrams.ports import OpenedPort, PortAllocator, is_multicast
from socks6.net.datagrams.shared import read_error
from socks6.net.resolve import ResolvedAddress, literal_address
from socks6.net.stackopts.icmp_errors import collect_icmp_errors
from socks6.net.stream import (
    DatagramChannel,
    DatagramJudge,
    DatagramRoute,
    DatagramSink,
    Endpoint,
    Packet,
    ReceivedFrom,
    SocketAddress,
)

ROUTE_SECONDS: Final = 15.0
"""How long a route to a remote host, or a verdict about one, is used before policy, names and filter are asked again."""
MAX_ROUTES: Final = 1024  # of one association, each way; beyond, all are forgotten and found again
MAX_WAITING_DATAGRAMS: Final = 64  # of one association, for names, so that others' names are found too
FINAL: Final = frozenset((errno.EAGAIN, errno.EBADF, errno.EINVAL, errno.ENOBUFS))
"""Of this very datagram; other errors may be of one before."""


def send_datagram(sock: socket.socket, data: bytes, address: SocketAddress | None) -> bool:
    """Send to a remote host, None on a connected socket; return False if it did not go."""
    for _ in range(2):  # the kernel reports an earlier ICMP error instead of sending
        try:
            if address is None:
                sock.send(data)
            else:
                sock.sendto(data, address)
        except OSError as error:
            if error.errno in FINAL:
                return False
            continue
        return True
    return False


class DirectChannel(DatagramChannel):
    """The port of one association, which it owns: a socket, and one for the other family when it is needed."""

    def __init__(
        self,
        port: OpenedPort,
        *,
        bound: Endpoint,
        ports: PortAllocator,
        names: NameCache,
        remotes: RemoteFilter,
        judge: DatagramJudge,
        wanted: tuple[StackOption, ...] = (),
        options: tuple[StackOption, ...] = (),
        reports: bool = False,
        holder: Hashable = None,
    ) -> None:
        """`wanted` is set on sockets, `options` is in force on them; `reports` collects ICMP errors."""
        self._loop = asyncio.get_running_loop()
        self._port = port
        self.bound = bound
        self._allocator = ports
        self._names = names
        self._holder = holder  # whose share of lookups its names take
        self._remotes = remotes
        self._judge = judge
        self._wanted = wanted
        self.options = options
        self._reports = reports and collect_icmp_errors(port.sock)
        self._sockets: dict[int, socket.socket | None] = {port.sock.family: port.sock}  # None: cannot be had
        self._routes: dict[tuple[str, int], DatagramRoute] = {}
        self._sources: dict[tuple[str, int], float] = {}
        self._waiting = 0  # datagrams whose names are being looked up
        self._sink: DatagramSink | None = None
        self._watch: Callable[[socket.socket], None] = _nothing
        self._closed = False
        self.dropped = 0  # datagrams for remote hosts that did not go

    @override
    def start(self, sink: DatagramSink, watch: Callable[[socket.socket], None]) -> None:
        self._sink = sink
        self._watch = watch
        for sock in self.sockets:
            watch(sock)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that there are."""
        return tuple(sock for sock in self._sockets.values() if sock is not None)

    @override
    def send(self, packets: Sequence[Packet]) -> None:
        now = self._loop.time()
        for data, host, port in packets:
            route = self._routes.get((host, port))
            if route is None or now >= route.until:
                route = self._find(data, host, port, now)
            if route is not None:
                self._transmit(data, route)

    @override
    def route(self, host: str, port: int) -> DatagramRoute | None:
        return self._routes.get((host, port))

    def admitted_until(self, source: tuple[str, int], now: float) -> float:
        """Return until when an address may send to the client; 0 if it may not."""
        until = self._sources.get(source)
        if until is not None and now < until:
            return until
        host, port = source
        admitted = self._remotes.admitted_until(host, port, now)
        if not (admitted and self._judge.judge_source(host, port)):
            return 0.0
        if len(self._sources) >= MAX_ROUTES:
            self._sources.clear()
        self._sources[source] = until = min(now + ROUTE_SECONDS, admitted)
        return until

    @override
    def receive(self, data: bytes, source: SocketAddress) -> ReceivedFrom | None:
        host, port = source[0].partition("%")[0], source[1]  # clients see no scope
        until = self.admitted_until((host, port), self._loop.time())
        return ReceivedFrom(data, host, port, source, until) if until else None

    @override
    def read_error_queue(self, sock: socket.socket) -> None:
        if not self._reports:
            read_error(sock)
            return
        for report in queued_reports(sock):
            if self._sink is not None:
                self._sink.error_reported(report)

    @override
    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._sink = None
        self._port.release()
        for sock in self.sockets:
            sock.close()
        self._sockets = dict.fromkeys((socket.AF_INET, socket.AF_INET6))

    # Towards remote hosts.

    def _find(self, data: bytes, host: str, port: int, now: float) -> DatagramRoute | None:
        """Return a route to a host; None where there is none, or not yet: the datagram then follows by itself."""
        self._routes.pop((host, port), None)
        if self._closed:
            return None
        literal = literal_address(unmapped(host), port)
        if literal is not None:
            return self._route_to(host, port, (literal,), now)
        if not self._judge.judge_name(host, port):
            self.dropped += 1
            return None
        addresses = self._names.known(host, now)
        if addresses is None:
            self._look_up(data, host, port)
            return None
        return self._route_to(host, port, addresses, now)

    def _look_up(self, data: bytes, host: str, port: int) -> None:
        if self._waiting >= MAX_WAITING_DATAGRAMS:
            self.dropped += 1
            return
        self._waiting += 1
        self._names.look_up(host, functools.partial(self._found, data, host, port), holder=self._holder)

    def _found(self, data: bytes, host: str, port: int, addresses: tuple[ResolvedAddress, ...]) -> None:
        self._waiting -= 1
        if self._closed:
            return
        route = self._route_to(host, port, addresses, self._loop.time())
        if route is not None:
            self._transmit(data, route)

    def _route_to(
        self, host: str, port: int, addresses: Sequence[ResolvedAddress], now: float
    ) -> DatagramRoute | None:
        for address in addresses:
            sock = self._socket_for(address, host, port)
            if sock is None:
                continue
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            until = now + min(ROUTE_SECONDS, self._remotes.renewal)
            route = self._routes[host, port] = DatagramRoute(sock, address.at(port).socket_address, until)
            self._remotes.sent_to(address.host, port, now)
            return route
        self.dropped += 1
        return None

    def _socket_for(self, address: ResolvedAddress, host: str, port: int) -> socket.socket | None:
        """Return the socket for an address that may be reached; None for all others."""
        if port == 0 or is_unspecified(address.host):
            return None
        if not self._judge.judge_address(host, address.host, port):
            return None
        if address.family not in self._sockets:
            self._sockets[address.family] = self._open_other_family()
        return self._sockets[address.family]

    def _open_other_family(self) -> socket.socket | None:
        if is_multicast(self.bound.host):
            return None  # a group is joined in its own family
        sock = self._allocator.open_other_family(self._port.sock, self._wanted)
        if sock is not None:
            if self._reports:
                collect_icmp_errors(sock)
            if self._sink is not None:
                self._watch(sock)
        return sock

    def _transmit(self, data: bytes, route: DatagramRoute) -> None:
        if not send_datagram(route.sock, data, route.address):
            self.dropped += 1


def _nothing(sock: socket.socket) -> None:
    """Do nothing: the channel has not been started."""
