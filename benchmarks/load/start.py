"""What starting takes: from the start of a process until a request through it has been answered, or until it has ended.

Wall time and CPU time (user and system) of the process, the best and the median of several starts. The best is what the start
costs by itself; the median is what it costs on this machine now. Rows take turns.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.load import machine
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.peers import ROOT
from benchmarks.load.processes import ProcessError
from benchmarks.load.starting import START_TIMEOUT, free_port, program

SUITE: Final = "start"
RESULTS: Final = ROOT / "benchmarks" / "results"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
REPEAT: Final = 20
QUICK_REPEAT: Final = 5
RETRY_SECONDS: Final = 0.001  # between attempts to connect to what does not listen yet

SOCKS5_GREETING: Final = bytes.fromhex("05 01 00")
SOCKS5_CONNECT: Final = bytes.fromhex("05 01 00 01 7f000001")
SOCKS6_CONNECT: Final = bytes.fromhex("06 01 0000")
SOCKS6_ADDRESS: Final = bytes.fromhex("00 01 7f000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds of one start."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a row may need: a host to reach, a SOCKS 6 server of ours, and a free port for what is started."""

    origin: int
    server: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A command, and how it is asked once it listens: by `socks5` or `socks6`; "" for one that ends by itself."""

    name: str
    command: Callable[[Place], list[str]]
    ask: str = ""


def _ours(*words: str) -> Callable[[Place], list[str]]:
    """Return the command line of ours, in which {port}, {server} and {origin} stand for ports."""
    return lambda place: [sys.executable, "-m", "socks6", *(word.format(**asdict(place)) for word in words)]


def _microsocks(place: Place) -> list[str]:
    return [program("microsocks"), "-i", "127.0.0.1", "-p", str(place.port)]


_VIA: Final = ("--via", "socks6://127.0.0.1:{server}")

ROWS: Final = (
    Row(name="microsocks", command=_microsocks, ask="socks5"),
    Row(name="server", command=_ours("server", "--listen", "socks6://127.0.0.1:{port}"), ask="socks6"),
    Row(name="server, mixed", command=_ours("server", "--listen", "mixed://127.0.0.1:{port}"), ask="socks6"),
    Row(name="client", command=_ours("client", *_VIA, "--listen", "mixed://127.0.0.1:{port}"), ask="socks5"),
    Row(name="forward", command=_ours("forward", *_VIA, "{port}", "127.0.0.1:{origin}"), ask="nothing"),
    Row(name="connect", command=_ours("connect", *_VIA, "127.0.0.1", "{origin}")),
    Row(name="ping", command=_ours("ping", "socks6://127.0.0.1:{server}", "-c", "1")),
    Row(name="--version", command=_ours("--version")),
    Row(name="--help", command=_ours("--help")),
    Row(name="server --help", command=_ours("server", "--help")),
    Row(name="unknown flag", command=_ours("connect", "--nothing")),
    Row(name="python alone", command=lambda _: [sys.executable, "-c", "pass"]),
    Row(name="python and asyncio", command=lambda _: [sys.executable, "-c", "import asyncio"]),
)


@contextlib.contextmanager
def _origin() -> Iterator[int]:
    """Run a host that says one byte to each of its clients, and closes; yield its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener is closed
                while True:
                    with listener.accept()[0] as stream:
                        stream.sendall(b"!")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def _answered(place: Place, ask: str) -> bool:
    """Return whether a request is answered; False where nothing listens yet."""
    try:
        stream = socket.create_connection(("127.0.0.1", place.port), START_TIMEOUT)
    except OSError:
        return False
    port = place.origin.to_bytes(2, "big")
    with stream:
        if ask == "socks6":
            stream.sendall(SOCKS6_CONNECT + port + SOCKS6_ADDRESS)
        elif ask == "socks5":
            stream.sendall(SOCKS5_GREETING)
            stream.recv(2)
            stream.sendall(SOCKS5_CONNECT + port)
        received = b""
        while not received.endswith(b"!"):
            if not (more := stream.recv(4096)):
                raise ProcessError(f"closed after {received.hex()}")
            received += more
    return True


def _start(row: Row, place: Place) -> Start:
    """Start a command, wait for what it is for, end it. Raises ProcessError."""
    command = row.command(place)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": str(ROOT / "src")},
    )
    wall = 0.0
    try:
        while row.ask and not _answered(place, row.ask):
            if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT:
                raise ProcessError(f"{' '.join(command)} does not listen")
            time.sleep(RETRY_SECONDS)
        wall = time.perf_counter() - began if row.ask else 0.0
    finally:
        if row.ask:
            process.kill()  # not politely: its end is no part of the start
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0  # it was waited for
    return Start(wall=wall or time.perf_counter() - began, cpu=used.ru_utime + used.ru_stime)


def measure(rows: Sequence[Row], repeat: int) -> tuple[dict[str, list[Start]], dict[str, str]]:
    """Start every row once, then every row again; return what each took, and what failed."""
    starts: dict[str, list[Start]] = {row.name: [] for row in rows}
    failures: dict[str, str] = {}
    with _origin() as origin:
        place = Place(origin=origin, server=free_port(), port=0)
        server = _ours("server", "--listen", "socks6://127.0.0.1:{server}")(place)
        with subprocess.Popen(server, stderr=subprocess.DEVNULL) as running:
            try:
                until = time.monotonic() + START_TIMEOUT
                while not _answered(Place(origin=origin, server=0, port=place.server), "socks6"):
                    if time.monotonic() > until:
                        raise ProcessError(f"{' '.join(server)} does not listen")
                    time.sleep(RETRY_SECONDS)
                for turn in range(-1, repeat):  # the first, which may compile modules, does not count
                    print(f"  {turn + 1} of {repeat}", file=sys.stderr, flush=True)
                    for row in rows:
                        if row.name in failures:
                            continue
                        try:
                            taken = _start(row, Place(origin=origin, server=place.server, port=free_port()))
                        except (OSError, ProcessError) as error:
                            failures[row.name] = str(error)
                            continue
                        if turn >= 0:
                            starts[row.name].append(taken)
            finally:
                running.kill()
    return starts, failures


def report(
    starts: Mapping[str, Sequence[Start]], failures: Mapping[str, str], about: Mapping[str, str]
) -> str:
    """Return a page with a table."""
    lines = ["# Starting, until a request is answered or the command has ended", ""]
    lines += ["| row | wall ms, best | median | CPU ms, best | median |", "|---|---:|---:|---:|---:|"]
    for name, taken in starts.items():
        if taken:
            walls, cpus = [start.wall * 1e3 for start in taken], [start.cpu * 1e3 for start in taken]
            figures = (min(walls), median(walls), min(cpus), median(cpus))
            lines.append(f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
    lines += ["", *(f"- {name} failed: {why}" for name, why in failures.items())]
    lines += ["## Where", "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, alone on this machine."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {SUITE}", description=__doc__)
    parser.add_argument("--repeat", type=int, help=f"starts of each row ({REPEAT}; quick: {QUICK_REPEAT})")
    parser.add_argument("--rows", default="", help="only rows whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument("--output", type=Path, help="directory for the results")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, leave)
    rows = [row for row in ROWS if asked.rows in row.name]
    repeat = asked.repeat or (QUICK_REPEAT if asked.quick else REPEAT)
    output = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    about = machine.describe()
    try:
        with alone():
            starts, failures = measure(rows, repeat)
    except (NotAloneError, ProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    about["starts of each row"] = str(repeat)
    about["load average at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    page = report(starts, failures, about)
    output.mkdir(parents=True, exist_ok=True)
    base = output / f"{about['date'].split()[0]}-{SUITE}"
    samples = {name: list(map(asdict, taken)) for name, taken in starts.items()}
    whole = {"suite": SUITE, "machine": about, "failures": failures, "seconds": samples}
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    base.with_suffix(".md").write_text(page)
    print(page, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
