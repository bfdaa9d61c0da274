"""socks6 forward --udp: datagrams to a local port carried to one host, and its answers back."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Final

from socks6.cli import complain, describe
from socks6.client.association_factory import UdpPathChoice
from socks6.client.datagram_transport import RemoteAddressFilter
from socks6.client.monitor import UpstreamMonitor
from socks6.client.upstream_channel import UpstreamChannel
from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import Socks6Error
from socks6.message.framing import NoFraming
from socks6.net.datagrams.shared import udp_socket
from socks6.net.resolve import Resolver
from socks6.net.sockets import endpoint
from socks6.net.stream import Endpoint, SocketAddress
from socks6.protocol.association import ClientAssociation
from socks6.relay.datagrams.association_relay import (
    AssociationEvents,
    AssociationRelay,
    DatagramRelay,
    best_forwarder,
)
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.relay.datagrams.forwarder import ClientPath, SlowPath

SOCKET_BUFFER_BYTES: Final = 1 << 20
MAX_WAITING_DATAGRAMS: Final = 64  # of one peer, for its association; beyond, the oldest are dropped
# of silence of a peer that has sent but once: a resolver, with a new port each time
BRIEF_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 1.0  # how long a peer whose association failed is not listened to


@dataclass
class UdpPortForwarder(SlowPath):
    """Gives each peer of a local port an association of its own, so that the host sees each at another port.

    `idle` is how many seconds of silence, both ways, end a peer's association, at most BRIEF_SECONDS if it has
    sent one datagram alone; 0 for never. There are at most `peers` at a time: for one more, the one that has been
    silent longest goes.
    """

    monitor: UpstreamMonitor
    remote: Endpoint
    _: KW_ONLY
    idle: float
    peers: int
    path: UdpPathChoice | None = None

    def __post_init__(self) -> None:
        self.relay: DatagramRelay
        self.port: ClientPort
        self._answers = RemoteAddressFilter.for_remote(*self.remote)
        self._peers: dict[SocketAddress, _Peer] = {}
        self._group: asyncio.TaskGroup

    async def run(self, local: Endpoint, listening: Callable[[Endpoint], None]) -> None:
        """Forward until cancelled; `listening` is called with the endpoint. Raises OSError if it cannot listen there."""
        sock = await _bound_socket(local)
        self.relay = DatagramRelay(forwarder=best_forwarder(), on_fault=_complain)
        self.port = self.relay.share_port(sock, self)
        try:
            async with asyncio.TaskGroup() as self._group:
                listening(endpoint(sock.getsockname()))
                await self._expire()
        finally:
            self.port.close()
            self.relay.close()

    def may_answer(self, host: str, port: int) -> bool:
        """Return whether a datagram from there may be an answer of the host's."""
        return self._answers.matches(Endpoint(host, port))

    def forget(self, peer: "_Peer") -> None:
        """Record that a peer's association is over."""
        if self._peers.get(peer.path.source) is peer:
            del self._peers[peer.path.source]

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        """Take a datagram of a peer that has no association yet."""
        peer = self._peers.get(path.source)
        if peer is None:
            if len(self._peers) >= self.peers:
                self._end(min(self._peers.values(), key=lambda peer: peer.last))
            peer = self._peers[path.source] = _Peer(self, path)
            peer.task = self._group.create_task(peer.run(), name="socks6 forward")
        peer.waiting.append(data)

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        """Nothing comes here: each association takes its own."""

    def _end(self, peer: "_Peer") -> None:
        self.forget(peer)
        if peer.task is not None:
            peer.task.cancel()

    async def _expire(self) -> None:
        """End the associations of peers that have been silent for too long, for ever."""
        loop = asyncio.get_running_loop()
        if not self.idle:
            await loop.create_future()
        brief = min(self.idle, BRIEF_SECONDS)
        while True:
            await asyncio.sleep(brief / 4)
            now = loop.time()
            for peer in list(self._peers.values()):
                if now - peer.last >= (brief if peer.sent <= 1 else self.idle):
                    self._end(peer)


class _Peer:
    """One local peer and its association."""

    def __init__(self, forwarder: UdpPortForwarder, path: ClientPath) -> None:
        self.path: Final = path
        self.waiting: Final[deque[bytes]] = deque(maxlen=MAX_WAITING_DATAGRAMS)
        self._began = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None
        self._forwarder = forwarder
        self._relay: AssociationRelay | None = None

    @property
    def last(self) -> float:
        """When a datagram last came or went."""
        return self._began if self._relay is None else self._relay.last

    @property
    def sent(self) -> int:
        """How many datagrams it has sent."""
        return len(self.waiting) if self._relay is None else self._relay.datagrams_up

    async def run(self) -> None:
        """Carry until the association is over."""
        forwarder = self._forwarder
        try:
            with forwarder.monitor.watching():
                client = forwarder.monitor.client
                association = await client.open_association("0.0.0.0", 0, udp=forwarder.path)  # noqa: S104 - at the proxy
            over = asyncio.Event()
            self._relay = AssociationRelay(
                forwarder.relay,
                ClientAssociation(NoFraming(*forwarder.remote)),
                UpstreamChannel(
                    association, may_send=lambda _host, _port: True, may_answer=forwarder.may_answer
                ),
                AssociationEvents(over=lambda _reason: over.set()),
                port=forwarder.port,
            )
            try:
                while self.waiting:
                    self._relay.on_client_miss(self.waiting.popleft(), self.path)
                await over.wait()
            finally:
                association.abort()
                await self._relay.aclose()
        except (Socks6Error, OSError) as error:
            complain(f"{self.path.source[0]} port {self.path.source[1]}: {describe(error)}")
            await asyncio.sleep(RETRY_SECONDS)  # while it is remembered, it cannot ask again
        finally:
            forwarder.forget(self)


async def _bound_socket(local: Endpoint) -> socket.socket:
    """Return a UDP socket at a local endpoint. Raises OSError."""
    address = (await Resolver().resolve(*local))[0]
    return udp_socket(address.socket_address, buffer_bytes=SOCKET_BUFFER_BYTES, only_ipv6=False)


def _complain(error: Exception) -> None:
    complain(f"forwarding datagrams: {describe(error)}")
