"""Takes away what only Linux has, when it is imported: first of all, in a process of its own.

What is imported after it sees names and a platform as on macOS; the kernel beneath stays Linux.
"""

import contextlib
import fcntl
import importlib.abc
import os
import select
import selectors
import socket
import sys
import sysconfig
import urllib.request  # noqa: F401 - on macOS it asks a module of C for the proxies
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

from typing_extensions import override

with contextlib.suppress(ImportError):
    import trio  # noqa: F401 - what adapters import: it wants macOS to have kqueue

PREFIXES: Final[Mapping[ModuleType, tuple[str, ...]]] = {
    os: (
        "splice",
        "SPLICE_",
        "pipe2",
        "sched_",
        "eventfd",
        "EFD_",
        "memfd_",
        "MFD_",
        "pidfd_",
        "O_PATH",
        "setns",
    ),
    select: ("epoll", "EPOLL"),
    fcntl: ("F_SETPIPE_SZ", "F_GETPIPE_SZ"),
    socket: (
        *(
            "SOCK_NONBLOCK",
            "SOCK_CLOEXEC",
            "MSG_ERRQUEUE",
            "MSG_NOSIGNAL",
            "MSG_MORE",
            "MSG_CONFIRM",
            "MSG_FASTOPEN",
        ),
        *("TCP_DEFER_ACCEPT", "TCP_KEEPIDLE", "TCP_QUICKACK", "TCP_USER_TIMEOUT", "TCP_SYNCNT", "TCP_CORK"),
        *(
            "TCP_INFO",
            "TCP_CONGESTION",
            "TCP_LINGER2",
            "TCP_WINDOW_CLAMP",
            "IPPROTO_MPTCP",
            "IPPROTO_UDPLITE",
        ),
        *("SO_MARK", "SO_BINDTODEVICE", "SO_DOMAIN", "SO_PROTOCOL", "SO_PASS", "SO_PEER", "SO_PRIORITY"),
        *("SO_INCOMING_CPU", "IP_TRANSPARENT", "IP_BIND_ADDRESS_NO_PORT", "IP_PKTINFO", "MSG_CMSG_CLOEXEC"),
        *("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_CAN", "AF_ALG", "AF_QIPCRTR", "AF_TIPC"),
    ),
}
EXTENSION: Final = "socks6.relay.datagrams._forwarder"  # is made on Linux only


class _NoExtension(importlib.abc.MetaPathFinder):
    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == EXTENSION:
            raise ModuleNotFoundError(f"no {fullname} here", name=fullname)
        return None


for module, prefixes in PREFIXES.items():
    for name in [name for name in dir(module) if name.startswith(prefixes)]:
        delattr(module, name)
sysconfig.get_config_vars()  # are in a file that is named for the platform
selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc, assignment] # chosen when that was imported
sys.platform = "darwin"
sys.meta_path.insert(0, _NoExtension())
