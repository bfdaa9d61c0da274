"""Moves datagrams between the clients' port and the associations' sockets, as far as somebody has said where to.

A lane is one association's part: its client's path, ways to remote hosts by the bytes that clients write (`add_route`)
and sources that may answer (`add_source`). What is in no lane's table is handed up, as a miss: who gets it decides
(policy, names, filters are asked there), handles that datagram and fills the table for the next ones. Entries end
by themselves, so that each decision is made anew once in a while.

This is the mover in Python. `_mover.c` does the same, with batches of system calls and no object per datagram; the
tests run with both (docs/decisions/0018).
"""

import socket
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from typing_extensions import override

from socks6.message.datagrams import DatagramPrefix, build_datagram, parse_header
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.net.datagrams.channel import send_datagram
from socks6.net.datagrams.packet_info import ANCILLARY_BYTES, Control, destination_address
from socks6.net.sockets import SocketAddress

MAX_READS: Final = 64  # datagrams taken from a socket before the others have their turn
MAX_DATAGRAM_BYTES: Final = 65536
MAX_ENTRIES: Final = 1024  # of a lane, each way; beyond, it forgets all of them and they are found anew
HEAD: Final = Struct("!4xQ")  # of a message: version, type, length; association id
SHORTEST: Final = 17


class ClientPath(Protocol):
    """How a client's datagrams come in, and how others get to it. Equal ones are the same path."""

    @override
    def __hash__(self) -> int:
        """Return what it is latched by."""

    @property
    def port(self) -> socket.socket:
        """Our socket, that the client sends to."""

    @property
    def source(self) -> SocketAddress:
        """Where the client sends from."""

    @property
    def local(self) -> bytes:
        """The address that it sends to; empty where the port has but one."""

    def send(self, message: bytes, control: Control) -> bool:
        """Send to the client; return whether it went."""

    def join(self, user: str, lost: Callable[[str], None]) -> bool:
        """Have an association of a user's, "" for any, live by this path; return whether it may.

        `lost` is told why the path is no more.
        """

    def leave(self, lost: Callable[[str], None]) -> None:
        """Take the association off the path. Idempotent."""


class FiveTuple(NamedTuple):
    """A 5-tuple, which is never lost."""

    port: socket.socket
    source: SocketAddress
    local: bytes

    def send(self, message: bytes, control: Control) -> bool:
        """See `ClientPath.send`."""
        try:
            if control:
                self.port.sendmsg((message,), control, 0, self.source)
            else:
                self.port.sendto(message, self.source)
        except OSError:
            return False
        return True

    def join(self, user: str, lost: Callable[[str], None]) -> bool:  # noqa: ARG002 - anybody's
        """See `ClientPath.join`."""
        return True

    def leave(self, lost: Callable[[str], None]) -> None:
        """See `ClientPath.leave`."""


RemoteSocket: TypeAlias = tuple[object, object]
"""A lane and one of its sockets, as its mover wants them: made once, since many are handed over each turn."""


class AssociationEntry(Protocol):
    """One association, as far as a mover knows it."""

    @property
    def up_datagrams(self) -> int:
        """How many were moved towards remote hosts."""

    @property
    def up_bytes(self) -> int:
        """How many bytes of data they had."""

    @property
    def down_datagrams(self) -> int:
        """How many were moved towards the client."""

    @property
    def down_bytes(self) -> int:
        """How many bytes of data they had."""

    def bind_client(self, path: ClientPath, layout: DatagramLayout, control: Control) -> None:
        """Take datagrams from `path` alone, and send there with `control`."""

    def add_route(self, key: bytes, sock: socket.socket, address: SocketAddress, until: float) -> None:
        """Have datagrams with a `key` of `parse_header` go there."""

    def add_source(self, source: SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        """Have what comes from `source` go to the client, behind `prefix`."""

    def close(self) -> None:
        """Move nothing any more. Idempotent."""


@runtime_checkable
class SlowPath(Protocol):
    """Who gets what a lane cannot move."""

    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        """Take a message from the client's port; on the lane's path if it has one."""

    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        """Take data from a remote host."""


class DatagramForwarder(Protocol):
    """Moves datagrams for any number of lanes."""

    @property
    def dropped(self) -> int:
        """How many were neither moved nor handed up: of no lane, from another path, malformed, unsendable."""

    def open(self, association_id: int, dialect: Dialect, owner: SlowPath) -> AssociationEntry:
        """Return a lane for an association."""

    def prepare(self, sock: socket.socket) -> None:
        """Set up a socket that this mover alone will read from."""

    def forward_from_clients(self, port: socket.socket, now: float) -> None:
        """Move what clients have sent to a port."""

    def remote_socket(self, entry: AssociationEntry, sock: socket.socket) -> RemoteSocket:
        """Return what `forward_from_remotes` is told of one of a lane's sockets."""

    def forward_from_remotes(self, ends: list[RemoteSocket], now: float) -> None:
        """Move what remote hosts have sent to lanes' sockets; to closed lanes nothing has come."""


class PythonForwarder(DatagramForwarder):
    """The mover that needs no compiler."""

    def __init__(self) -> None:
        self._dropped = 0
        self.entries: dict[int, PythonEntry] = {}

    @property
    @override
    def dropped(self) -> int:
        return self._dropped

    @override
    def prepare(self, sock: socket.socket) -> None:
        """Nothing is to be set up."""

    @override
    def open(self, association_id: int, dialect: Dialect, owner: SlowPath) -> "PythonEntry":
        entry = self.entries[association_id] = PythonEntry(self, association_id, dialect, owner)
        return entry

    @override
    def forward_from_clients(self, port: socket.socket, now: float) -> None:
        for _ in range(MAX_READS):
            try:
                data, control, _, source = port.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue
            self.take(data, FiveTuple(port, source, destination_address(control)), now)

    def take(self, data: bytes, path: ClientPath, now: float) -> None:
        """Move a message that came from a client."""
        entry = self._entry_for(data)
        if entry is None or not entry.forward_up(data, path, now):
            self._dropped += 1

    @override
    def remote_socket(self, entry: AssociationEntry, sock: socket.socket) -> RemoteSocket:
        return entry, sock

    @override
    def forward_from_remotes(self, ends: list[RemoteSocket], now: float) -> None:
        for entry, sock in ends:
            assert isinstance(entry, PythonEntry)  # noqa: S101 - `remote_socket` got them
            assert isinstance(sock, socket.socket)  # noqa: S101
            if entry.closed:
                continue
            for _ in range(MAX_READS):
                try:
                    data, source = sock.recvfrom(MAX_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error
                    continue
                if not entry.forward_down(data, source, now):
                    self._dropped += 1

    def _entry_for(self, data: bytes) -> "PythonEntry | None":
        if len(data) < SHORTEST:
            return None
        return self.entries.get(HEAD.unpack_from(data)[0])


class PythonEntry:
    """A Lane of the mover in Python. Its tables hold plain tuples."""

    __slots__ = (
        "_control",
        "_dialect",
        "_forwarder",
        "_id",
        "_layout",
        "_owner",
        "_path",
        "_routes",
        "_sources",
        "closed",
        "down_bytes",
        "down_datagrams",
        "up_bytes",
        "up_datagrams",
    )  # fmt: skip

    def __init__(
        self, forwarder: PythonForwarder, association_id: int, dialect: Dialect, owner: SlowPath
    ) -> None:
        self._forwarder = forwarder
        self.closed = False
        self._id = association_id
        self._dialect = dialect
        self._owner = owner
        self._layout = dialect.datagram_layout
        self._path: ClientPath | None = None
        self._control: Control = []
        self._routes: dict[bytes, tuple[socket.socket, SocketAddress, float]] = {}
        self._sources: dict[SocketAddress, tuple[DatagramPrefix, float]] = {}
        self.up_datagrams = self.up_bytes = self.down_datagrams = self.down_bytes = 0

    def bind_client(self, path: ClientPath, layout: DatagramLayout, control: Control) -> None:
        self._path, self._layout, self._control = path, layout, control

    def add_route(self, key: bytes, sock: socket.socket, address: SocketAddress, until: float) -> None:
        if len(self._routes) >= MAX_ENTRIES:
            self._routes.clear()
        self._routes[key] = sock, address, until

    def add_source(self, source: SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        if len(self._sources) >= MAX_ENTRIES:
            self._sources.clear()
        self._sources[source] = prefix, until

    def close(self) -> None:
        self.closed = True
        if self._forwarder.entries.get(self._id) is self:
            del self._forwarder.entries[self._id]
        self._routes.clear()
        self._sources.clear()

    def forward_up(self, data: bytes, path: ClientPath, now: float) -> bool:
        """Move a client's message, or hand it up; return False if it was dropped."""
        if self._path is not None and path != self._path:
            return False
        header = parse_header(data, self._dialect, self._layout)
        if header is None:
            return False
        _, key, start, end = header
        way = self._routes.get(key)
        if way is None or now >= way[2]:
            self._owner.on_client_miss(data, path)
            return True
        if not send_datagram(way[0], data[start:end], way[1]):
            return False
        self.up_datagrams += 1
        self.up_bytes += end - start
        return True

    def forward_down(self, data: bytes, source: SocketAddress, now: float) -> bool:
        """Move what a remote host sent, or hand it up; return False if it was dropped."""
        if self.closed:
            return False
        known = self._sources.get(source)
        if known is None or now >= known[1]:
            self._owner.on_remote_miss(data, source)
            return True
        message = build_datagram(known[0], data)
        path = self._path
        if message is None or path is None or not path.send(message, self._control):
            return False
        self.down_datagrams += 1
        self.down_bytes += len(data)
        return True
