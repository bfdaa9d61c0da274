"""Calls of the operating system that fail on purpose: the k-th of a kind that our own code makes.

The edge is the standard library's: methods of `socket.socket`, functions of `os`, `getaddrinfo`, `epoll`, threads. Only
calls from the source of this project count, on one side where that is said, so that hosts, test and event loop are left alone.
"""

import builtins
import concurrent.futures
import contextlib
import contextvars
import ctypes
import errno
import functools
import io
import itertools
import os
import pathlib
import select
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import socks6

OURS: Final = str(Path(socks6.__file__).parent)
POOLS: Final = str(Path(concurrent.futures.__file__).parent)  # threads that are started on our behalf
SIDE: Final = contextvars.ContextVar(
    "SIDE", default=""
)  # "proxy" in the tasks of a proxy and their callbacks


def raises(*numbers: int) -> Mapping[str, Callable[[], Exception]]:
    """Return errors of the operating system by their names."""
    return {
        errno.errorcode[number]: functools.partial(OSError, number, os.strerror(number)) for number in numbers
    }


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Calls of one kind: where they stand, and what they may fail with."""

    calls: tuple[tuple[Any, str], ...]
    failures: Mapping[str, Callable[[], Exception]]
    storms: Mapping[str, int] = field(default_factory=dict)  # failures that also come so often in a row
    anywhere: bool = False  # also on no side: in threads, which have none
    callers: tuple[str, ...] = (OURS,)  # whose calls


KINDS: Final[Mapping[str, Kind]] = {
    "send": Kind(
        calls=tuple((socket.socket, name) for name in ("send", "sendto", "sendmsg")),
        failures=raises(errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS, errno.EMSGSIZE, errno.EAGAIN),
        storms={"EAGAIN": 12, "ENOBUFS": 12},
    ),
    "receive": Kind(
        calls=tuple((socket.socket, name) for name in ("recv", "recvfrom", "recvmsg", "recv_into")),
        failures=raises(errno.ECONNRESET, errno.ETIMEDOUT, errno.ENOMEM),  # EAGAIN would be no truth: there is something
    ),
    "accept": Kind(
        calls=((socket.socket, "_accept"),),
        failures=raises(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO),
        storms={"EMFILE": 3},
    ),
    "bind": Kind(
        calls=((socket.socket, "bind"), (socket.socket, "listen")),
        failures=raises(errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, errno.ENOBUFS),
        storms={"EADDRINUSE": 20},
    ),
    "socket": Kind(
        calls=((socket.socket, "__init__"),),
        failures=raises(errno.EMFILE, errno.ENOBUFS, errno.EAFNOSUPPORT, errno.EACCES),
    ),
    "connect": Kind(
        calls=((socket.socket, "connect_ex"), (socket.socket, "connect")),
        failures=raises(
            errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EACCES
        ),
    ),
    "option": Kind(
        calls=((socket.socket, "setsockopt"), (socket.socket, "getsockopt")),
        failures=raises(errno.ENOPROTOOPT, errno.EINVAL, errno.ENOBUFS),
    ),
    "name": Kind(
        calls=((socket.socket, "getsockname"), (socket.socket, "getpeername")),
        failures=raises(errno.ENOTCONN, errno.ENOBUFS),
    ),
    "shutdown": Kind(
        calls=((socket.socket, "shutdown"),), failures=raises(errno.ENOTCONN)
    ),
    "epoll": Kind(
        calls=((select, "epoll"), (os, "pipe2"), (os, "splice")), failures=raises(errno.EMFILE, errno.ENOMEM)
    ),
    "resolve": Kind(
        calls=((socket, "getaddrinfo"),),
        failures={
            "EAI_NONAME": functools.partial(socket.gaierror, socket.EAI_NONAME, "Name or service not known"),
            "EAI_AGAIN": functools.partial(socket.gaierror, socket.EAI_AGAIN, "Temporary failure"),
            "EAI_SYSTEM": functools.partial(socket.gaierror, -11, "System error"),
            **raises(errno.EMFILE, errno.EIO),
        },
        anywhere=True,
    ),
    "thread": Kind(
        calls=((threading.Thread, "start"),),
        failures={"RuntimeError": functools.partial(RuntimeError, "can't start new thread")},
        anywhere=True,
        callers=(OURS, POOLS),
    ),
    "file": Kind(
        calls=(
            (builtins, "open"), (io, "open"), (os, "open"), (os, "fdopen"), (os, "stat"), (os, "fstat"), (os, "replace"),
            (os, "fsync"), (os, "chmod"), (os, "fchmod"), (os, "unlink"), (pathlib.Path, "open"), (pathlib.Path, "stat"),
            (pathlib.Path, "read_bytes"), (pathlib.Path, "read_text"), (pathlib.Path, "replace"), (pathlib.Path, "chmod"),
            (pathlib.Path, "unlink"), (ssl.SSLContext, "load_cert_chain"), (ssl.SSLContext, "load_verify_locations"),
        ),
        failures=raises(errno.EIO, errno.ENOSPC, errno.ENOENT, errno.EMFILE, errno.EACCES),
        anywhere=True,
    ),
}  # fmt: skip


@dataclass(kw_only=True)
class Plan:
    """Which call fails, with what, and how often in a row."""

    failure: Callable[[], Exception]
    step: int = 0
    times: int = 1
    side: str = ""  # "" for any
    count: int = 0  # calls so far
    failed: list[str] = field(default_factory=list)  # which did, by where they stand

    def due(self, kind: Kind, caller: FrameType, name: str) -> Exception | None:
        """Return what a call raises; None where it goes on to the operating system."""
        if not caller.f_code.co_filename.startswith(kind.callers):
            return None
        if self.side and not kind.anywhere and SIDE.get() != self.side:
            return None
        number, self.count = self.count, self.count + 1
        if not self.step <= number < self.step + self.times:
            return None
        where = f"{caller.f_code.co_filename.removeprefix(OURS)}:{caller.f_lineno}"
        self.failed.append(f"{name} at {where} in {caller.f_code.co_qualname}")
        return self.failure()


@contextlib.contextmanager
def failing(kind: Kind, plan: Plan) -> Iterator[Plan]:
    """Have calls fail as planned until the block ends."""
    with contextlib.ExitStack() as stack:
        for owner, name in kind.calls:
            original = getattr(owner, name)
            inherited = isinstance(owner, type) and name not in vars(owner)
            setattr(owner, name, _failing_call(original, kind, name, plan))
            if inherited:
                stack.callback(delattr, owner, name)
            else:
                stack.callback(setattr, owner, name, original)
        yield plan


def _failing_call(original: Callable[..., Any], kind: Kind, name: str, plan: Plan) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        if name == "__init__" and named.get("fileno") is not None:  # makes no socket
            return original(*arguments, **named)
        error = plan.due(kind, sys._getframe(1), name)
        if error is None:
            return original(*arguments, **named)
        if name == "connect_ex":
            assert isinstance(error, OSError)
            return error.errno
        if name == "shutdown":  # which fails on what is over
            _reset(arguments[0])
        raise error

    return call


def _reset(sock: socket.socket) -> None:
    """Have a TCP connection be as one that its peer has reset; the peer is reset as well (connect(2), AF_UNSPEC)."""
    ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16)


def each_failing(name: str, act: Callable[[], object]) -> Iterator[tuple[str, Exception | None]]:
    """Do something over and over while one call of a kind after the other fails, in each way.

    Give each time what failed, and what was raised; last of all, for each way, "" for a run in which nothing did.
    """
    for failure in KINDS[name].failures.values():
        for step in itertools.count():
            error: Exception | None = None
            with failing(KINDS[name], Plan(failure=failure, step=step)) as plan:
                try:
                    act()
                except Exception as raised:  # noqa: BLE001 - for the caller to judge
                    error = raised
            yield "; ".join(plan.failed), error
            if not plan.failed:
                break
