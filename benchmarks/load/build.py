"""Compile the load generators, the origin and the bare relay, once for each state of their sources."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PROGRAMS: Final = {
    "origin": ("origin.c",),
    "loadgen": ("loadgen.c", "handshake.c"),
    "udpload": ("udpload.c",),
    "udprelay": ("udprelay.c",),
}
FLAGS: Final = ("-O2", "-Wall", "-Wextra")


class NoCompilerError(Exception):
    """There is no C compiler, or it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the compiled programs are."""

    loadgen: Path
    origin: Path
    udpload: Path
    udprelay: Path


def cache_directory() -> Path:
    """Return the directory for compiled programs, made if it is not there."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = root / "socks6-benchmarks"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def build() -> Programs:
    """Return the compiled programs, compiling them if their sources changed."""
    sources = sorted(HERE.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    directory = cache_directory() / digest
    directory.mkdir(exist_ok=True)
    for name, files in PROGRAMS.items():
        if not (directory / name).exists():
            _compile(directory / name, files)
    return Programs(**{name: directory / name for name in PROGRAMS})


def _compile(target: Path, files: tuple[str, ...]) -> None:
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    if compiler is None:
        raise NoCompilerError("the benchmarks need a C compiler: install gcc, or name one in CC")
    unfinished = target.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, "-o", str(unfinished), *(str(HERE / file) for file in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCompilerError(f"{' '.join(command)}\n{done.stderr}")
    unfinished.rename(target)
