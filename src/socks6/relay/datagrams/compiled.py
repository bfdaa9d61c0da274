"""The mover in C behind the mover's interface; importing this module fails where it was not compiled."""

import contextlib
import secrets
import socket
from struct import Struct
from typing import Final

from typing_extensions import override

from socks6.message.datagrams import DatagramPrefix
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.net.datagrams.packet_info import Control
from socks6.net.sockets import SocketAddress
from socks6.relay.datagrams import _mover
from socks6.relay.datagrams.forwarder import (
    AssociationEntry,
    ClientPath,
    DatagramForwarder,
    FiveTuple,
    RemoteSocket,
    SlowPath,
)

UDP_GRO: Final = 104  # linux/udp.h: several datagrams of one flow in one read
SOCKADDR_IN: Final = Struct("=H2s4s8x")
SOCKADDR_IN6: Final = Struct("=H2s4x16sI")


class CompiledForwarder(DatagramForwarder):
    """The mover in C."""

    def __init__(self) -> None:
        self._core = _mover.Core(secrets.randbits(64))
        self._ports: dict[int, socket.socket] = {}

    @property
    @override
    def dropped(self) -> int:
        return self._core.dropped

    @override
    def open(self, association_id: int, dialect: Dialect, owner: SlowPath) -> "CompiledEntry":
        draft = dialect.datagram_layout is DatagramLayout.DRAFT
        entry = self._core.open(
            association_id, owner, dialect.version, draft, dialect.domain_length_counts_itself
        )
        return CompiledEntry(entry)

    @override
    def prepare(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)

    @override
    def forward_from_clients(self, port: socket.socket, now: float) -> None:
        for owner, data, source, local in self._core.pump_near(port.fileno(), now) or ():
            assert isinstance(owner, SlowPath)  # noqa: S101 - `open` got it
            owner.on_client_miss(data, FiveTuple(port, _unpacked(source), local))

    @override
    def remote_socket(self, entry: AssociationEntry, sock: socket.socket) -> RemoteSocket:
        assert isinstance(entry, CompiledEntry)  # noqa: S101 - `open` made it
        return entry.core, sock.fileno()

    @override
    def forward_from_remotes(self, ends: list[RemoteSocket], now: float) -> None:
        for owner, data, source, _ in self._core.pump_far(ends, now) or ():
            assert isinstance(owner, SlowPath)  # noqa: S101
            owner.on_remote_miss(data, _unpacked(source))


class CompiledEntry(AssociationEntry):
    """A lane of the mover in C."""

    __slots__ = ("core",)

    def __init__(self, core: _mover.Lane) -> None:
        self.core = core

    @property
    @override
    def up_datagrams(self) -> int:
        return self.core.up_datagrams

    @property
    @override
    def up_bytes(self) -> int:
        return self.core.up_bytes

    @property
    @override
    def down_datagrams(self) -> int:
        return self.core.down_datagrams

    @property
    @override
    def down_bytes(self) -> int:
        return self.core.down_bytes

    @override
    def bind_client(self, path: ClientPath, layout: DatagramLayout, control: Control) -> None:
        draft = layout is DatagramLayout.DRAFT
        ancillary = b"".join(_ancillary(*part) for part in control)
        self.core.latch(path.port.fileno(), _packed(path.source), path.local, ancillary, draft)

    @override
    def add_route(self, key: bytes, sock: socket.socket, address: SocketAddress, until: float) -> None:
        self.core.allow_to(key, sock.fileno(), _packed(address), until)

    @override
    def add_source(self, source: SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        self.core.allow_from(_packed(source), prefix[0] + prefix[1], until)

    @override
    def close(self) -> None:
        self.core.close()


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
