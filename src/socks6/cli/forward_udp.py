"""socks6 forward --udp: datagrams to a local port carried to one host, and its answers back."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from typing_extensions import override

from socks6.cli import complain, describe
from socks6.client.association import Association
from socks6.client.association_factory import UdpPathChoice
from socks6.client.client import Client
from socks6.client.datagram_transport import RemoteAddressFilter
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram
from socks6.errors import DatagramFailed, Socks6Error
from socks6.message.address import is_unspecified
from socks6.net.datagrams.packet_info import (
    ANCILLARY_BYTES,
    destination_address,
    reply_control,
    request_packet_info,
)
from socks6.net.resolve import Resolver
from socks6.net.sockets import SocketAddress, endpoint
from socks6.net.stream import Endpoint

MAX_READS: Final = 64  # datagrams taken at a time, before others get their turn
MAX_DATAGRAM_BYTES: Final = 65536
SOCKET_BUFFER_BYTES: Final = 1 << 20
MAX_WAITING_DATAGRAMS: Final = (
    64  # datagrams of one peer that wait for its association; beyond, the oldest are dropped
)
BRIEF_SECONDS: Final = (
    30.0  # the silence of a peer that has sent but once: a resolver, with a new port each time
)
RETRY_SECONDS: Final = 1.0  # how long a peer whose association failed is not listened to


class UdpPortForwarder:
    """Gives each peer of a local port an association of its own, so that the host sees each at another port.

    `idle` is how many seconds of silence, both ways, end a peer's association, at most BRIEF_SECONDS if it has
    sent one datagram alone; 0 for never. There are at most `peers` at a time: for one more, the one that has been
    silent longest goes.
    """

    def __init__(
        self, client: Client, remote: Endpoint, *, idle: float, peers: int, path: UdpPathChoice | None = None
    ) -> None:
        self.client: Final = client
        self.remote: Final = remote
        self.path: Final = path
        self._idle = idle
        self._most = peers
        self._peers: dict[SocketAddress, _Peer] = {}  # the one that has been silent longest is first
        self._group: asyncio.TaskGroup

    async def run(self, local: Endpoint, listening: Callable[[Endpoint], None]) -> None:
        """Carry until cancelled; `listening` is told where. Raises OSError if it cannot listen there."""
        loop = asyncio.get_running_loop()
        sock = await _bound(local)
        try:
            async with asyncio.TaskGroup() as self._group:
                loop.add_reader(sock.fileno(), self._receive, sock)
                listening(endpoint(sock.getsockname()))
                await self._expire()
        finally:
            loop.remove_reader(sock.fileno())
            sock.close()

    def touch(self, peer: "_Peer", now: float) -> None:
        """Take note that a datagram of a peer's came or went: it is now the last to be ended."""
        peer.last = now
        if self._peers.pop(peer.address, None) is not None:
            self._peers[peer.address] = peer

    def forget(self, peer: "_Peer") -> None:
        """Take note that a peer's association is over."""
        if self._peers.get(peer.address) is peer:
            del self._peers[peer.address]

    def _receive(self, sock: socket.socket) -> None:
        """Hand what peers have sent to their associations."""
        now = asyncio.get_running_loop().time()
        for _ in range(MAX_READS):
            try:
                data, control, _, address = sock.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except OSError:  # nothing more; or an ICMP error about an answer, which ends nothing
                return
            peer = self._peers.get(address) or self._admit(sock, address, destination_address(control))
            self.touch(peer, now)
            peer.send(data)

    def _admit(self, sock: socket.socket, address: SocketAddress, local: bytes) -> "_Peer":
        if len(self._peers) >= self._most:
            self._end(next(iter(self._peers.values())))
        peer = self._peers[address] = _Peer(self, sock, address, local)
        peer.task = self._group.create_task(peer.run(), name="socks6 forward")
        return peer

    def _end(self, peer: "_Peer") -> None:
        self.forget(peer)
        if peer.task is not None:
            peer.task.cancel()

    async def _expire(self) -> None:
        """End the associations of peers that have been silent for too long, for ever."""
        loop = asyncio.get_running_loop()
        if not self._idle:
            await loop.create_future()
        brief = min(self._idle, BRIEF_SECONDS)
        while True:
            await asyncio.sleep(brief / 4)
            now = loop.time()
            for peer in list(self._peers.values()):
                if now - peer.last >= (brief if peer.sent <= 1 else self._idle):
                    self._end(peer)


class _Peer(DatagramReceiver):
    """One local peer and its association."""

    def __init__(
        self, forwarder: UdpPortForwarder, sock: socket.socket, address: SocketAddress, local: bytes
    ) -> None:
        """`local` is the address that the peer sends to, where there are several."""
        self.address: Final = address
        self.last = 0.0  # when a datagram came or went
        self.sent = 0
        self.task: asyncio.Task[None] | None = None
        self._forwarder = forwarder
        self._socket = sock
        self._control = reply_control(address, local)
        self._source = RemoteAddressFilter.for_remote(*forwarder.remote)
        self._association: Association | None = None
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING_DATAGRAMS)

    def send(self, data: bytes) -> None:
        """Send to the host, once there is a way. What cannot be sent is dropped, as networks do."""
        self.sent += 1
        if self._association is None:
            self._waiting.append(data)
        else:
            self._send(self._association, data)

    async def run(self) -> None:
        """Carry until the association is over."""
        forwarder = self._forwarder
        try:
            association = await forwarder.client.open_association("0.0.0.0", 0, udp=forwarder.path)  # noqa: S104 - at the proxy
            try:
                self._association = association
                association.set_receiver(self)
                while self._waiting:
                    self._send(association, self._waiting.popleft())
                await association.run()
            finally:
                association.abort()
        except (Socks6Error, OSError) as error:
            complain(f"{self.address[0]} port {self.address[1]}: {describe(error)}")
            await asyncio.sleep(RETRY_SECONDS)  # while it is remembered, it cannot ask again
        finally:
            forwarder.forget(self)

    def _send(self, association: Association, data: bytes) -> None:
        with contextlib.suppress(OSError):
            association.send_nowait(data, self._forwarder.remote)

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        self._forwarder.touch(self, asyncio.get_running_loop().time())
        for data, source in packets:
            if self._source.matches(source):
                with contextlib.suppress(OSError):  # no room, or the peer is gone: a datagram less
                    self._socket.sendmsg((data,), self._control, 0, self.address)

    @override
    def error_received(self, error: DatagramFailed) -> None:
        """Take none: nobody asked for them."""

    @override
    def ended(self, error: Socks6Error) -> None:
        """Take no note: `run` ends too."""


async def _bound(local: Endpoint) -> socket.socket:
    """Return a UDP socket at a local place. Raises OSError."""
    resolver = Resolver()
    try:
        address = (await resolver.resolve(*local))[0]
    finally:
        await resolver.aclose()
    sock = socket.socket(address.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        if is_unspecified(address.host):
            request_packet_info(sock)  # answers leave from the address that a peer sends to
        sock.bind(address.socket_address)
    except BaseException:
        sock.close()
        raise
    return sock
