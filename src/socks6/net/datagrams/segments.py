"""Datagrams many at a time, where the kernel can do that (Linux: UDP_SEGMENT and UDP_GRO).

Several of the same length cross between us and the kernel as one piece, which costs little more than one datagram.
"""

import asyncio
import contextlib
import errno
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from socks6.net.datagrams.packet_info import Control
from socks6.net.stream import SocketAddress

MAX_WAITING_BYTES: Final = 1 << 20  # for the kernel to take them; what comes then is dropped, as networks do
MAX_SEGMENTS: Final = 64  # that the kernel sends with one call
MAX_SEGMENTED_BYTES: Final = 65_000  # and their bytes
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103  # linux/udp.h
UDP_GRO: Final = 104  # several datagrams of one flow in one read
INT: Final = Struct("=i")
SHORT: Final = Struct("=H")
NO_SEGMENTS: Final = frozenset((errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT))  # the device cannot
TOO_LONG: Final = frozenset((errno.EINVAL, errno.EMSGSIZE))  # for this path, whose MTU is small


class SegmentSender:
    """Sends on a non-blocking UDP socket, which is its owner's; what the kernel does not take waits, within a bound."""

    def __init__(
        self, sock: socket.socket, *, on_error: Callable[[OSError], None] = lambda _error: None
    ) -> None:
        """`on_error` is called with the reason when the kernel takes no datagram, which is then dropped."""
        self._socket = sock
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._segments = sys.platform == "linux"
        self._waiting: deque[tuple[bytes, Control, SocketAddress | None]] = deque()
        self._size = 0
        self.dropped = 0

    def send(self, datagrams: Sequence[bytes], remote: SocketAddress | None, control: Control) -> None:
        """Send datagrams to one address; None on a connected socket."""
        if not self._segments:
            self._send_singly(datagrams, remote, control)
            return
        for group in segment_groups(datagrams):
            if len(group) == 1:
                self._send(group[0], remote, control)
                continue
            segment = (SOL_UDP, UDP_SEGMENT, SHORT.pack(len(group[0])))
            if not self._send(b"".join(group), remote, [*control, segment]):
                self._send_singly(group, remote, control)

    def close(self) -> None:
        """Send nothing any more; to be called before the socket is closed. Idempotent."""
        if self._waiting:
            self._waiting.clear()
            self._loop.remove_writer(self._socket.fileno())

    def _send_singly(
        self, datagrams: Sequence[bytes], remote: SocketAddress | None, control: Control
    ) -> None:
        for datagram in datagrams:
            self._send(datagram, remote, control)

    def _send(self, data: bytes, remote: SocketAddress | None, control: Control) -> bool:
        """Send, or have it wait, or drop it; return False if it cannot be sent in segments."""
        if self._waiting:
            self._wait(data, remote, control)
            return True
        try:
            self._write(data, remote, control)
        except (BlockingIOError, InterruptedError):
            self._wait(data, remote, control)
        except OSError as error:
            if any(kind == UDP_SEGMENT for _, kind, _ in control):
                if error.errno in NO_SEGMENTS:
                    self._segments = False
                    return False
                if error.errno in TOO_LONG:
                    return False
            self._drop(error)  # an ICMP error that came meanwhile, a probe that is too long
        return True

    def _write(self, data: bytes, remote: SocketAddress | None, control: Control) -> None:
        if remote is None:
            self._socket.sendmsg((data,), control)
        else:
            self._socket.sendmsg((data,), control, 0, remote)

    def _wait(self, data: bytes, remote: SocketAddress | None, control: Control) -> None:
        if self._size + len(data) > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        if not self._waiting:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._waiting.append((data, control, remote))
        self._size += len(data)

    def _writable(self) -> None:
        while self._waiting:
            data, control, remote = self._waiting[0]
            try:
                self._write(data, remote, control)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._drop(error)
            self._waiting.popleft()
            self._size -= len(data)
        self._loop.remove_writer(self._socket.fileno())

    def _drop(self, error: OSError) -> None:
        self.dropped += 1
        self._on_error(error)


def ask_for_segments(sock: socket.socket) -> None:
    """Ask the kernel to hand over several datagrams of one flow as one piece, if it can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)


def segment_size(control: Control) -> int:
    """Return how long each datagram of a piece is, but for the last, which may be shorter; 0 for just one."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            return int(INT.unpack_from(data)[0])
    return 0


def segment_groups(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """Return datagrams as the kernel sends them in one go: equally long, but for the last, which may be shorter."""
    groups: list[list[bytes]] = []
    size = most = 0
    for datagram in datagrams:
        length = len(datagram)
        if 0 < length <= size and len(groups[-1]) < most:
            groups[-1].append(datagram)
            if length < size:
                size = 0
        else:
            groups.append([datagram])
            size = length
            most = min(MAX_SEGMENTS, MAX_SEGMENTED_BYTES // max(1, size))
    return groups
