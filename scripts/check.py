"""`make check`: what must hold before every commit, as many at a time as there are cores."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from check_module_coverage import PACKAGES

ROOT: Final = Path(__file__).resolve().parent.parent
BIN: Final = Path(sys.executable).parent

WORKERS: Final = (os.cpu_count() or 1) + 1  # tests wait for a third of their time

QUICK: Final = (
    *("pytest", "--quick", "-m", "not deep and not e2e and not slow"),
    *("-p", "no:xdist", "-p", "no:cacheprovider"),
)
PARTS: Final = (
    "tests/unit/net",
    "tests/unit/proxy",
    "tests/unit/relay",
    "tests/unit/client",
    "tests/property",
)

# The longest first. What the coverage check runs is run by nothing else. Each part of the tests is a process that reads
# its own files alone: pytest-xdist would have each worker read all. The cache of import-linter goes wrong when a
# module comes to be that was imported before.
CHECKS: Final[Mapping[str, tuple[str, ...]]] = {
    "types": ("mypy",),
    "module coverage": ("python", "scripts/check_module_coverage.py"),
    "quick tests, the others": (
        *(*QUICK, "tests", "--ignore=tests/e2e", "--ignore=tests/fuzz"),
        *(f"--ignore=tests/unit/{package}" for package in PACKAGES),
        *(f"--ignore={part}" for part in PARTS),
    ),
    **{f"quick tests, {part}": (*QUICK, part) for part in PARTS},
    "import rules": ("lint-imports", "--no-cache", "--no-logo"),
    "generated documents": ("python", "scripts/generate_docs.py", "--check"),
    "lint": ("ruff", "check", "--quiet", "."),
    "format": ("ruff", "format", "--check", "--quiet", "."),
    "change notes": ("python", "scripts/release_notes.py", "--check"),
}


def main() -> int:
    failed = 0
    started = time.perf_counter()
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        running = {pool.submit(_run, command): name for name, command in CHECKS.items()}
        for done in as_completed(running):
            failed += not _told(running[done], done)
    verdict = f"{failed} of {len(CHECKS)} checks FAILED" if failed else f"all {len(CHECKS)} checks passed"
    print(f"{verdict} in {time.perf_counter() - started:.0f} s")
    return 1 if failed else 0


def _run(command: tuple[str, ...]) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.perf_counter()
    result = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return result, time.perf_counter() - started


def _told(name: str, done: "Future[tuple[subprocess.CompletedProcess[str], float]]") -> bool:
    """Print what came of a check, its output only if it failed; return whether it passed."""
    result, seconds = done.result()
    passed = result.returncode == 0
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.1f} s)", flush=True)
    if not passed:
        print(result.stdout, flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
