"""Joins associations with their clients: the slow path of each, and the sockets that their forwarders read."""

import asyncio
import functools
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.framing import Framing
from socks6.message.options import StackOption
from socks6.net.datagrams.packet_info import Control, reply_control
from socks6.net.datagrams.poller import FAILED, READABLE, DatagramPoller
from socks6.net.datagrams.shared import read_error, udp_socket
from socks6.net.scopes import on_failure
from socks6.net.stream import DatagramChannel, DatagramReport, DatagramSink, Packet, SocketAddress
from socks6.protocol.association import INITIAL_SECONDS, AssociationState, ClientAssociation, opens_only
from socks6.relay.bandwidth import DatagramBudget, Meter
from socks6.relay.datagrams.client_ports import ClientPort, UdpClientPort, client_control
from socks6.relay.datagrams.forwarder import (
    AssociationEntry,
    ClientPath,
    DatagramForwarder,
    PythonForwarder,
    SlowPath,
    SocketHandle,
)
from socks6.relay.idle import IdleMonitor, Watched

STREAM: Final = "stream"  # the path of datagrams that come on the TCP connection itself
MAX_PREFIXES: Final = 1024  # remembered for one association; beyond, the oldest are forgotten


def best_forwarder() -> DatagramForwarder:
    """Return the forwarder in C, or where it was not compiled the one in Python."""
    try:
        from socks6.relay.datagrams.compiled import CompiledForwarder  # noqa: PLC0415 - may not be there
    except ImportError:
        return PythonForwarder()
    return CompiledForwarder()


def random_association_id() -> int:
    """Return an association id that cannot be guessed (§ Handling UDP ASSOCIATE)."""
    return secrets.randbits(64)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationEvents:
    """Callbacks for what happens to an association."""

    over: Callable[[str], None]  # ends it, for this reason
    confirmed: Callable[[], None] = lambda: None  # the association has a Confirmation to send
    lost: Callable[[str], None] = lambda _reason: None  # its client's path is gone, mostly by its own doing
    to_stream: Callable[[bytes], None] = lambda _message: None  # sends on the client's stream, or drops it


class _Sockets:
    """Sockets of associations that one forwarder reads: how many, and those that are readable."""

    __slots__ = ("number", "ready")

    def __init__(self) -> None:
        self.number = 0
        self.ready: list[SocketHandle] = []


class DatagramRelay:
    """What the associations of one event loop share. Is to be made within the loop.

    `initial_timeout` is for a client's first datagram, `idle_timeout` how long there may be silence in both directions,
    0 for ever; both in seconds.
    """

    def __init__(
        self,
        *,
        initial_timeout: float = INITIAL_SECONDS,
        idle_timeout: float = 0.0,
        on_fault: Callable[[Exception], None],
        forwarder: DatagramForwarder,
        new_id: Callable[[], int] = random_association_id,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.initial_timeout: Final = initial_timeout
        self.new_id: Final = new_id
        self.forwarder: Final[DatagramForwarder] = forwarder
        self.poller: Final = DatagramPoller(on_fault)
        self._sockets: dict[DatagramForwarder, _Sockets] = {}  # of associations that are open
        self._forwarders: dict[socket.socket, DatagramForwarder] = {}  # the same, by the socket
        self.poller.on_turn_end(self._forward_sockets)
        self.watch: Final = IdleMonitor(idle_timeout=idle_timeout, fin_timeout=0)

    def open_port(self, host: str, port: int) -> ClientPort:
        """Take the datagrams of SOCKS 6 clients at an address. Raises OSError."""
        return self.share_port(udp_socket((host, port)))

    def share_port(self, sock: socket.socket, strangers: SlowPath | None = None) -> ClientPort:
        """Take the datagrams of many clients at a socket, which is the port's now; see `forward_port`."""
        with on_failure(sock.close):
            self.forwarder.prepare(sock)
            self.poller.add(sock.fileno(), functools.partial(self._on_port_ready, sock, strangers))
        return UdpClientPort(sock, self.forwarder, self.forget)

    def own_port(self, sock: socket.socket) -> ClientPort:
        """Return a port that is to be one association's alone, which reads it. It owns the socket."""
        return UdpClientPort(sock, self.forwarder, self.forget)

    def watch_socket(
        self,
        forwarder: DatagramForwarder,
        entry: AssociationEntry,
        sock: socket.socket,
        on_error: Callable[[socket.socket], None],
        *,
        from_client: bool = False,
    ) -> None:
        """Forward what comes to a socket that is one association's alone, until `forget`. Raises OSError."""
        forwarder.prepare(sock)
        sockets = self._sockets.get(forwarder) or _Sockets()
        handle = forwarder.handle(entry, sock, from_client=from_client)
        reader = functools.partial(self._on_socket_ready, sockets.ready, handle, on_error, sock)
        self.poller.collect(sock.fileno(), sockets.ready, handle, reader)
        sockets.number += 1
        self._sockets[forwarder] = sockets
        self._forwarders[sock] = forwarder

    def forget(self, sock: socket.socket) -> None:
        """Read from a socket no more; to be called before it is closed. Idempotent."""
        self.poller.remove(sock.fileno())
        forwarder = self._forwarders.pop(sock, None)
        if forwarder is None:
            return
        self._sockets[forwarder].number -= 1
        if not self._sockets[forwarder].number:  # each QUIC connection has a forwarder, which goes with it
            del self._sockets[forwarder]

    def close(self) -> None:
        """Free what is shared; to be called when no association is left. Idempotent."""
        self.watch.close()
        self.poller.close()

    def _on_port_ready(self, sock: socket.socket, strangers: SlowPath | None, _: int, events: int) -> None:
        if events & FAILED:
            read_error(sock)
        self.forwarder.forward_port(sock, self._loop.time(), strangers)

    def _on_socket_ready(
        self,
        ready: list[SocketHandle],
        handle: SocketHandle,
        on_error: Callable[[socket.socket], None],
        sock: socket.socket,
        _: int,
        events: int,
    ) -> None:
        if events & FAILED:
            on_error(sock)
        if events & READABLE:
            ready.append(handle)

    def _forward_sockets(self) -> None:
        """Forward from all sockets that are readable, so that what goes to one client port goes together."""
        for forwarder, sockets in list(self._sockets.items()):
            if sockets.ready:
                ready = sockets.ready[:]
                sockets.ready.clear()
                forwarder.forward_sockets(ready, self._loop.time())


class AssociationRelay(DatagramSink, SlowPath, Watched):
    """One association: the slow path between its client and its port at the outbound, which it owns.

    Where the client and the channel use UDP, the forwarder does the rest.
    """

    def __init__(
        self,
        relay: DatagramRelay,
        association: ClientAssociation,
        channel: DatagramChannel,
        events: AssociationEvents,
        *,
        port: ClientPort | None,
        client_host: str = "",
        options: tuple[StackOption, ...] = (),
        user: str = "",
    ) -> None:
        """`port` is where the client may send over UDP. Raises OSError.

        With a `client_host` the port is this association's alone, and its client sends from there. A path where
        clients have certificates must be the same `user`'s. `options` are what the client wants of what it receives.
        """
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._association = association
        self._channel = channel
        self._events = events
        self._port = port
        self._client_host = client_host.partition("%")[0]
        self._options = options
        self._path: ClientPath | None = None  # None: the stream
        self._control: Control = []
        self._user = user
        self._forwarder = relay.forwarder if port is None else port.forwarder
        self._entry = self._forwarder.open(association.framing, channel.framing, self)
        self._watched: list[socket.socket] = []
        self._prefix = functools.lru_cache(MAX_PREFIXES)(
            lambda host, port: association.framing.prefix(host, port)  # noqa: PLW0108 - another one by then
        )
        self._host_of = functools.lru_cache(MAX_PREFIXES)(
            lambda key: association.framing.host_of(key)  # noqa: PLW0108 - as above
        )
        self._up = [0, 0]  # datagrams and bytes that took the slow path
        self._down = [0, 0]
        self._last = 0.0
        self.dropped = 0
        self._meters: tuple[Meter, Meter] | None = (
            None  # of the user, if its bandwidth or its quota is limited
        )
        self._budgets: tuple[DatagramBudget, DatagramBudget] | None = None
        self.seen = 0
        self.quiet_since = 0.0
        if port is not None and client_host:
            relay.watch_socket(self._forwarder, self._entry, port.sock, read_error, from_client=True)
            channel.start(self, self._watch)
        relay.watch.add(self)

    @property
    def bytes_up(self) -> int:
        """How many bytes of data went to remote hosts."""
        return self._up[1] + self._entry.counts().up_bytes

    @property
    def bytes_down(self) -> int:
        """How many bytes of data came from them."""
        return self._down[1] + self._entry.counts().down_bytes

    def limit(self, up: Meter, down: Meter) -> None:
        """Relay no more than these allow, from now on: what is beyond is dropped."""
        self._meters = up, down
        self._budgets = up.open_budget(), down.open_budget()
        self._entry.limit(*self._budgets)

    @property
    def datagrams_up(self) -> int:
        """How many datagrams went to remote hosts."""
        return self._up[0] + self._entry.counts().up_datagrams

    @property
    def last(self) -> float:
        """When a datagram last came or went, on the loop's clock; 0 for never."""
        return max(self._last, self._entry.counts().last)

    @override
    def activity(self) -> int:
        counts = self._entry.counts()
        return self._up[0] + self._down[0] + counts.up_datagrams + counts.down_datagrams

    @override
    def half_closed(self) -> bool:
        return False

    @override
    def expire(self, reason: str) -> None:
        self._events.over(reason)

    async def aclose(self) -> None:
        """End the association. Idempotent."""
        self._association.close()
        if self._path is not None:
            self._path.leave(self._events.lost)
        self._relay.watch.remove(self)
        self._entry.close()
        if self._meters is not None and self._budgets is not None:
            for meter, budget in zip(self._meters, self._budgets, strict=True):
                meter.close_budget(budget)
        if self._port is not None and self._client_host:
            self._relay.forget(self._port.sock)
        for sock in self._watched:
            self._relay.forget(sock)
        await self._channel.aclose()

    # From the client.

    def from_stream(self, framing: Framing, data: bytes, host: str, port: int) -> None:
        """Take a datagram that came on the stream: by the association's path, where the stream is a part of that."""
        path = self._path
        if self._admit(STREAM if path is None or not path.shares_stream else path, framing):
            self._relay_up(data, host, port)

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        header = self._association.framing.parse(data)
        if header is None or self._port is None or path.port is not self._port.sock:
            return
        key, start, end = header
        try:
            host, port, framing = self._host_of(key)
        except DecodeError:
            return
        if not self._admit(path, framing):
            return
        self._relay_up(data[start:end], host, port)
        route = self._channel.route(host, port)
        if route is not None:
            self._entry.add_route(key, route)

    def _admit(self, path: ClientPath | str, framing: Framing) -> bool:
        association = self._association
        fresh = association.state is AssociationState.AWAITING_FIRST
        joins = not fresh or isinstance(path, str) or self._joins(path)
        if not joins or not association.admit(path, framing):
            self.dropped += 1
            return False
        if fresh:
            self._begin(path)
        return True

    def _joins(self, path: ClientPath) -> bool:
        if self._client_host and path.source[0].partition("%")[0] != self._client_host:
            return False
        return path.join(self._user, self._events.lost)

    def _begin(self, path: ClientPath | str) -> None:
        """Relay from now on: the first datagram has shown the client's path."""
        self._events.confirmed()
        if not isinstance(path, str):
            self._path = path
            self._control = reply_control(path.source, path.local) + client_control(
                self._options, path.port.family
            )
            self._entry.bind_client(path, self._association.framing, self._control)
        if not self._client_host:
            self._channel.start(self, self._watch)

    def _watch(self, sock: socket.socket) -> None:
        self._relay.watch_socket(self._forwarder, self._entry, sock, self._channel.read_error_queue)
        self._watched.append(sock)

    def _relay_up(self, data: bytes, host: str, port: int) -> None:
        if opens_only(host, port, len(data)):
            return
        if self._budgets is not None and not self._budgets[0].take(len(data)):
            return
        self._last = self._loop.time()
        self._up[0] += 1
        self._up[1] += len(data)
        self._channel.send(((data, host, port),))

    # From remote hosts.

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        received = self._channel.receive(data, source)
        if received is None:
            return
        if self._path is not None:
            prefix = self._association.framing.prefix(received.host, received.port)
            self._entry.add_source(received.key, prefix, received.until)
        self._relay_down(received.data, received.host, received.port)

    @override
    def datagrams_received(self, packets: Sequence[Packet]) -> None:
        for data, host, port in packets:
            self._relay_down(data, host, port)

    @override
    def error_reported(self, report: DatagramReport) -> None:
        message = self._association.error(report.host, report.port, report.code, report.reporter)
        if message is not None:
            self._deliver(message)

    @override
    def channel_closed(self, reason: str) -> None:
        self._events.over(reason)

    def _relay_down(self, data: bytes, host: str, port: int) -> None:
        if self._association.path is None:
            return  # it came before the client has sent anything
        if self._budgets is not None and not self._budgets[1].take(len(data)):
            return
        message = self._association.framing.build(self._prefix(host, port), data)
        if message is None:
            self.dropped += 1
            return
        self._last = self._loop.time()
        self._down[0] += 1
        self._down[1] += len(data)
        self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        path = self._path
        if path is not None and path.send(message, self._control):
            return
        if path is None or path.shares_stream:
            self._events.to_stream(message)
        else:
            self.dropped += 1
