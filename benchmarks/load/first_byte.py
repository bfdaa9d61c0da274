"""Time from `connect()` to the first byte of the answer, in round trips between client and proxy.

Over links that take time (tests/kit/link): client -- 10 or 50 ms -- proxy -- 5 ms -- origin, one way. Needs root,
/dev/net/tun, and microsocks and danted for the rows that are theirs.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.load import machine
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.peers import ROOT
from benchmarks.load.processes import ProcessError
from benchmarks.load.round_trips import report
from benchmarks.load.round_trips.asking import Attempt
from benchmarks.load.round_trips.report import Measured, Results
from benchmarks.load.round_trips.rows import PINGS, ROWS, Row
from benchmarks.load.round_trips.site import site
from tests.kit.link.cable import LINK_OBSTACLE

RESULTS: Final = ROOT / "benchmarks" / "results"
SUITE: Final = report.SUITE
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
PICTURES: Final = ROOT / "docs" / "pictures"
DELAYS: Final = (0.010, 0.050)
FAR_DELAY: Final = 0.005
REPEAT: Final = 20
QUICK_REPEAT: Final = 3
INSTALL: Final = ".venv/bin/python -m pip install --group plot"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.first_byte",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--repeat", type=int, help=f"how often each row is asked ({REPEAT}; quick: {QUICK_REPEAT})"
    )
    parser.add_argument("--rows", default="", help="only rows whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument("--output", type=Path, help="directory for the results")
    parser.add_argument(
        "--pictures", type=Path, help="directory for the plot (docs/pictures; quick: the results')"
    )
    parser.add_argument(
        "--draw", type=Path, metavar="JSON", help="draw the plot of earlier results, measure nothing"
    )
    words = sys.argv[1:] if words is None else words
    asked = parser.parse_args(words)
    asked.words = words
    asked.repeat = asked.repeat or (QUICK_REPEAT if asked.quick else REPEAT)
    asked.output = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    asked.pictures = asked.pictures or (asked.output if asked.quick else PICTURES)
    return asked


def measure(delay: float, *, repeat: int, only: str = "", far_delay: float = FAR_DELAY) -> Results:
    """Measure all rows over one delay, taking turns: every row once, then every row again."""
    rows = [*PINGS, *(row for row in ROWS if only in row.name)]
    seconds: dict[str, list[float]] = {row.name: [] for row in rows}
    failures: dict[str, str] = {}
    with ExitStack() as held, site(delay, far_delay) as made, made.client.entered():
        attempts: dict[str, Attempt] = {}
        for row in rows:
            with _failing(row, failures):
                attempts[row.name] = held.enter_context(row.way(made))
                attempts[row.name]()  # fetches cookies, opens sessions
        for turn in range(repeat):
            _told(f"{delay * 1e3:g} ms, {turn + 1} of {repeat}")
            for row in rows:
                if row.name not in failures:
                    with _failing(row, failures):
                        seconds[row.name].append(attempts[row.name]())
    ping, far_ping, *others = (
        Measured.of(row, seconds[row.name], failures.get(row.name, "")) for row in rows
    )
    return Results(delay=delay, far_delay=far_delay, ping=ping, far_ping=far_ping, rows=tuple(others))


@contextmanager
def _failing(row: Row, failures: dict[str, str]) -> Iterator[None]:
    """Have a failure be that row's alone."""
    try:
        yield
    except (OSError, ProcessError) as error:
        failures[row.name] = str(error)
        _told(f"{row.name} failed: {error}")


def _told(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def run(asked: argparse.Namespace) -> int:
    """Measure, write, draw."""
    if asked.draw:
        return _drawn(asked.draw, asked.pictures)
    if LINK_OBSTACLE:
        print(LINK_OBSTACLE, file=sys.stderr)
        return 1
    about = {
        **machine.describe(),
        "command": " ".join(["python", "-m", "benchmarks", SUITE, *asked.words]),
        "network": "three namespaces; links of tests/kit/link, a process each",
    }
    results = [measure(delay, repeat=asked.repeat, only=asked.rows) for delay in DELAYS]
    about["load average at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    path = report.write(asked.output, results, about)
    print(path.with_suffix(".md").read_text(), flush=True)
    return _drawn(path, asked.pictures)


def _drawn(path: Path, pictures: Path) -> int:
    try:
        from benchmarks.load.round_trips.plot import draw  # noqa: PLC0415 - most do without matplotlib
    except ImportError:
        print(f"no plot, for want of matplotlib: {INSTALL}", file=sys.stderr)
        return 1
    for picture in draw(report.read(path), pictures):
        print(f"drew {picture}", file=sys.stderr)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, alone on this machine."""
    asked = arguments(words)
    signal.signal(signal.SIGTERM, leave)
    try:
        with alone():
            return run(asked)
    except NotAloneError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
