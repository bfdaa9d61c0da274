"""The forwarder in C behind the interface of `forwarder`; importing this fails where it was not compiled."""

import secrets
import socket
from struct import Struct
from typing import Final

from socks6.compat import override
from socks6.message.datagrams import DatagramPrefix
from socks6.message.framing import Framing
from socks6.net.datagrams.packet_info import Control
from socks6.net.datagrams.segments import ask_for_segments
from socks6.net.stream import DatagramRoute, SocketAddress
from socks6.relay.bandwidth import DatagramBudget
from socks6.relay.datagrams import _forwarder
from socks6.relay.datagrams.forwarder import (
    AssociationEntry,
    ClientPath,
    Counts,
    DatagramForwarder,
    FiveTuple,
    SlowPath,
    SocketHandle,
)

SOCKADDR_IN: Final = Struct("=H2s4s8x")
SOCKADDR_IN6: Final = Struct("=H2s4x16sI")


class CompiledForwarder(DatagramForwarder):
    """The forwarder in C."""

    def __init__(self) -> None:
        self._core = _forwarder.Forwarder(secrets.randbits(64))

    @property
    @override
    def dropped(self) -> int:
        return self._core.dropped

    @override
    def open(self, client: Framing, remote: Framing, owner: SlowPath) -> "CompiledEntry":
        return CompiledEntry(self._core.open(owner, client.native, remote.native))

    @override
    def prepare(self, sock: socket.socket) -> None:
        ask_for_segments(sock)

    @override
    def forward_port(self, port: socket.socket, now: float, strangers: SlowPath | None = None) -> None:
        _hand_up(self._core.forward_port(port, port.fileno(), strangers, now))

    @override
    def handle(
        self, entry: AssociationEntry, sock: socket.socket, *, from_client: bool = False
    ) -> SocketHandle:
        assert isinstance(entry, CompiledEntry)  # noqa: S101 - `open` made it
        return entry.core, sock.fileno(), from_client, sock

    @override
    def forward_sockets(self, ready: list[SocketHandle], now: float) -> None:
        _hand_up(self._core.forward_sockets(ready, now))


class CompiledEntry(AssociationEntry):
    """An association of the forwarder in C."""

    __slots__ = ("core",)

    def __init__(self, core: "_forwarder.Entry") -> None:
        self.core = core

    @override
    def counts(self) -> Counts:
        return Counts(*self.core.counts())

    @override
    def bind_client(self, path: ClientPath, framing: Framing, control: Control) -> None:
        ancillary = b"".join(_ancillary(*part) for part in control)
        self.core.bind_client(framing.native, path.port.fileno(), _packed(path.source), path.local, ancillary)

    @override
    def add_route(self, key: bytes, route: DatagramRoute) -> None:
        packed = b"" if route.address is None else _packed(route.address)
        prefix = b"".join(route.prefix)
        self.core.add_route(True, key, route.sock.fileno(), packed, prefix, route.until)

    @override
    def add_source(self, key: bytes | SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        packed = key if isinstance(key, bytes) else _packed(key)
        self.core.add_route(False, packed, -1, b"", b"".join(prefix), until)

    @override
    def limit(self, up: DatagramBudget, down: DatagramBudget) -> None:
        self.core.limit(up.cells, down.cells)

    @override
    def close(self) -> None:
        self.core.close()


def _hand_up(misses: "list[_forwarder.Miss] | None") -> None:
    for owner, sock, from_client, data, source, local in misses or ():
        if from_client:
            owner.on_client_miss(data, FiveTuple(sock, _unpacked(source), local))
        else:
            owner.on_remote_miss(data, _unpacked(source))


def _packed(address: SocketAddress) -> bytes:
    """Return an address as the kernel has it (ip(7), ipv6(7)), without a flow label."""
    port = address[1].to_bytes(2)
    if len(address) == 2:
        return SOCKADDR_IN.pack(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, address[0]))
    host = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return SOCKADDR_IN6.pack(socket.AF_INET6, port, host, address[3])


def _unpacked(address: bytes) -> SocketAddress:
    """Return an address as Python has it; a scope is in its number alone."""
    if len(address) == SOCKADDR_IN.size:
        _, port, host = SOCKADDR_IN.unpack(address)
        return socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port)
    _, port, host, scope = SOCKADDR_IN6.unpack(address)
    return socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port), 0, scope


def _ancillary(level: int, kind: int, data: bytes) -> bytes:
    """Return one part of ancillary data as the kernel has it (cmsg(3))."""
    header = Struct("@Nii").pack(socket.CMSG_LEN(len(data)), level, kind)
    return (header + data).ljust(socket.CMSG_SPACE(len(data)), b"\0")
