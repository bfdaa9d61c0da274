"""A PostgreSQL of our own, for as long as a test takes."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.origins import Place, refusing_place


@contextlib.contextmanager
def postgres() -> Iterator[Place]:
    """Run one that lets in the user postgres. The test skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    as_user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    with refusing_place() as place:
        pass  # a port that is free
    with tempfile.TemporaryDirectory() as folder:
        if as_user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        subprocess.run(
            [*as_user, found[-1] / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        options = f"-p {place.port} -k {folder} -c listen_addresses={place.host} -c fsync=off"
        control = [*as_user, found[-1] / "pg_ctl", "-D", data, "-s", "-w"]
        yield from _running(control, options, folder, place)


def _running(control: list[object], options: str, folder: str, place: Place) -> Iterator[Place]:
    log = f"{folder}/log"
    subprocess.run(
        [*map(str, control), "-o", options, "-l", log, "start"], check=True, stdin=subprocess.DEVNULL
    )
    try:
        yield place
    finally:
        subprocess.run([*map(str, control), "-m", "immediate", "stop"], check=True)
