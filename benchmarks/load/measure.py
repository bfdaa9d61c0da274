"""Run one cell with one peer once, and say what was seen."""

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.build import Programs
from benchmarks.load.network import enter_new_network
from benchmarks.load.peers import Peer
from benchmarks.load.processes import (
    Process,
    ProcessError,
    cpu_seconds,
    machine_cpu_seconds,
    memory_bytes,
    tree,
)
from benchmarks.load.starting import Running
from benchmarks.load.suites import DISTURBED, Cell, Sample

SETUP_TIMEOUT: Final = 90.0
WARM_UP: Final = 1.5  # seconds; a client loads pyOpenSSL after some answers
WARM_UP_CONNECTIONS: Final = 64
SETTLING: Final = 1.5
"""Seconds until the memory of opened or closed connections counts as what it will stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The tools, and how long and where they run."""

    programs: Programs
    seconds: float
    patience: int
    load_cores: frozenset[int]
    proxy_cores: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    at: float
    proxy: dict[str, float]
    origin: float
    load: float
    machine: float
    swallowed: int


class Run:
    """One origin and one started proxy."""

    def __init__(self, bench: Bench, peer: Peer, running: Running, origin: Process) -> None:
        self.bench = bench
        self.peer = peer
        self.running = running
        self.origin = origin
        self.origin_port = int(origin.line(timeout=5.0).split()[1])

    def load_datagrams(self, associations: int, size: int) -> Process:
        """Start the load generator for datagrams."""
        command = [str(self.bench.programs.udpload), *self.peer.load_options()]
        command += ["-P", str(self.running.port), "-c", str(associations), "-s", str(size)]
        command += ["-w", str(WARM_UP), "-t", str(self.bench.seconds)]
        return Process(command, cores=self.bench.load_cores)

    def load(self, mode: str, connections: int, most: int) -> Process:
        """Start the load generator."""
        command = [str(self.bench.programs.loadgen), "-m", mode, *self.peer.load_options()]
        command += ["-P", str(self.running.port), "-o", str(self.origin_port), "-c", str(connections)]
        command += ["-n", str(most), "-w", str(WARM_UP), "-t", str(self.bench.seconds)]
        return Process(command, cores=self.bench.load_cores)

    def moment(self, load: Process) -> _Moment:
        """Read every clock."""
        self.origin.tell("")
        return _Moment(
            swallowed=int(self.origin.line(timeout=5.0)),
            at=time.monotonic(),
            proxy={name: cpu_seconds(process.id) for name, process in self.running.processes.items()},
            origin=cpu_seconds(self.origin.id),
            load=sum(cpu_seconds(process.id) for process in (load, *self.running.helpers)),
            machine=machine_cpu_seconds(),
        )

    def memory(self) -> dict[str, int]:
        """Return memory and descriptors of the proxy's processes together."""
        sums = {"rss": 0, "pss": 0, "descriptors": 0}
        for process in self.running.processes.values():
            for name, size in memory_bytes(process.id).items():
                sums[name] += size
            for pid in tree(process.id):
                sums["descriptors"] += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return sums


def run_undisturbed(bench: Bench, peer: Peer, cell: Cell) -> Sample:
    """Return the sample least disturbed by others, of at most `patience` repetitions.

    Raises ProcessError when the last of them fails, or when none was good.
    """
    taken: list[Sample] = []
    for attempt in range(bench.patience):
        try:
            taken.append(run_once(bench, peer, cell))
        except ProcessError as error:
            if attempt + 1 == bench.patience:
                raise
            print(f"    once more: {error}", file=sys.stderr)
            continue
        if taken[-1].disturbance <= DISTURBED:
            break
    return min(taken, key=lambda sample: sample.disturbance)


def run_once(bench: Bench, peer: Peer, cell: Cell) -> Sample:
    """Start everything afresh, measure, end everything."""
    enter_new_network()
    with ExitStack() as stack:
        lifetime = str(int(3 * SETUP_TIMEOUT + bench.seconds))
        origin = stack.enter_context(Process([str(bench.programs.origin), lifetime], cores=bench.load_cores))
        running = stack.enter_context(peer.start(bench.proxy_cores))
        run = Run(bench, peer, running, origin)
        return _memory(run, cell) if cell.mode == "idle" else _speed(run, cell)


def _speed(run: Run, cell: Cell) -> Sample:
    with _load(run, cell) as load:
        _expect(load, "ready", SETUP_TIMEOUT)
        load.tell("go")
        _expect(load, "measure", WARM_UP + 10.0)
        before = run.moment(load)
        result = json.loads(load.line(timeout=run.bench.seconds + 30.0))
        after = run.moment(load)
    cpu = {name: after.proxy[name] - spent for name, spent in before.proxy.items()}
    load_cpu, origin_cpu = after.load - before.load, after.origin - before.origin
    up = cell.mode == "up"
    return Sample(
        seconds=after.at - before.at if up else result["seconds"],
        count=result["count"],
        bytes=after.swallowed - before.swallowed if up else result["bytes"],
        errors=result["errors"],
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        cpu=cpu,
        load_cpu=load_cpu,
        origin_cpu=origin_cpu,
        others_cpu=max(0.0, after.machine - before.machine - load_cpu - origin_cpu - sum(cpu.values())),
        connections=cell.connections,
    )


def _load(run: Run, cell: Cell) -> Process:
    if cell.mode == "udp":
        return run.load_datagrams(cell.connections, cell.size)
    return run.load(cell.mode, cell.connections, cell.most)


def _memory(run: Run, cell: Cell) -> Sample:
    with run.load("idle", WARM_UP_CONNECTIONS, 0) as load:
        _expect(load, "ready", SETUP_TIMEOUT)
    time.sleep(SETTLING)
    before = run.memory()
    started = time.monotonic()
    with run.load("idle", cell.connections, 0) as load:
        _expect(load, "ready", SETUP_TIMEOUT)
        seconds = time.monotonic() - started
        time.sleep(SETTLING)
        after = run.memory()
    return Sample(
        seconds=seconds,
        connections=cell.connections if run.running.processes else 0,
        rss=after["rss"] - before["rss"],
        pss=after["pss"] - before["pss"],
        descriptors=after["descriptors"] - before["descriptors"],
    )


def _expect(process: Process, word: str, timeout: float) -> None:
    said = process.line(timeout=timeout)
    if said != word:
        raise RuntimeError(f"the load generator said {said!r} instead of {word!r}")
