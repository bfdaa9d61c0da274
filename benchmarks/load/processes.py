"""Start processes on one core, talk to them in lines, measure their CPU time and memory, and end them always."""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

OPEN_FILES: Final = 20_000
STOP_TIMEOUT: Final = 3.0
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A process ended, or did not say in time what was expected of it."""


class Process:
    """A child process, in a group of its own, bound to cores, that dies with us."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: frozenset[int],
        environment: Mapping[str, str] | None = None,
        keep_errors: bool = True,
    ) -> None:
        def prepare() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, cores)
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        self.command = tuple(command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe that nobody reads would fill up)
        self._popen = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors if keep_errors else subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  (no threads here)
        )
        self.id = self._popen.pid
        self._waiting = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and its group, politely at first."""
        for name in (signal.SIGTERM, signal.SIGKILL):
            self._signal_group(name)
            try:
                self._popen.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                continue
            break
        self._signal_group(signal.SIGKILL)
        for pipe in (self._popen.stdin, self._popen.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def _signal_group(self, name: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, name)

    def ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._popen.poll() is not None

    def tell(self, line: str) -> None:
        """Write one line to the process."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def line(self, *, timeout: float) -> str:
        """Return the next line of standard output."""
        assert self._popen.stdout is not None
        number = self._popen.stdout.fileno()
        until = time.monotonic() + timeout
        while b"\n" not in self._waiting:
            readable, _, _ = select.select([number], [], [], max(0.0, until - time.monotonic()))
            more = os.read(number, 65536) if readable else b""
            if not more:
                raise ProcessError(f"{self.command[0]} {'ended' if readable else 'is late'}: {self.errors()}")
            self._waiting += more
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting[:] = rest
        return line.decode()

    def errors(self) -> str:
        """Return what the process wrote to standard error so far, its end if it is long."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 2000, max(0, size - 2000)).decode(errors="replace").strip()


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the thread ended meanwhile
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process tree: exact for living processes and their past threads, and what
    ended children have left to them."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for pid in tree(root):
        try:
            total += time.clock_gettime(
                ~pid << 3 | 2
            )  # the CPU clock of another process (clock_getcpuclockid)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile: its parent's sum has it
        total += (int(fields[13]) + int(fields[14])) / ticks
    return total


def memory_bytes(root: int) -> dict[str, int]:
    """Return resident (rss) and proportional (pss) memory of a process tree."""
    sums = {"rss": 0, "pss": 0}
    for pid in tree(root):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name.lower() in sums:
                sums[name.lower()] += int(rest.split()[0]) * 1024
    return sums


def machine_cpu_seconds() -> float:
    """Return the CPU time that the whole machine has been busy."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
