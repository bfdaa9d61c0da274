"""`python -m benchmarks pair`: what a pair of processes costs and how long it waits, ours beside others', in one run.

Xray and shadowsocks-rust take part if they are there; `--build xray,shadowsocks` builds them first (Go and Rust; some
ten minutes). The cells of the delayed link need root and /dev/net/tun.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import machine
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.build import NoCompilerError, build
from benchmarks.load.measure import Bench, run_undisturbed
from benchmarks.load.pairs import first_byte, programs
from benchmarks.load.pairs.cells import CELLS, PairCell, figure, parts
from benchmarks.load.pairs.makers import PAIRS, Pair
from benchmarks.load.pairs.report import Figures, write
from benchmarks.load.peers import ROOT
from benchmarks.load.processes import ProcessError
from benchmarks.load.suites import Sample
from tests.kit.link.cable import LINK_OBSTACLE

SUITE: Final = "pair"
RESULTS: Final = ROOT / "benchmarks" / "results"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
LINK_REPEAT: Final = 15
QUICK_LINK_REPEAT: Final = 5


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {SUITE}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers", default=",".join(PAIRS), help=f"comma-separated, of {', '.join(PAIRS)} (all)"
    )
    parser.add_argument(
        "--cells", default=",".join(CELLS), help=f"comma-separated, of {', '.join(CELLS)} (all)"
    )
    parser.add_argument("--seconds", type=float, help="how long each sample takes (1.5; quick: 1)")
    parser.add_argument("--repeat", type=int, help="samples of each cell (3; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument("--patience", type=int, default=1, help="tries to measure undisturbed by others (1)")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds for other benchmarks to end (600)")
    parser.add_argument(
        "--build", default="", help=f"first build these, of {', '.join(programs.SOURCES)}, where missing"
    )
    parser.add_argument("--output", type=Path, help="directory for the results")
    asked = parser.parse_args(words)
    for flag, known in (("peers", PAIRS), ("cells", CELLS), ("build", programs.SOURCES)):
        names = [name for name in getattr(asked, flag).split(",") if name]
        if unknown := [name for name in names if name not in known]:
            parser.error(f"there is no {unknown[0]}; there are {', '.join(known)}")
        setattr(asked, flag, names)
    asked.seconds = asked.seconds or (1.0 if asked.quick else 1.5)
    asked.repeat = asked.repeat or (2 if asked.quick else 3)
    asked.output = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    return asked


def _measure_cell(
    bench: Bench, cell: PairCell, pairs: Sequence[Pair], repeat: int, notes: list[str]
) -> dict[str, Figures]:
    """Take turns: every pair once, then every pair again."""
    assert cell.load is not None
    samples: dict[str, list[Sample]] = {pair.name: [] for pair in pairs}
    failed: set[str] = set()
    for turn in range(cell.samples or repeat):
        for pair in pairs:
            if pair.name in failed:
                continue
            _told(f"{cell.name}, {turn + 1} of {cell.samples or repeat}: {pair.name}")
            try:
                samples[pair.name].append(run_undisturbed(bench, pair.peer(), cell.load))
            except (ProcessError, RuntimeError, OSError) as error:
                failed.add(pair.name)
                notes.append(f"{pair.label}, {cell.name}: {str(error).strip().splitlines()[-1]}")
    taken = [sample.disturbance for each in samples.values() for sample in each if sample.seconds]
    if cell.load.mode != "idle" and taken:
        notes.append(f"{cell.name}: others used at most {max(taken):.0%} of a core meanwhile")
    notes += [
        f"{PAIRS[name].label}, {cell.name}: {lost} failed or lost"
        for name, each in samples.items()
        if (lost := sum(sample.errors for sample in each))
    ]
    found: dict[str, Figures] = {}
    for name, each in samples.items():
        whole = [sample for sample in each if cell.load.mode == "idle" or sample.count or sample.bytes]
        if whole:
            split = [] if cell.load.mode == "idle" else [parts(cell, sample) for sample in whole]
            found[name] = Figures(values=[figure(cell, sample) for sample in whole], parts=split)
    return found


def _measure_link(pairs: Sequence[Pair], repeat: int, notes: list[str]) -> dict[str, dict[str, Figures]]:
    if LINK_OBSTACLE:
        notes.append(f"no delayed link: {LINK_OBSTACLE}")
        return {}
    _told(f"delayed link, {repeat} requests each")
    waits, trip, failures = first_byte.measure(pairs, repeat=repeat)
    notes.append(f"delayed link: a round trip takes {trip * 1e3:.1f} ms; {repeat} requests each")
    notes += [f"{PAIRS[name].label}, delayed link: {why}" for name, why in failures.items()]
    seen = [(name, each) for name, each in waits.items() if each.first_byte]
    return {
        "reply": {name: Figures(values=[each / trip for each in waited.reply]) for name, waited in seen},
        "first-byte": {
            name: Figures(values=[each / trip for each in waited.first_byte]) for name, waited in seen
        },
    }


def _told(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def run(asked: argparse.Namespace) -> int:
    """Measure and write."""
    cores = sorted(os.sched_getaffinity(0))
    bench = Bench(
        programs=build(),
        seconds=asked.seconds,
        patience=asked.patience,
        load_cores=frozenset(cores[:1]),
        proxy_cores=frozenset(cores[1:2] or cores),
    )
    about = {**machine.describe(), **programs.versions()}
    began = time.monotonic()
    results: dict[str, dict[str, Figures]] = {}
    notes: list[str] = []
    obstacles = {name: PAIRS[name].obstacle() for name in asked.peers}
    notes += [f"without {PAIRS[name].label}: {obstacle}" for name, obstacle in obstacles.items() if obstacle]
    pairs = [PAIRS[name] for name, obstacle in obstacles.items() if not obstacle]
    for name in asked.cells:
        cell = CELLS[name]
        if cell.load is not None:
            taking_part = [pair for pair in pairs if pair.takes_part(name)]
            results[name] = _measure_cell(bench, cell, taking_part, asked.repeat, notes)
    if on_link := [name for name in asked.cells if CELLS[name].load is None]:
        taking_part = [pair for pair in pairs if pair.takes_part("first-byte")]
        repeat = QUICK_LINK_REPEAT if asked.quick else LINK_REPEAT
        seen = _measure_link(taking_part, repeat, notes)
        results |= {name: seen.get(name, {}) for name in on_link}
    about["load average at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    about["took"] = f"{time.monotonic() - began:.0f} s"
    print(write(asked.output, SUITE, results, notes, about).read_text(), flush=True)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, alone on this machine."""
    asked = arguments(words)
    signal.signal(signal.SIGTERM, leave)
    try:
        for name in asked.build:
            programs.build(name)
        with alone(wait=asked.wait):
            return run(asked)
    except (NotAloneError, NoCompilerError, ProcessError) as error:
        print(error, file=sys.stderr)
        return 1
