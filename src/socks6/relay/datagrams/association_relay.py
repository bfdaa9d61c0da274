"""The clients' UDP ports, and what joins an association with the port that it has at the outbound."""

import asyncio
import functools
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from typing_extensions import override

from socks6.errors import DecodeError
from socks6.message.datagrams import (
    Datagram,
    DatagramPrefix,
    build_datagram,
    decode_destination,
    parse_header,
)
from socks6.message.dialect import DatagramLayout
from socks6.message.options import StackOption
from socks6.net.datagrams.channel import DirectChannel
from socks6.net.datagrams.packet_info import Control, reply_control
from socks6.net.datagrams.poller import FAILED, READABLE, DatagramPoller
from socks6.net.datagrams.shared import udp_socket
from socks6.net.sockets import SocketAddress
from socks6.net.stream import DatagramChannel, DatagramReport, DatagramSink, Packet
from socks6.protocol.association import INITIAL_SECONDS, AssociationState, ServerAssociation, opens_only
from socks6.relay.datagrams.control import client_control
from socks6.relay.datagrams.forwarder import (
    AssociationEntry,
    ClientPath,
    DatagramForwarder,
    PythonForwarder,
    RemoteSocket,
    SlowPath,
)
from socks6.relay.idle import IdleMonitor, Watched

STREAM: Final = "stream"  # the path of datagrams that come on the TCP connection itself
MAX_PREFIXES: Final = 1024  # remembered for one association; beyond, all are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationSettings:
    """How long associations are waited for. Times are seconds."""

    initial_timeout: float = INITIAL_SECONDS  # for the first datagram
    idle_timeout: float = 7440.0  # of silence in both directions, as for streams; 0 for never


def best_forwarder() -> DatagramForwarder:
    """Return the mover in C, or where it was not compiled the one in Python."""
    try:
        from socks6.relay.datagrams.compiled import CompiledForwarder  # noqa: PLC0415 - may not be there
    except ImportError:
        return PythonForwarder()
    return CompiledForwarder()


def random_association_id() -> int:
    """Return an association's id that nobody can guess (§ Handling UDP ASSOCIATE)."""
    return secrets.randbits(64)


class ClientPort(Protocol):
    """A UDP socket that clients send to, beside a TCP listener."""

    @property
    def sock(self) -> socket.socket:
        """The socket."""

    @property
    def forwarder(self) -> DatagramForwarder:
        """Who moves what comes there."""

    def close(self) -> None:
        """Take nothing any more. Idempotent."""


class UdpClientPort(ClientPort):
    """A port for datagrams in clear text."""

    def __init__(self, sock: socket.socket, plane: "DatagramRelay") -> None:
        self._sock = sock
        self._relay = plane

    @property
    @override
    def sock(self) -> socket.socket:
        return self._sock

    @property
    @override
    def forwarder(self) -> DatagramForwarder:
        return self._relay.forwarder

    @override
    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._relay.forget(self._sock)
            self._sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationEvents:
    """Whom a joint tells of what happens to it."""

    to_stream: Callable[
        [bytes], None
    ]  # takes a Datagram or Error message for the client's stream, or drops it
    confirmed: Callable[[], None]  # the association has a Confirmation to send
    over: Callable[[str], None]  # it is to be closed: why
    lost: Callable[
        [str], None
    ]  # likewise, since its client's path is no more, mostly by the client's own doing


class RemoteSockets:
    """The sockets that one mover reads from remote hosts: how many, and those that have something."""

    __slots__ = ("number", "ready")

    def __init__(self) -> None:
        self.number = 0
        self.ready: list[RemoteSocket] = []


class DatagramRelay:
    """What the associations of one event loop share. Is to be made within the loop."""

    def __init__(
        self,
        *,
        settings: AssociationSettings | None = None,
        on_fault: Callable[[Exception], None],
        forwarder: DatagramForwarder,
        new_id: Callable[[], int] = random_association_id,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        settings = settings or AssociationSettings()
        self.initial_timeout: Final = settings.initial_timeout
        self.new_id: Final = new_id
        self.forwarder: Final[DatagramForwarder] = forwarder
        self.poller: Final = DatagramPoller(on_fault)
        self._remote_sockets: dict[
            DatagramForwarder, RemoteSockets
        ] = {}  # of associations that are open, by who moves what comes to them
        self._forwarders: dict[socket.socket, DatagramForwarder] = {}  # the same, by the socket
        self.poller.on_turn_end(self._forward_from_remotes)
        self.watch: Final = IdleMonitor(idle_timeout=settings.idle_timeout, fin_timeout=0)

    def open_port(self, host: str, port: int) -> ClientPort:
        """Take clients' datagrams at an address. Raises OSError."""
        sock = udp_socket(host, port)
        try:
            self.forwarder.prepare(sock)
            self.poller.add(sock.fileno(), functools.partial(self._on_client_ready, sock))
        except BaseException:
            sock.close()
            raise
        return UdpClientPort(sock, self)

    def watch_remote(
        self,
        forwarder: DatagramForwarder,
        entry: AssociationEntry,
        channel: DirectChannel,
        sock: socket.socket,
    ) -> None:
        """Move what remote hosts send to a lane's socket."""
        forwarder.prepare(sock)
        remote_sockets = self._remote_sockets.get(forwarder) or RemoteSockets()
        end = forwarder.remote_socket(entry, sock)
        reader = functools.partial(self._on_remote_ready, remote_sockets.ready, end, channel, sock)
        self.poller.collect(sock.fileno(), remote_sockets.ready, end, reader)
        remote_sockets.number += 1
        self._remote_sockets[forwarder] = remote_sockets
        self._forwarders[sock] = forwarder

    def forget(self, sock: socket.socket) -> None:
        """Read from a socket no more; to be called before it is closed. Idempotent."""
        self.poller.remove(sock.fileno())
        forwarder = self._forwarders.pop(sock, None)
        if forwarder is None:
            return
        self._remote_sockets[forwarder].number -= 1
        if not self._remote_sockets[
            forwarder
        ].number:  # each QUIC connection has a mover of its own, and goes with it
            del self._remote_sockets[forwarder]

    def close(self) -> None:
        """Free what is shared; to be called when no joint is left. Idempotent."""
        self.watch.close()
        self.poller.close()

    def _on_client_ready(self, sock: socket.socket, _: int, events: int) -> None:
        if events & FAILED:
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # a client that is gone: no news here
        self.forwarder.forward_from_clients(sock, self._loop.time())

    def _on_remote_ready(
        self,
        ready: list[RemoteSocket],
        end: RemoteSocket,
        channel: DirectChannel,
        sock: socket.socket,
        _: int,
        events: int,
    ) -> None:
        if events & FAILED:
            channel.read_error_queue(sock)
        if events & READABLE:
            ready.append(end)

    def _forward_from_remotes(self) -> None:
        """Move what came to all sockets that have something, so that what goes to one client port goes together."""
        for forwarder, remote_sockets in list(self._remote_sockets.items()):
            if remote_sockets.ready:
                ready = remote_sockets.ready[:]
                remote_sockets.ready.clear()
                forwarder.forward_from_remotes(ready, self._loop.time())


class AssociationRelay(DatagramSink, SlowPath, Watched):
    """One association, and its port at the outbound.

    With a direct outbound and a client that sends over UDP, the mover takes over what goes back and forth; else
    all passes here. Owns the channel.
    """

    def __init__(
        self,
        plane: DatagramRelay,
        association: ServerAssociation,
        channel: DatagramChannel,
        events: AssociationEvents,
        *,
        port: ClientPort | None,
        options: tuple[StackOption, ...] = (),
        user: str = "",
    ) -> None:
        """`port` is where the client may send over UDP; `options` are what it wants of what it receives there.

        A path where clients have certificates must be the same `user`'s.
        """
        self._relay = plane
        self._association = association
        self._channel = channel
        self._events = events
        self._port = port
        self._options = options
        self._path: ClientPath | None = None  # None: the stream
        self._control: Control = []
        self._user = user
        self._forwarder = plane.forwarder if port is None else port.forwarder
        self._entry = self._forwarder.open(association.id, association.dialect, self)
        self._fast: DirectChannel | None = None
        self._prefixes: dict[tuple[str, int], DatagramPrefix] = {}
        self._up = [0, 0]  # datagrams and bytes that passed here
        self._down = [0, 0]
        self.dropped = 0
        self.seen = 0
        self.quiet_since = 0.0
        plane.watch.add(self)

    # What there is to know.

    @property
    def bytes_up(self) -> int:
        """How many bytes of data went to remote hosts."""
        return self._up[1] + self._entry.up_bytes

    @property
    def bytes_down(self) -> int:
        """How many bytes of data came from them."""
        return self._down[1] + self._entry.down_bytes

    @override
    def activity(self) -> int:
        entry = self._entry
        return self._up[0] + self._down[0] + entry.up_datagrams + entry.down_datagrams

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
        if self._fast is not None:
            for sock in self._fast.sockets:
                self._relay.forget(sock)
        await self._channel.aclose()

    # From the client.

    def from_stream(self, message: Datagram, layout: DatagramLayout) -> None:
        """Take a message that came on the stream."""
        if self._admit(message.association_id, STREAM, layout):
            self._relay_up(message.data, message.host, message.port)

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        association = self._association
        header = parse_header(data, association.dialect, association.layout)
        if header is None or self._port is None or path.port is not self._port.sock:
            return
        number, key, start, end = header
        try:
            host, port, layout = decode_destination(key, association.dialect, association.layout)
        except DecodeError:
            return
        if not self._admit(number, path, layout):
            return
        self._relay_up(data[start:end], host, port)
        route = self._fast.route(host, port) if self._fast is not None else None
        if route is not None:
            self._entry.add_route(key, route.sock, route.address, route.until)

    def _admit(self, number: int, path: ClientPath | str, layout: DatagramLayout) -> bool:
        association = self._association
        fresh = association.state is AssociationState.AWAITING_FIRST
        joins = not fresh or isinstance(path, str) or path.join(self._user, self._events.lost)
        if not joins or not association.admit(number, path, layout):
            self.dropped += 1
            return False
        if fresh:
            self._begin(path)
        return True

    def _begin(self, path: ClientPath | str) -> None:
        """Relay from now on: the first datagram has shown the way."""
        self._events.confirmed()
        if not isinstance(path, str):
            self._path = path
            self._control = reply_control(path.source, path.local) + client_control(
                self._options, path.port.family
            )
            self._entry.bind_client(path, self._association.layout, self._control)
            if isinstance(self._channel, DirectChannel):
                self._fast = channel = self._channel
                channel.start_forwarded(
                    self, functools.partial(self._relay.watch_remote, self._forwarder, self._entry, channel)
                )
                return
        else:
            self._entry.close()  # what comes over UDP is another's
        self._channel.start(self)

    def _relay_up(self, data: bytes, host: str, port: int) -> None:
        if opens_only(host, port, len(data)):
            return
        self._up[0] += 1
        self._up[1] += len(data)
        self._channel.send(((data, host, port),))

    # From remote hosts.

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        if self._fast is None:
            return
        host, port = source[0].partition("%")[0], source[1]
        until = self._fast.admitted_until((host, port), asyncio.get_running_loop().time())
        if until:
            self._entry.add_source(source, self._association.prefix(host, port), until)
            self._relay_down(data, host, port)

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
        prefix = self._prefixes.get((host, port))
        if prefix is None:
            if len(self._prefixes) >= MAX_PREFIXES:
                self._prefixes.clear()
            prefix = self._prefixes[host, port] = self._association.prefix(host, port)
        message = build_datagram(prefix, data)
        if message is None:
            self.dropped += 1
            return
        self._down[0] += 1
        self._down[1] += len(data)
        self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        if self._path is None:
            self._events.to_stream(message)
        elif not self._path.send(message, self._control):
            self.dropped += 1
