"""Ends TCP connections whose peer has vanished silently: its network failed, or ours (Linux; others have their own time).

Not by TCP_USER_TIMEOUT alone: that also ends a connection whose peer is there but does not read
(docs/decisions/0047).
"""

import asyncio
import contextlib
import socket
import struct
import sys
import weakref
from typing import Final
from weakref import WeakSet

from socks6.net.sockets import family_of, probe_when_idle, type_of

IDLE_SECONDS: Final = 10  # then the kernel probes, and ends the connection after four times as long
SILENT_SECONDS: Final = 30.0  # without an acknowledgement, though the peer owes some
LOOK_SECONDS: Final = 10.0
MAX_NEW: Final = 4096  # connections between two looks
UNANSWERED: Final = 5  # retransmissions, or probes of a window that is shut
INFO: Final = struct.Struct(
    "=2xBB52xI8xI"
)  # of struct tcp_info (linux/tcp.h): retransmits, probes, last_ack_recv in ms, rtt in µs
TCP_INFO: Final = 11  # only Linux has these
TCP_USER_TIMEOUT: Final = 18
AT_ONCE: Final = 1  # ms


class SilentPeers:
    """Watches connections of one client, by one timer for all."""

    def __init__(self) -> None:
        self._new: list[weakref.ref[socket.socket]] = []  # since the last look: most are closed by the next
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None  # of the timer, which is set while there are any

    def watch(self, sock: socket.socket) -> None:
        """Make a connection end with ETIMEDOUT when its peer is gone; any other socket is left alone."""
        if (
            sys.platform != "linux"
            or family_of(sock) == socket.AF_UNIX
            or type_of(sock) != socket.SOCK_STREAM
        ):
            return
        self._new.append(weakref.ref(sock))
        if len(self._new) >= MAX_NEW:
            self._take_new()
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop = loop
            loop.call_later(LOOK_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:  # another one does it by now
            return
        self._take_new()
        for sock in list(self._sockets):
            if sock.fileno() < 0:
                self._sockets.discard(sock)
            elif is_silent(sock):
                with contextlib.suppress(OSError):  # it is over
                    sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, AT_ONCE)
        if self._sockets:
            loop.call_later(LOOK_SECONDS, self._look, loop)
        else:
            self._loop = None

    def _take_new(self) -> None:
        """Have the kernel probe those that are still open; what was silent before counts, too."""
        new, self._new = self._new, []
        for reference in new:
            if (sock := reference()) is not None and sock.fileno() >= 0:
                probe_when_idle(sock, IDLE_SECONDS)
                self._sockets.add(sock)


def is_silent(sock: socket.socket) -> bool:
    """Return whether a connection's peer has acknowledged nothing for long, though it was asked again and again."""
    retransmits, probes, silent, _ = _info(sock)
    return max(retransmits, probes) >= UNANSWERED and silent / 1000 >= SILENT_SECONDS


def round_trip(sock: socket.socket) -> float:
    """Return the kernel's smoothed round trip to a connection's peer, in seconds; 0.0 where it is not known."""
    return _info(sock)[3] / 1e6


def _info(sock: socket.socket) -> tuple[int, ...]:
    """Return the fields of INFO; zeros where the system has none."""
    try:
        return INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, INFO.size))
    except (OSError, struct.error):  # an older kernel's struct is shorter
        return 0, 0, 0, 0
