"""What starting any proxy for a benchmark takes."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from benchmarks.load.processes import Process, ProcessError

START_TIMEOUT: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started proxy: its port, and its processes by name; `helpers` are on the load's side."""

    port: int
    processes: dict[str, Process]
    helpers: tuple[Process, ...] = ()


Start = Callable[[frozenset[int]], AbstractContextManager[Running]]


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_listening(process: Process, port: int, *, host: str = "127.0.0.1") -> None:
    """Wait until a process takes connections. Raises ProcessError."""
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until and not process.ended():
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0):
            return
        time.sleep(0.05)
    raise ProcessError(f"{process.command[0]} does not listen: {process.errors()}")


def program(name: str) -> str:
    """Return where a program is. Raises ProcessError."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ProcessError(f"{name} is not installed")
    return path
