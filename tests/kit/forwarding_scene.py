"""A forwarder with one association, over loopback sockets: what is sent is there at once, so that no test waits."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from typing_extensions import override

from socks6.message.datagrams import DatagramPrefix
from socks6.message.dialect import DRAFT_12, DatagramLayout, Dialect
from socks6.message.framing import Framing, NoFraming, Socks6Framing
from socks6.net.datagrams.packet_info import request_packet_info
from socks6.net.stream import DatagramRoute, SocketAddress
from socks6.relay.datagrams.forwarder import (
    AssociationEntry,
    ClientPath,
    DatagramForwarder,
    FiveTuple,
    SlowPath,
)
from tests.kit.datagram_forwarders import forwarder_named

ID = 0x0102030405060708
HOST = "192.0.2.5"  # that an upstream is told of
LATER = 100.0  # when entries end, unless told


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that never waits."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


def everything(sock: socket.socket) -> list[bytes]:
    """Return what has come to a socket."""
    found = []
    while True:
        try:
            found.append(sock.recv(65536))
        except BlockingIOError:
            return found


@dataclass(kw_only=True)
class Scene(SlowPath):
    """A client that sends to a port; an association with a socket; a remote host. Knows what was handed up.

    `framing` is the client's, `upstream` what is on the way between the association's socket and the remote host.
    """

    forwarder: DatagramForwarder
    framing: Framing
    upstream: Framing
    port: socket.socket
    client: socket.socket
    far: socket.socket
    remote: socket.socket
    up: list[tuple[bytes, ClientPath]] = field(default_factory=list)
    down: list[tuple[bytes, SocketAddress]] = field(default_factory=list)
    entry: AssociationEntry = field(init=False)

    def __post_init__(self) -> None:
        self.entry = self.forwarder.open(self.framing, self.upstream, self)

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        self.up.append((data, path))

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        self.down.append((data, source))

    @property
    def path(self) -> FiveTuple:
        """Return the client's path."""
        return FiveTuple(self.port, self.client.getsockname(), b"")

    def prefix(self, host: str | None = None, port: int | None = None, number: int = ID) -> DatagramPrefix:
        """Return what stands before data for the remote host, or another, and from it."""
        where = self.remote.getsockname()
        return self.framed(number).prefix(host or where[0], where[1] if port is None else port)

    def framed(self, number: int = ID) -> Framing:
        """Return the framing of another association."""
        if isinstance(self.framing, Socks6Framing):
            return self.framing._replace(association_id=number)
        return self.framing

    def message(
        self, data: bytes, host: str | None = None, port: int | None = None, number: int = ID
    ) -> bytes:
        """Return a message for the remote host, or another."""
        message = self.framing.build(self.prefix(host, port, number), data)
        assert message is not None
        return message

    def beyond(self, data: bytes, host: str = HOST, port: int = 53) -> bytes:
        """Return data as they are between the association's socket and the remote host."""
        message = self.upstream.build(self.upstream.prefix(host, port), data)
        assert message is not None
        return message

    def key(self, message: bytes) -> bytes:
        """Return the key of a message."""
        header = self.framing.parse(message)
        assert header is not None
        return header[0]

    def bind_client(self) -> None:
        """Make the client's path the association's."""
        self.entry.bind_client(self.path, self.framing, [])

    def allow(self, *, until: float = LATER) -> None:
        """Let datagrams go to the remote host, and come from there."""
        where = self.remote.getsockname()
        key = self.key(self.message(b""))
        self.entry.add_route(key, DatagramRoute(self.far, where, until, self.upstream.prefix(HOST, 53)))
        answer = self.upstream.parse(self.beyond(b""))
        assert answer is not None
        self.entry.add_source(answer[0] or where, self.prefix(), until)

    def send(self, *packets: bytes, sock: socket.socket | None = None) -> None:
        """Have the client, or another, send."""
        for packet in packets:
            (sock or self.client).sendto(packet, self.port.getsockname())

    def answer(self, *packets: bytes, sock: socket.socket | None = None) -> None:
        """Have the remote host, or another, send."""
        for packet in packets:
            (sock or self.remote).sendto(packet, self.far.getsockname())

    def forward_from_clients(self, now: float = 0.0) -> None:
        """Forward what clients have sent."""
        forwarder = self.forwarder
        match self.framing:
            case Socks6Framing():
                forwarder.forward_port(self.port, now)
            case NoFraming():
                forwarder.forward_port(self.port, now, self)
            case _:
                handle = forwarder.handle(self.entry, self.port, from_client=True)
                forwarder.forward_sockets([handle], now)

    def forward_from_remotes(self, now: float = 0.0) -> None:
        """Forward what remote hosts have sent."""
        self.forwarder.forward_sockets([self.forwarder.handle(self.entry, self.far)], now)


@contextmanager
def scene(
    forwarder: str,
    *,
    dialect: Dialect = DRAFT_12,
    layout: DatagramLayout | None = None,
    framing: Framing | None = None,
    upstream: Framing | None = None,
    host: str = "127.0.0.1",
    local_addresses: bool = False,
) -> Iterator[Scene]:
    """Set a scene; all sockets are of `host`'s family."""
    with ExitStack() as held:
        port, client, far, remote = (held.enter_context(udp_socket(host)) for _ in range(4))
        if local_addresses:
            request_packet_info(port)
        made = forwarder_named(forwarder)()
        for sock in (port, far):
            made.prepare(sock)
        set_up = Scene(
            forwarder=made,
            framing=framing or Socks6Framing(ID, dialect, layout or dialect.datagram_layout),
            upstream=upstream or NoFraming(),
            port=port,
            client=client,
            far=far,
            remote=remote,
        )
        held.callback(set_up.entry.close)
        yield set_up


@contextmanager
def running(forwarder: str, **settings: object) -> Iterator[Scene]:
    """Set a scene in which datagrams go back and forth already."""
    with scene(forwarder, **settings) as made:  # type: ignore[arg-type] # named as those of `scene`
        made.bind_client()
        made.allow()
        yield made
