"""Moves datagrams between the clients' port and the associations' sockets, as far as somebody has said where to.

A lane is one association's part: its client's path, ways to remote hosts by the bytes that clients write (`allow_to`)
and sources that may answer (`allow_from`). What is in no lane's table is handed up, as a miss: who gets it decides
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
from socks6.net.datagrams.arrival import ROOM, Control, local_address
from socks6.net.datagrams.channel import send_datagram
from socks6.net.sockets import SocketAddress

BATCH: Final = 64  # datagrams taken from a socket before the others have their turn
LONGEST: Final = 65536
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


class Path(NamedTuple):
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


FarEnd: TypeAlias = tuple[object, object]
"""A lane and one of its sockets, as its mover wants them: made once, since many are handed over each turn."""


class Lane(Protocol):
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

    def latch(self, path: ClientPath, layout: DatagramLayout, control: Control) -> None:
        """Take datagrams from `path` alone, and send there with `control`."""

    def allow_to(self, key: bytes, sock: socket.socket, address: SocketAddress, until: float) -> None:
        """Have datagrams with a `key` of `parse_header` go there."""

    def allow_from(self, source: SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        """Have what comes from `source` go to the client, behind `prefix`."""

    def close(self) -> None:
        """Move nothing any more. Idempotent."""


@runtime_checkable
class LaneOwner(Protocol):
    """Who gets what a lane cannot move."""

    def missed_up(self, data: bytes, path: ClientPath) -> None:
        """Take a message from the client's port; on the lane's path if it has one."""

    def missed_down(self, data: bytes, source: SocketAddress) -> None:
        """Take data from a remote host."""


class Mover(Protocol):
    """Moves datagrams for any number of lanes."""

    @property
    def dropped(self) -> int:
        """How many were neither moved nor handed up: of no lane, from another path, malformed, unsendable."""

    def open(self, association_id: int, dialect: Dialect, owner: LaneOwner) -> Lane:
        """Return a lane for an association."""

    def prepare(self, sock: socket.socket) -> None:
        """Set up a socket that this mover alone will read from."""

    def pump_near(self, port: socket.socket, now: float) -> None:
        """Move what clients have sent to a port."""

    def far_end(self, lane: Lane, sock: socket.socket) -> FarEnd:
        """Return what `pump_far` is told of one of a lane's sockets."""

    def pump_far(self, ends: list[FarEnd], now: float) -> None:
        """Move what remote hosts have sent to lanes' sockets; to closed lanes nothing has come."""


class PythonMover(Mover):
    """The mover that needs no compiler."""

    def __init__(self) -> None:
        self._dropped = 0
        self.lanes: dict[int, PythonLane] = {}

    @property
    @override
    def dropped(self) -> int:
        return self._dropped

    @override
    def prepare(self, sock: socket.socket) -> None:
        """Nothing is to be set up."""

    @override
    def open(self, association_id: int, dialect: Dialect, owner: LaneOwner) -> "PythonLane":
        lane = self.lanes[association_id] = PythonLane(self, association_id, dialect, owner)
        return lane

    @override
    def pump_near(self, port: socket.socket, now: float) -> None:
        for _ in range(BATCH):
            try:
                data, control, _, source = port.recvmsg(LONGEST, ROOM)
            except BlockingIOError:
                return
            except OSError:
                continue
            self.take(data, Path(port, source, local_address(control)), now)

    def take(self, data: bytes, path: ClientPath, now: float) -> None:
        """Move a message that came from a client."""
        lane = self._lane_for(data)
        if lane is None or not lane.move_up(data, path, now):
            self._dropped += 1

    @override
    def far_end(self, lane: Lane, sock: socket.socket) -> FarEnd:
        return lane, sock

    @override
    def pump_far(self, ends: list[FarEnd], now: float) -> None:
        for lane, sock in ends:
            assert isinstance(lane, PythonLane)  # noqa: S101 - `far_end` got them
            assert isinstance(sock, socket.socket)  # noqa: S101
            if lane.closed:
                continue
            for _ in range(BATCH):
                try:
                    data, source = sock.recvfrom(LONGEST)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error
                    continue
                if not lane.move_down(data, source, now):
                    self._dropped += 1

    def _lane_for(self, data: bytes) -> "PythonLane | None":
        if len(data) < SHORTEST:
            return None
        return self.lanes.get(HEAD.unpack_from(data)[0])


class PythonLane:
    """A Lane of the mover in Python. Its tables hold plain tuples."""

    __slots__ = (
        "_control", "_dialect", "_id", "_layout", "_mover", "_owner", "_path", "_sources", "_ways", "closed",
        "down_bytes", "down_datagrams", "up_bytes", "up_datagrams",
    )  # fmt: skip

    def __init__(self, mover: PythonMover, association_id: int, dialect: Dialect, owner: LaneOwner) -> None:
        self._mover = mover
        self.closed = False
        self._id = association_id
        self._dialect = dialect
        self._owner = owner
        self._layout = dialect.datagram_layout
        self._path: ClientPath | None = None
        self._control: Control = []
        self._ways: dict[bytes, tuple[socket.socket, SocketAddress, float]] = {}
        self._sources: dict[SocketAddress, tuple[DatagramPrefix, float]] = {}
        self.up_datagrams = self.up_bytes = self.down_datagrams = self.down_bytes = 0

    def latch(self, path: ClientPath, layout: DatagramLayout, control: Control) -> None:
        self._path, self._layout, self._control = path, layout, control

    def allow_to(self, key: bytes, sock: socket.socket, address: SocketAddress, until: float) -> None:
        if len(self._ways) >= MAX_ENTRIES:
            self._ways.clear()
        self._ways[key] = sock, address, until

    def allow_from(self, source: SocketAddress, prefix: DatagramPrefix, until: float) -> None:
        if len(self._sources) >= MAX_ENTRIES:
            self._sources.clear()
        self._sources[source] = prefix, until

    def close(self) -> None:
        self.closed = True
        if self._mover.lanes.get(self._id) is self:
            del self._mover.lanes[self._id]
        self._ways.clear()
        self._sources.clear()

    def move_up(self, data: bytes, path: ClientPath, now: float) -> bool:
        """Move a client's message, or hand it up; return False if it was dropped."""
        if self._path is not None and path != self._path:
            return False
        header = parse_header(data, self._dialect, self._layout)
        if header is None:
            return False
        _, key, start, end = header
        way = self._ways.get(key)
        if way is None or now >= way[2]:
            self._owner.missed_up(data, path)
            return True
        if not send_datagram(way[0], data[start:end], way[1]):
            return False
        self.up_datagrams += 1
        self.up_bytes += end - start
        return True

    def move_down(self, data: bytes, source: SocketAddress, now: float) -> bool:
        """Move what a remote host sent, or hand it up; return False if it was dropped."""
        if self.closed:
            return False
        known = self._sources.get(source)
        if known is None or now >= known[1]:
            self._owner.missed_down(data, source)
            return True
        message = build_datagram(known[0], data)
        path = self._path
        if message is None or path is None or not path.send(message, self._control):
            return False
        self.down_datagrams += 1
        self.down_bytes += len(data)
        return True
