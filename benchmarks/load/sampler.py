"""Run a module while noting, for each millisecond of CPU time, which Python functions are at work.

usage: python -m benchmarks.load.sampler RESULT MODULE [ARGUMENT]...

A call into C (a system call, for instance) counts for the Python line that makes it. Sampling starts with
SIGUSR1, so that start-up is left out, and the result is written at the end, to RESULT.PID.
"""

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

PERIOD: Final = 0.001
DEEPEST: Final = 60


class Sampler:
    """Counts functions by the samples that they were on top of, and by those that they were anywhere in."""

    def __init__(self) -> None:
        self.samples = 0
        self.on_top: Counter[str] = Counter()
        self.anywhere: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def start(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Begin to sample."""
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)

    def _note(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.samples += 1
        self.on_top[_name(frame)] += 1
        self.lines[f"{_name(frame)}:{frame.f_lineno}"] += 1
        seen: set[str] = set()
        while frame is not None and len(seen) < DEEPEST:
            seen.add(_name(frame))
            frame = frame.f_back
        self.anywhere.update(seen)

    def write(self, path: Path) -> None:
        """End, and write what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts = {"on_top": self.on_top, "anywhere": self.anywhere, "lines": self.lines}
        path.write_text(json.dumps({"samples": self.samples, **counts}))


def _name(frame: FrameType) -> str:
    parts = Path(frame.f_code.co_filename).parts[-2:]
    return f"{'/'.join(parts)} {frame.f_code.co_qualname}"


def main() -> None:
    """Run the module under the sampler."""
    result, module, *rest = sys.argv[1:]
    sys.argv = [module, *rest]
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, sampler.start)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sampler.write(Path(f"{result}.{os.getpid()}"))


if __name__ == "__main__":
    main()
