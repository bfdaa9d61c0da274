"""`python -m benchmarks page`: how long Chromium takes to load a page of 100 small resources, through pairs and directly.

The page's hosts are at the far end of a link with delay (20 ms one way), with the servers; Chromium and the clients are at
the near end. The pairs are warm, the browser has no connection open. It needs root, /dev/net/tun and Chromium.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.load import machine
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.pairs import first_byte, page_origin, programs
from benchmarks.load.pairs.makers import PAIRS
from benchmarks.load.peers import ROOT
from benchmarks.load.processes import Process, ProcessError
from tests.kit.link.cable import LINK_OBSTACLE

SUITE: Final = "page"
RESULTS: Final = ROOT / "benchmarks" / "results"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
PICTURES: Final = ROOT / "docs" / "pictures"
DIRECT: Final = "direct"
WAYS: Final = (
    *(DIRECT, "ours-tls", "ours-tls-optimistic", "ours-quic", "ours-quic-optimistic"),
    *("shadowsocks", "xray-tls", "ssh"),
)
LABELS: Final = {DIRECT: "direct", **{name: pair.label for name, pair in PAIRS.items()}}
DELAY: Final = 0.020
"""Seconds, one way."""
LOADS: Final = 3
"""That one browser does."""
LOAD_TIMEOUT: Final = 30.0
EXPLANATION: Final = (
    f"{sum(page_origin.sizes()) / 1e3:.0f} kB over HTTP/1.1 from {page_origin.HOSTS} hosts beside the server, "
    f"{2 * DELAY * 1e3:g} ms there and back from the browser and the client's process. Time from navigation to the "
    "load event; the browser has no connection yet, the pair is warm."
)
PLOT: Final = ".venv/bin/python -m pip install --group plot"
FLAGS: Final = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one load took."""

    seconds: float
    connections: int


Loads = Mapping[str, Sequence[Load]]
"""By the name of the way."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {SUITE}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers", default=",".join(WAYS), help=f"comma-separated, of {', '.join(WAYS)} (all)"
    )
    parser.add_argument("--repeat", type=int, help=f"browsers for each, of {LOADS} loads each (2; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds for other benchmarks to end (600)")
    parser.add_argument("--output", type=Path, help="directory for the results")
    parser.add_argument(
        "--pictures", type=Path, help="directory for the plot (docs/pictures; quick: results')"
    )
    parser.add_argument("--draw", type=Path, metavar="JSON", help="draw the plot of earlier results only")
    asked = parser.parse_args(words)
    asked.peers = asked.peers.split(",")
    if unknown := [name for name in asked.peers if name not in WAYS]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(WAYS)}")
    asked.repeat = asked.repeat or (1 if asked.quick else 2)
    asked.output = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    asked.pictures = asked.pictures or (asked.output if asked.quick else PICTURES)
    return asked


def browser_command(profile: str, port: int | None, url: str) -> list[str]:
    """Return Chromium's command line: through a SOCKS 5 proxy at a local port, or directly."""
    proxy = "--no-proxy-server" if port is None else f"--proxy-server=socks5://127.0.0.1:{port}"
    return [programs.optional_program("chromium"), *FLAGS, f"--user-data-dir={profile}", proxy, url]


def measure(ways: Sequence[str], *, repeat: int) -> tuple[dict[str, list[Load]], dict[str, str]]:
    """Load the page by turns; return the loads of each way, and failures."""
    taken: dict[str, list[Load]] = {name: [] for name in ways}
    pairs = [PAIRS[name] for name in ways if name != DIRECT]
    with ExitStack() as stack, first_byte.scene(pairs, delay=DELAY) as scene:
        warm = (scene.road.last_address(), first_byte.origin_port(stack, scene.road))
        for turn in range(repeat):
            for name in ways:
                if name in scene.failures:
                    continue
                print(f"  {turn + 1} of {repeat}: {name}", file=sys.stderr, flush=True)
                try:
                    with scene.road.first.entered():
                        for _ in range(first_byte.WARM_UP if name in scene.ports else 0):
                            first_byte.ask(scene.ports[name], warm)
                    taken[name] += _loaded(scene, name)
                except (OSError, ProcessError) as error:  # that way's alone
                    scene.failures[name] = str(error).strip().splitlines()[-1]
        return taken, scene.failures


def _loaded(scene: first_byte.Scene, name: str) -> Iterator[Load]:
    """Start a browser, which loads the page several times; yield what each load took."""
    address = scene.road.last_address()
    cores = frozenset(os.sched_getaffinity(0))
    words = [sys.executable, "-m", page_origin.__name__, address, str(LOADS)]
    with ExitStack() as stack:
        profile = stack.enter_context(TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True))
        with scene.road.last.entered():
            origin = stack.enter_context(Process(words, cores=cores, environment={"PYTHONPATH": str(ROOT)}))
        url = f"http://{address}:{origin.line(timeout=10.0)}/start"
        command = browser_command(profile, scene.ports.get(name), url)
        with scene.road.first.entered():
            stack.enter_context(
                Process(command, cores=cores, environment={"HOME": profile}, keep_errors=False)
            )
        for _ in range(LOADS):
            seen = json.loads(origin.line(timeout=LOAD_TIMEOUT))
            if seen["failed"]:
                raise ProcessError(f"{seen['failed']} resources failed")
            if (seen["from"] == scene.road.own_address(0)) != (name == DIRECT):
                raise ProcessError(f"the browser came from {seen['from']}")
            yield Load(seconds=seen["ms"] / 1e3, connections=seen["connections"])


def report(taken: Loads, failures: Mapping[str, str], about: Mapping[str, str]) -> str:
    """Return a page with a table."""
    direct = median(load.seconds for load in taken[DIRECT]) if taken.get(DIRECT) else None
    lines = [f"# A page of {page_origin.RESOURCES} small resources in Chromium, over a link of 40 ms", ""]
    lines += [EXPLANATION, ""]
    lines += [
        "| through | median ms | least | most | beside direct | connections |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, loads in taken.items():
        if loads:
            seconds = [load.seconds for load in loads]
            figures = (median(seconds), min(seconds), max(seconds))
            beside = f"{median(seconds) / direct:.2f}" if direct else ""
            cells = " | ".join(f"{figure * 1e3:.0f}" for figure in figures)
            lines.append(
                f"| {LABELS[name]} | {cells} | {beside} | {median(load.connections for load in loads):g} |"
            )
    lines += ["", *(f"- {LABELS[name]} failed: {why}" for name, why in failures.items()), ""]
    lines += ["## Where", "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def run(asked: argparse.Namespace) -> int:
    """Measure, write, draw."""
    if asked.draw:
        saved = json.loads(asked.draw.read_text())["loads"]
        return _drawn(
            {name: [Load(**each) for each in loads] for name, loads in saved.items()}, asked.pictures
        )
    if LINK_OBSTACLE:
        print(LINK_OBSTACLE, file=sys.stderr)
        return 1
    about = {
        **machine.describe(),
        **programs.versions(),
        "chromium": programs.version("chromium", "--version"),
    }
    began = time.monotonic()
    taken, failures = measure(asked.peers, repeat=asked.repeat)
    about["load average at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    about["took"] = f"{time.monotonic() - began:.0f} s"
    asked.output.mkdir(parents=True, exist_ok=True)
    base = asked.output / f"{about['date'].split()[0]}-{SUITE}"
    whole = {
        "suite": SUITE,
        "machine": about,
        "failures": failures,
        "loads": {name: list(map(asdict, loads)) for name, loads in taken.items()},
    }
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    base.with_suffix(".md").write_text(text := report(taken, failures, about))
    print(text, flush=True)
    return _drawn(taken, asked.pictures)


def _drawn(taken: Loads, pictures: Path) -> int:
    try:
        from benchmarks.load.pairs.page_plot import draw  # noqa: PLC0415 - most do without matplotlib
    except ImportError:
        print(f"no plot, for want of matplotlib: {PLOT}", file=sys.stderr)
        return 1
    bars = {LABELS[name]: [load.seconds for load in loads] for name, loads in taken.items() if loads}
    print(
        f"drew {draw(bars, pictures)}",
        file=sys.stderr,
    )
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, alone on this machine."""
    asked = arguments(words)
    signal.signal(signal.SIGTERM, leave)
    try:
        with alone(wait=asked.wait):
            return run(asked)
    except NotAloneError as error:
        print(error, file=sys.stderr)
        return 1
