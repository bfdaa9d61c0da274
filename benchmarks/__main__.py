"""`make bench`: compare our proxy with others, side by side in one run."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import counting, first_byte, links, machine, networks, report, start
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.build import NoCompilerError, build
from benchmarks.load.measure import Bench, run_undisturbed
from benchmarks.load.pairs import page
from benchmarks.load.pairs import suite as pair
from benchmarks.load.peers import PEERS, ROOT
from benchmarks.load.processes import ProcessError
from benchmarks.load.suites import SUITES, Cell, Sample, Suite

RESULTS: Final = Path(__file__).parent / "results"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"

OF_THEIR_OWN: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    each.SUITE: each.main for each in (first_byte, start, counting, links, networks, pair, page)
}
"""The suites with flags of their own, by name."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"of {', '.join(SUITES)}; all without. {', '.join(OF_THEIR_OWN)} have flags of their own",
    )
    parser.add_argument("--peers", help=f"comma-separated, of {', '.join(PEERS)}")
    parser.add_argument("--cells", default="", help="only cells whose name has this in it")
    parser.add_argument("--seconds", type=float, help="how long each cell is measured (3; quick: 1)")
    parser.add_argument("--repeat", type=int, help="how often each cell is measured (3; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument(
        "--patience", type=int, default=4, help="tries to measure while nobody else uses the machine (4)"
    )
    parser.add_argument("--no-pin", action="store_true", help="load and proxy may use every core")
    parser.add_argument("--output", type=Path, help="directory for the results")
    asked = parser.parse_args(words)
    asked.suites = asked.suites or list(SUITES)
    peers = asked.peers.split(",") if asked.peers else []
    for name, known in [(name, SUITES) for name in asked.suites] + [(name, PEERS) for name in peers]:
        if name not in known:
            parser.error(f"there is no {name}; there are {', '.join(known)}")
    asked.peers = peers
    asked.seconds = asked.seconds or (1.0 if asked.quick else 3.0)
    asked.repeat = asked.repeat or (1 if asked.quick else 3)
    asked.output = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    return asked


def _peers_of(suite: Suite, asked: list[str]) -> list[str]:
    if asked:
        return asked
    if own := [name for name, peer in PEERS.items() if peer.suite == suite.name]:
        return own
    return [name for name, peer in PEERS.items() if peer.usual or not (suite.only_usual or peer.suite)]


def _measure_cell(bench: Bench, cell: Cell, peers: list[str], repeat: int) -> report.CellResult:
    """Take turns: every peer once, then every peer again."""
    samples: dict[str, list[Sample]] = {}
    failures: dict[str, str] = {}
    for turn in range(repeat):
        for name in peers:
            if name in failures:
                continue
            print(f"  {cell.name}, {turn + 1} of {repeat}: {name}", file=sys.stderr, flush=True)
            try:
                samples.setdefault(name, []).append(run_undisturbed(bench, PEERS[name], cell))
            except ProcessError as error:
                failures[name] = str(error).strip().splitlines()[-1]
                print(f"    {error}", file=sys.stderr)
    return report.CellResult(
        cell=cell, samples={name: taken for name, taken in samples.items() if taken}, failures=failures
    )


def _cores(no_pin: bool) -> tuple[frozenset[int], frozenset[int]]:
    every = sorted(os.sched_getaffinity(0))
    if no_pin or len(every) < 2:
        return frozenset(every), frozenset(every)
    return frozenset(every[:1]), frozenset(every[1:2])


def _run(asked: argparse.Namespace) -> int:
    load_cores, proxy_cores = _cores(asked.no_pin)
    bench = Bench(
        programs=build(),
        seconds=asked.seconds,
        patience=asked.patience,
        load_cores=load_cores,
        proxy_cores=proxy_cores,
    )
    about = machine.describe()
    for name in asked.suites:
        suite = SUITES[name]
        print(f"{suite.title}", file=sys.stderr)
        results = [
            _measure_cell(bench, cell, _peers_of(suite, asked.peers), asked.repeat)
            for cell in suite.cells
            if asked.cells in cell.name
        ]
        print(report.write(asked.output, suite, results, about).read_text(), flush=True)
    return 0


def main() -> int:
    """Run what the command line asks for, alone on this machine."""
    if suite := OF_THEIR_OWN.get("".join(sys.argv[1:2])):
        return suite(sys.argv[2:])
    asked = arguments()
    signal.signal(signal.SIGTERM, leave)
    try:
        with alone():
            return _run(asked)
    except (NotAloneError, NoCompilerError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
