"""What a process holds: descriptors, memory; and the states of the machine's TCP connections."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PATIENCE: Final = 10.0  # seconds that something which must happen soon gets on a busy machine
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
ESTABLISHED: Final = 0x01
CLOSE_WAIT: Final = 0x08


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a process holds at one moment."""

    descriptors: int
    memory: int  # bytes of RAM that are its own
    threads: int

    @classmethod
    def of(cls, pid: int | str = "self") -> "Footprint":
        """Look at a process. The test skips where there is no /proc."""
        folder = Path(f"/proc/{pid}")
        if not Path("/proc/self/statm").exists():
            pytest.skip("looking at processes needs /proc")
        resident, shared = map(int, (folder / "statm").read_text().split()[1:3])
        return cls(
            descriptors=len(os.listdir(folder / "fd")) - (pid == "self"),  # reading the folder takes one
            memory=(resident - shared) * PAGE,
            threads=len(os.listdir(folder / "task")),
        )


def connections(state: int, *ports: int) -> int:
    """Count the TCP connections of this network namespace in a state, with a local or remote port of these."""
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, remote, there = line.split()[:4]
            if int(there, 16) == state and {_port(local), _port(remote)} & set(ports):
                count += 1
    return count


def eventually(condition: Callable[[], bool], *, within: float = PATIENCE) -> bool:
    """Wait until the condition holds; return whether it did in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def settled(count: Callable[[], int], *, seconds: float = 1.0) -> int:
    """Return a count once it has been the same for some seconds, or patience is over."""
    deadline = time.monotonic() + PATIENCE
    known, since = count(), time.monotonic()
    while (now := time.monotonic()) - since < seconds and now < deadline:
        time.sleep(0.02)
        if (latest := count()) != known:
            known, since = latest, now
    return known


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
