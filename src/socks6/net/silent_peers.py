"""Ends TCP connections whose peer has vanished silently: its network failed, or ours (Linux; others have their own time).

Not by TCP_USER_TIMEOUT alone: that also ends a connection whose peer is there but does not read
(docs/decisions/0047, 0078). It is set while retransmissions are unanswered, and taken back when the peer answers.
"""

import asyncio
import contextlib
import socket
import struct
import sys
import weakref
from typing import Final
from weakref import WeakKeyDictionary

from socks6.net.sockets import family_of, probe_when_idle, type_of

IDLE_SECONDS: Final = 8  # then the kernel probes, and ends the connection after four times as long
SILENT_SECONDS: Final = 30.0  # without an acknowledgement, though the peer owes some
LOOK_SECONDS: Final = 5.0
MAX_NEW: Final = 4096  # connections between two looks
UNANSWERED: Final = 3  # retransmissions, or probes: of a window that is shut, or because nothing can be sent
INFO: Final = struct.Struct(
    "=2xBB64xI"
)  # of struct tcp_info (linux/tcp.h): retransmits and probes since the last acknowledgement, rtt in µs
TCP_INFO: Final = 11  # only Linux has these
TCP_USER_TIMEOUT: Final = 18


class SilentPeers:
    """Watches connections of one client, by one timer for all."""

    def __init__(self) -> None:
        self._new: list[weakref.ref[socket.socket]] = []  # since the last look: most are closed by the next
        self._limits: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()  # TCP_USER_TIMEOUT, ms
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
        for sock, before in list(self._limits.items()):
            if sock.fileno() < 0:
                del self._limits[sock]
            elif (limit := _limit_for(sock)) != before:
                self._limits[sock] = limit
                with contextlib.suppress(OSError):  # it is over
                    sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, limit)
        if self._limits:
            loop.call_later(LOOK_SECONDS, self._look, loop)
        else:
            self._loop = None

    def _take_new(self) -> None:
        """Probe, by the kernel, those that are still open; what was silent before counts, too."""
        new, self._new = self._new, []
        for reference in new:
            if (sock := reference()) is not None and sock.fileno() >= 0:
                probe_when_idle(sock, IDLE_SECONDS)
                self._limits.setdefault(sock, 0)


def _limit_for(sock: socket.socket) -> int:
    """Return the TCP_USER_TIMEOUT in ms that ends a connection SILENT_SECONDS after its peer has vanished; 0 for none."""
    retransmits, probes, _ = _info(sock)
    return round(SILENT_SECONDS * 1000) if max(retransmits, probes) >= UNANSWERED else 0


def round_trip(sock: socket.socket) -> float:
    """Return the kernel's smoothed round trip to a connection's peer, in seconds; 0.0 where it is not known."""
    return _info(sock)[2] / 1e6


def _info(sock: socket.socket) -> tuple[int, ...]:
    """Return the fields of INFO; zeros where the system has none."""
    try:
        return INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, INFO.size))
    except (OSError, struct.error):  # an older kernel's struct is shorter
        return 0, 0, 0
