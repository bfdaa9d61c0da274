"""Forwards datagrams between clients and the sockets of their associations, for hosts that have a table entry.

Each association has two sides, each with its framing (message/framing.py): the client's, with a header of SOCKS 6 or
SOCKS 5 or none, and the remote one, which is remote hosts themselves or an upstream SOCKS 6 proxy. Two tables say where
a client's datagrams go (`add_route`) and who may answer (`add_source`). A datagram whose host is in no table takes the
slow path: its association decides (policy, names and filters are asked there), sends it, and fills the table for those
that follow. Entries expire after seconds, so that each decision is made anew from time to time.

This is the forwarder in Python. `native/` is the same in C, with batches of system calls and no object per datagram;
the tests run with both (docs/decisions/0018).
"""

import socket
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Protocol, TypeAlias

from socks6.compat import override
from socks6.message.datagrams import DatagramPrefix
from socks6.message.framing import Framing, NoFraming, Socks6Framing
from socks6.net.datagrams.channel import send_datagram
from socks6.net.datagrams.packet_info import ANCILLARY_BYTES, Control, destination_address
from socks6.net.datagrams.shared import MAX_DATAGRAM_BYTES, MAX_READS
from socks6.net.stream import DatagramRoute, SocketAddress
from socks6.relay.bandwidth import DatagramBudget

MAX_ENTRIES: Final = 1024  # of an association, each way; beyond, all are forgotten and found anew
MESSAGE_START: Final = Struct("!4xQ")  # of SOCKS 6: version, type, length; association id


class ClientPath(Protocol):
    """The way of a client's datagrams. Equal ones are the same path."""

    @override
    def __hash__(self) -> int:
        """Return the hash; equal paths are the same path."""

    @property
    def port(self) -> socket.socket:
        """Our socket, that the client sends to."""

    @property
    def source(self) -> SocketAddress:
        """Where the client sends from."""

    @property
    def local(self) -> bytes:
        """The address that it sends to; empty where the port has but one."""

    @property
    def shares_stream(self) -> bool:
        """Whether it is of the connection that the association's stream is of, too, which takes what is too long for it."""

    def send(self, message: bytes, control: Control) -> bool:
        """Send to the client; return whether it went."""

    def join(self, user: str, lost: Callable[[str], None]) -> bool:
        """Let an association of a user ("" for any) live by this path; return whether it may.

        `lost` is called with the reason when the path is no more.
        """

    def leave(self, lost: Callable[[str], None]) -> None:
        """Take the association off the path. Idempotent."""


class FiveTuple(NamedTuple):
    """The `ClientPath` over UDP, which is never lost."""

    port: socket.socket
    source: SocketAddress
    local: bytes

    @property
    def shares_stream(self) -> bool:
        return False

    def send(self, message: bytes, control: Control) -> bool:
        try:
            if control:
                self.port.sendmsg((message,), control, 0, self.source)
            else:
                self.port.sendto(message, self.source)
        except OSError:
            return False
        return True

    def join(self, user: str, lost: Callable[[str], None]) -> bool:  # noqa: ARG002 - it may be any user's
        return True

    def leave(self, lost: Callable[[str], None]) -> None:
        """See `ClientPath.leave`."""


SocketHandle: TypeAlias = tuple[object, ...]
"""One of an association's own sockets, as its forwarder wants it: made once, since many are handed over each turn."""


class Counts(NamedTuple):
    """How much was forwarded for an association: datagrams, and the bytes of their data."""

    up_datagrams: int = 0
    up_bytes: int = 0
    down_datagrams: int = 0
    down_bytes: int = 0
    last: float = 0.0  # when, by the clock of `forward_port`; 0 for never


class AssociationEntry(Protocol):
    """One association, as far as a forwarder knows it."""

    def counts(self) -> Counts:
        """Return how much has been forwarded."""

    def bind_client(self, path: ClientPath, framing: Framing, control: Control) -> None:
        """Take the client's datagrams from `path` alone, and send there with `control`."""

    def add_route(self, key: bytes, route: DatagramRoute) -> None:
        """Forward datagrams with a key by this route."""

    def add_source(self, key: bytes | SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        """Forward what comes with a key, or from an address where there is no header, behind `prefix`."""

    def limit(self, up: DatagramBudget, down: DatagramBudget) -> None:
        """Forward no more than these hold, from now on."""

    def close(self) -> None:
        """Forward nothing any more. Idempotent."""


class SlowPath(Protocol):
    """Takes the datagrams of an association that no table entry is about."""

    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        """Take a message from the client; by the association's path if it has one."""

    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        """Take what came to the association's remote side."""


class DatagramForwarder(Protocol):
    """Forwards datagrams for any number of associations."""

    @property
    def dropped(self) -> int:
        """How many were neither forwarded nor handed up: of no association, by another path, malformed, unsendable."""

    def open(self, client: Framing, remote: Framing, owner: SlowPath) -> AssociationEntry:
        """Return an entry for an association whose sides have these framings."""

    def prepare(self, sock: socket.socket) -> None:
        """Set up a socket that this forwarder alone will read from."""

    def forward_port(self, port: socket.socket, now: float, strangers: SlowPath | None = None) -> None:
        """Forward what clients have sent to a port that they share.

        SOCKS 6 messages name their association. Without a header it is found by the source, and `strangers` takes
        the datagrams of sources without one.
        """

    def handle(
        self, entry: AssociationEntry, sock: socket.socket, *, from_client: bool = False
    ) -> SocketHandle:
        """Return what `forward_sockets` is given of a socket that is one association's alone."""

    def forward_sockets(self, ready: list[SocketHandle], now: float) -> None:
        """Forward what has come to associations' sockets; nothing of closed ones."""


class PythonForwarder(DatagramForwarder):
    """The forwarder that needs no compiler."""

    def __init__(self) -> None:
        self._dropped = 0
        self.entries: dict[int | tuple[socket.socket, SocketAddress, bytes], PythonEntry] = {}
        # by association id; by the client's path where its messages name none

    @property
    @override
    def dropped(self) -> int:
        return self._dropped

    @override
    def prepare(self, sock: socket.socket) -> None:
        """Nothing is to be set up."""

    @override
    def open(self, client: Framing, remote: Framing, owner: SlowPath) -> "PythonEntry":
        entry = PythonEntry(self, client, remote, owner)
        if isinstance(client, Socks6Framing):
            entry.index(client.association_id)
        return entry

    @override
    def forward_port(self, port: socket.socket, now: float, strangers: SlowPath | None = None) -> None:
        for _ in range(MAX_READS):
            try:
                data, control, _, source = port.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue
            path = FiveTuple(port, source, destination_address(control))
            if strangers is None:
                self.forward_message(data, path, now)
            elif (entry := self.entries.get(path)) is not None:
                self._dropped += not entry.forward_up(data, path, now)
            else:
                strangers.on_client_miss(data, path)

    def forward_message(self, data: bytes, path: ClientPath, now: float) -> None:
        """Forward a SOCKS 6 message that came from a client."""
        entry = None
        if len(data) >= MESSAGE_START.size:
            entry = self.entries.get(MESSAGE_START.unpack_from(data)[0])
        if entry is None or not entry.forward_up(data, path, now):
            self._dropped += 1

    @override
    def handle(
        self, entry: AssociationEntry, sock: socket.socket, *, from_client: bool = False
    ) -> SocketHandle:
        return entry, sock, from_client

    @override
    def forward_sockets(self, ready: list[SocketHandle], now: float) -> None:
        for entry, sock, from_client in ready:
            assert isinstance(entry, PythonEntry)  # noqa: S101 - `handle` got them
            assert isinstance(sock, socket.socket)  # noqa: S101
            for _ in range(MAX_READS):
                if entry.closed:
                    break
                try:
                    data, source = sock.recvfrom(MAX_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error
                    continue
                if from_client:
                    went = entry.forward_up(data, FiveTuple(sock, source, b""), now)
                else:
                    went = entry.forward_down(data, source, now)
                self._dropped += not went


class PythonEntry:
    """The `AssociationEntry` of the forwarder in Python. Its tables hold plain tuples."""

    __slots__ = (
        "_client", "_control", "_counts", "_down", "_forwarder", "_index", "_owner", "_path", "_remote", "_routes", "_sources",
        "_up", "closed",
    )  # fmt: skip

    def __init__(self, forwarder: PythonForwarder, client: Framing, remote: Framing, owner: SlowPath) -> None:
        self.closed = False
        self._forwarder = forwarder
        self._client = client
        self._remote = remote
        self._owner = owner
        self._index: int | FiveTuple | None = None
        self._path: ClientPath | None = None
        self._control: Control = []
        self._routes: dict[bytes, DatagramRoute] = {}
        self._sources: dict[bytes | SocketAddress, tuple[DatagramPrefix, float]] = {}
        self._counts = Counts()
        self._up: DatagramBudget | None = None
        self._down: DatagramBudget | None = None

    def index(self, key: int | FiveTuple) -> None:
        """Be found by an association id, or by the client's path."""
        self._index = key
        self._forwarder.entries[key] = self

    def bind_client(self, path: ClientPath, framing: Framing, control: Control) -> None:
        self._path, self._client, self._control = path, framing, control
        if isinstance(framing, NoFraming) and isinstance(path, FiveTuple) and not self.closed:
            self.index(path)

    def add_route(self, key: bytes, route: DatagramRoute) -> None:
        if len(self._routes) >= MAX_ENTRIES:
            self._routes.clear()
        self._routes[key] = route

    def add_source(self, key: bytes | SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        if len(self._sources) >= MAX_ENTRIES:
            self._sources.clear()
        self._sources[key] = prefix, until

    def counts(self) -> Counts:
        return self._counts

    def limit(self, up: DatagramBudget, down: DatagramBudget) -> None:
        self._up, self._down = up, down

    def close(self) -> None:
        self.closed = True
        if self._index is not None and self._forwarder.entries.get(self._index) is self:
            del self._forwarder.entries[self._index]
        self._routes.clear()
        self._sources.clear()

    def forward_up(self, data: bytes, path: ClientPath, now: float) -> bool:
        """Forward a client's message, or hand it up; return False if it was dropped."""
        if self._path is None:
            self._owner.on_client_miss(data, path)
            return True
        header = self._client.parse(data) if path == self._path else None
        if header is None:
            return False
        key, start, end = header
        route = self._routes.get(key)
        if route is None or now >= route.until:
            self._owner.on_client_miss(data, path)
            return True
        if self._up is not None and not self._up.take(end - start):
            return True  # its budget counts it
        message = self._remote.build(route.prefix, data[start:end])
        if message is None or not send_datagram(route.sock, message, route.address):
            return False
        up, up_bytes, down, down_bytes, _ = self._counts
        self._counts = Counts(up + 1, up_bytes + end - start, down, down_bytes, now)
        return True

    def forward_down(self, data: bytes, source: SocketAddress, now: float) -> bool:
        """Forward what came to the remote side, or hand it up; return False if it was dropped."""
        header = self._remote.parse(data)
        key = source if isinstance(self._remote, NoFraming) else header and header[0]
        known = self._sources.get(key) if key is not None else None
        if header is None or known is None or now >= known[1]:
            self._owner.on_remote_miss(data, source)
            return True
        payload = data[header[1] : header[2]]
        if self._down is not None and not self._down.take(len(payload)):
            return True
        message = self._client.build(known[0], payload)
        path = self._path
        if message is None or path is None:
            return False
        if not path.send(message, self._control):
            if path.shares_stream:
                if self._down is not None:
                    self._down.give_back(len(payload))  # it is taken anew
                self._owner.on_remote_miss(data, source)
            return path.shares_stream
        up, up_bytes, down, down_bytes, _ = self._counts
        self._counts = Counts(up, up_bytes, down + 1, down_bytes + len(payload), now)
        return True
