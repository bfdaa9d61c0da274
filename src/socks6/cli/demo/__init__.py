"""socks6 demo: all of it at work on this machine, in one process, under the eyes of curl."""

import tempfile
from argparse import Namespace
from pathlib import Path

from socks6.cli import FAILED, complain
from socks6.cli.demo.acts import ACTS
from socks6.cli.demo.curl import is_installed
from socks6.cli.demo.performance import differences, perform, picture, story
from socks6.cli.demo.site import large_file
from socks6.cli.demo.stage import Stage
from socks6.cli.loops import run_loop


def run(arguments: Namespace) -> int:
    """Perform every act; 1 if anything came out otherwise than it should."""
    del arguments  # there is nothing to choose
    if not is_installed():
        complain("the demonstration needs curl, which is not installed")
        return FAILED
    with tempfile.TemporaryDirectory(prefix="socks6-demo-") as folder:
        return FAILED if run_loop(_show(Path(folder)), "auto") else 0


async def _show(folder: Path) -> int:
    """Return how many acts went otherwise than they should."""
    upload = folder / "upload"
    _fill(upload)
    wrong = 0
    async with Stage(upload) as stage:
        _write("", *stage.description())
        for number, act in enumerate(ACTS, 1):
            performance = await perform(act, stage, folder)
            faults = list(differences(performance))
            wrong += bool(faults)
            _write("", "", f"{number}. {act.title}", "")
            _write("   ", *story(performance))
            _write("   NOT AS IT SHOULD BE: ", *faults)
            _write("   ", *_after_a_gap(picture(performance)))
    _write("", "", f"{len(ACTS) - wrong} of {len(ACTS)} as they should be")
    return wrong


def _fill(path: Path) -> None:
    path.write_bytes(large_file())


def _after_a_gap(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []


def _write(indent: str, *lines: str) -> None:
    for line in lines:
        print((indent + line).rstrip(), flush=True)
