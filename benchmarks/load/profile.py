"""Show where a proxy's CPU goes under one load: system calls, shares of kernel and libraries, Python functions.

usage: python -m benchmarks.load.profile CELL-MODE PEER...     e.g. `connect socks6 microsocks`

Needs strace and perf for what they tell; does without what is not installed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.load.build import build
from benchmarks.load.measure import Bench, Run
from benchmarks.load.network import enter_new_network
from benchmarks.load.peers import PEERS, PYTHON_OPTIONS
from benchmarks.load.processes import Process
from benchmarks.load.suites import SUITES, Cell

SECONDS: Final = 3.0
SHOWN: Final = 30


def _observed(bench: Bench, name: str, cell: Cell, observer: Sequence[str]) -> float:
    """Run a load while a command looks at the proxy; return the count of what was done meanwhile."""
    enter_new_network()
    with ExitStack() as stack:
        origin = stack.enter_context(Process([str(bench.programs.origin), "60"], cores=bench.load_cores))
        running = stack.enter_context(PEERS[name].start(bench.proxy_cores))
        run = Run(bench, PEERS[name], running, origin)
        ids = [process.id for process in running.processes.values()]
        if not observer:
            for process_id in ids:
                os.kill(process_id, signal.SIGUSR1)
        load = stack.enter_context(run.load(cell.mode, cell.connections, 0))
        load.line(timeout=30.0)
        command = [word.replace("PIDS", ",".join(map(str, ids))) for word in observer]
        watcher = (
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if command
            else None
        )
        time.sleep(0.5)
        load.tell("go")
        load.line(timeout=30.0)
        result: dict[str, float] = json.loads(load.line(timeout=60.0))
        if watcher is not None:
            watcher.send_signal(signal.SIGINT)
            watcher.wait(30.0)
    share_of_time = 1.0 + 0.4 / result["seconds"]  # the watcher saw the warm-up too
    return (result["count"] or result["bytes"] / 1e6) * share_of_time


def system_calls(bench: Bench, name: str, cell: Cell) -> list[str]:
    """Return a table of system calls for each unit of work (a MB, in bulk)."""
    with tempfile.NamedTemporaryFile() as file:
        count = _observed(bench, name, cell, ["strace", "-f", "-c", "-o", file.name, "-p", "PIDS"])
        rows = [line.split() for line in Path(file.name).read_text().splitlines()]
    calls = {row[-1]: int(row[3]) / count for row in rows if len(row) >= 5 and row[3].isdigit()}
    total = calls.pop("total", sum(calls.values()))
    shown = sorted(calls.items(), key=lambda item: -item[1])
    return [f"{total:8.2f}  all", *(f"{share:8.2f}  {call}" for call, share in shown if share >= 0.01)]


def shares(bench: Bench, name: str, cell: Cell) -> list[str]:
    """Return how much of the CPU time goes to the kernel and to each library, and the busiest symbols."""
    with tempfile.TemporaryDirectory() as directory:
        data = f"{directory}/perf.data"
        watch = ["perf", "record", "-e", "cpu-clock", "-F", "1999", "-o", data, "-p", "PIDS"]
        _observed(bench, name, cell, watch)
        lines = []
        for key in ("dso", "sym"):
            report = ["perf", "report", "-i", data, "--sort", key, "--stdio"]
            said = subprocess.run(report, capture_output=True, text=True, check=False).stdout
            lines += [line for line in said.splitlines() if re.match(r"\s+\d", line)][:20]
    return lines


def functions(bench: Bench, name: str, cell: Cell) -> list[str]:
    """Return which Python functions and lines the CPU time of each process is spent in."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ[PYTHON_OPTIONS] = f"-m benchmarks.load.sampler {directory}/samples"
        try:
            _observed(bench, name, cell, [])
        finally:
            del os.environ[PYTHON_OPTIONS]
        results = [json.loads(path.read_text()) for path in sorted(Path(directory).iterdir())]
    lines = []
    for number, seen in enumerate(results, 1):
        for kind, title in (("on_top", "by itself"), ("anywhere", "with what it calls"), ("lines", "line")):
            lines += ["", f"   share  {title} (process {number} of {len(results)}, as they were started)"]
            busiest = sorted(seen[kind].items(), key=lambda item: -item[1])[:SHOWN]
            lines += [f"{100 * count / max(1, seen['samples']):7.1f}%  {what}" for what, count in busiest]
    return lines


def main() -> None:
    """Profile what the command line names."""
    cells = {cell.mode: cell for suite in SUITES.values() for cell in suite.cells if cell.mode != "idle"}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.profile", description=__doc__)
    parser.add_argument("mode", choices=cells)
    parser.add_argument("peers", nargs="+", choices=PEERS)
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    bench = Bench(
        programs=build(),
        seconds=SECONDS,
        patience=1,
        load_cores=frozenset(cores[:1]),
        proxy_cores=frozenset(cores[-1:]),
    )
    for name in asked.peers:
        print(f"== {name}, {cells[asked.mode].name} ({asked.mode})")
        for tool, part in (("strace", system_calls), ("perf", shares)):
            if shutil.which(tool):
                print(f"-- {tool}", *part(bench, name, cells[asked.mode]), sep="\n", flush=True)
        if PEERS[name].ours:
            print("-- Python", *functions(bench, name, cells[asked.mode]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
