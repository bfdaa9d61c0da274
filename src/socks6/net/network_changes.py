"""Reports when this machine's addresses, routes or links change (Linux: the groups of rtnetlink).

What changed is not read: the callback asks the kernel for the present state, so that nothing is missed where the kernel
had more messages than there was room for.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final

from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.local_addresses import netlink_socket

RTMGRP_LINK: Final = 0x1  # linux/rtnetlink.h
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV4_ROUTE: Final = 0x40
RTMGRP_IPV6_IFADDR: Final = 0x100
RTMGRP_IPV6_ROUTE: Final = 0x400
GROUPS: Final = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE
LONGEST: Final = 65536
IN_A_TURN: Final = 64  # messages that are passed over before others have their turn
PAUSE: Final = 0.1  # seconds between two calls at least: a router's tables may change all the time


class NetworkChanges:
    """Calls back, on the running event loop, soon after something has changed; after many changes once."""

    def __init__(self, callback: Callable[[], None], readiness: DatagramPoller) -> None:
        """Where the system has no such report, nothing is ever called.

        `readiness` watches its socket, on which errors are usual: the kernel had no room for more.
        """
        self._callback = callback
        self._poller = readiness
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._called_at = self._loop.time() - PAUSE
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # another system, or a sandbox without netlink
            self._socket = netlink_socket(GROUPS)
            readiness.add(self._socket.fileno(), self._changed)

    def close(self) -> None:
        """Call back no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._poller.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _changed(self, _fd: int, _events: int) -> None:
        assert self._socket is not None  # noqa: S101 - it is watched as long as it is there
        for _ in range(IN_A_TURN):
            try:
                self._socket.recv(LONGEST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # that is: more has changed than was reported
                    self.close()
                    return
        if self._timer is None:
            self._timer = self._loop.call_at(max(self._called_at + PAUSE, self._loop.time()), self._call)

    def _call(self) -> None:
        self._timer = None
        self._called_at = self._loop.time()
        self._callback()
