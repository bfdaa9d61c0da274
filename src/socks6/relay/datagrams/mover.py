"""Moves datagrams between the clients' port and the associations' sockets, as far as somebody has said where to.

A lane is one association's part: its client's path, ways to remote hosts by the bytes that clients write (`allow_to`)
and sources that may answer (`allow_from`). What is in no lane's table is handed up, as a miss: who gets it decides
(policy, names, filters are asked there), handles that datagram and fills the table for the next ones. Entries end
by themselves, so that each decision is made anew once in a while.

This is the mover in Python. `_mover.c` does the same, with batches of system calls and no object per datagram; the
tests run with both (docs/decisions/0018).
"""

import socket
from struct import Struct
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from typing_extensions import override

from socks6.message.datagrams import DatagramPrefix, build_datagram, parse_header
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.net.sockets import SocketAddress

BATCH: Final = 64  # datagrams taken from a socket before the others have their turn
LONGEST: Final = 65536
MAX_ENTRIES: Final = 1024  # of a lane, each way; beyond, it forgets all of them and they are found anew
ROOM: Final = 128  # for IP_PKTINFO
HEAD: Final = Struct("!4xQ")  # of a message: version, type, length; association id
SHORTEST: Final = 17
IP_PKTINFO: Final = 8  # linux/in.h; struct in_pktinfo: interface, local address to answer from, destination
IPV6_RECVPKTINFO: Final = 49  # linux/in6.h
IPV6_PKTINFO: Final = 50  # struct in6_pktinfo: destination, interface
PKTINFO: Final = Struct("=i4s4s")
PKTINFO6: Final = Struct("=16si")

Control: TypeAlias = list[tuple[int, int, bytes]]


class Path(NamedTuple):
    """A 5-tuple: how a client's datagrams come in."""

    port: socket.socket  # ours, that clients send to
    source: SocketAddress
    local: bytes  # the address that the client sends to; empty where the port has but one


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

    def latch(self, path: Path, layout: DatagramLayout, control: Control) -> None:
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

    def missed_up(self, data: bytes, path: Path) -> None:
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

    def pump_far(self, sockets: list[tuple[Lane, socket.socket]], now: float) -> None:
        """Move what remote hosts have sent to lanes' sockets."""


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
            lane = self._lane_for(data)
            if lane is None or not lane.move_up(data, Path(port, source, local_address(control)), now):
                self._dropped += 1

    @override
    def pump_far(self, sockets: list[tuple[Lane, socket.socket]], now: float) -> None:
        for lane, sock in sockets:
            assert isinstance(lane, PythonLane)  # noqa: S101 - we made it
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
        "_control", "_dialect", "_id", "_layout", "_mover", "_owner", "_path", "_sources", "_ways",
        "down_bytes", "down_datagrams", "up_bytes", "up_datagrams",
    )  # fmt: skip

    def __init__(self, mover: PythonMover, association_id: int, dialect: Dialect, owner: LaneOwner) -> None:
        self._mover = mover
        self._id = association_id
        self._dialect = dialect
        self._owner = owner
        self._layout = dialect.datagram_layout
        self._path: Path | None = None
        self._control: Control = []
        self._ways: dict[bytes, tuple[socket.socket, SocketAddress, float]] = {}
        self._sources: dict[SocketAddress, tuple[DatagramPrefix, float]] = {}
        self.up_datagrams = self.up_bytes = self.down_datagrams = self.down_bytes = 0

    def latch(self, path: Path, layout: DatagramLayout, control: Control) -> None:
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
        if self._mover.lanes.get(self._id) is self:
            del self._mover.lanes[self._id]
        self._ways.clear()
        self._sources.clear()

    def move_up(self, data: bytes, path: Path, now: float) -> bool:
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
        known = self._sources.get(source)
        if known is None or now >= known[1]:
            self._owner.missed_down(data, source)
            return True
        message = build_datagram(known[0], data)
        path = self._path
        if message is None or path is None or not send_message(path, message, self._control):
            return False
        self.down_datagrams += 1
        self.down_bytes += len(data)
        return True


def send_datagram(sock: socket.socket, data: bytes, address: SocketAddress) -> bool:
    """Send to a remote host; return False if it did not go."""
    for _ in range(2):  # an ICMP error that came meanwhile is told instead of sending
        try:
            sock.sendto(data, address)
        except BlockingIOError:
            return False
        except OSError:
            continue
        return True
    return False


def send_message(path: Path, message: bytes, control: Control) -> bool:
    """Send to a client; return False if it did not go."""
    try:
        if control:
            path.port.sendmsg((message,), control, 0, path.source)
        else:
            path.port.sendto(message, path.source)
    except OSError:
        return False
    return True


def ask_for_local_addresses(sock: socket.socket) -> None:
    """Have a port that is bound to every address tell which one a datagram was sent to. Raises OSError."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)


def local_address(control: Control) -> bytes:
    """Return the address that a datagram was sent to, as it arrived; empty where the port has but one."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return bytes(data[4:8])
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            return bytes(data[:16])
    return b""


def answer_control(path: Path) -> Control:
    """Return what makes answers leave from the address that the client sends to."""
    match len(path.local):
        case 4:
            return [(socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, path.local, bytes(4)))]
        case 16:
            scope = path.source[3] if len(path.source) == 4 else 0
            return [(socket.IPPROTO_IPV6, IPV6_PKTINFO, PKTINFO6.pack(path.local, scope))]
        case _:
            return []
