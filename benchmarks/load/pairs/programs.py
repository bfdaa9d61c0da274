"""Xray and shadowsocks-rust, which Debian does not package: where they are, and how they are built if asked for."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.load.build import cache_directory
from benchmarks.load.processes import ProcessError
from benchmarks.load.starting import program


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A program's package: what builds it, and the names that the built files get."""

    command: tuple[str, ...]
    programs: Mapping[str, str]
    """What the command installs, by the name that it has here."""
    environment: Mapping[str, str] = field(default_factory=dict)


SOURCES: Final = {
    "xray": Source(
        command=("go", "install", "github.com/xtls/xray-core/main@v1.260327.0"),
        programs={"xray": "main"},
        environment={"GOFLAGS": "-mod=mod"},
    ),
    "shadowsocks": Source(
        command=(
            *("cargo", "install", "shadowsocks-rust", "--version", "1.25.0", "--locked"),
            *("--no-default-features", "--features", "local,server,aead-cipher"),
        ),
        programs={"sslocal": "sslocal", "ssserver": "ssserver"},
    ),
}
HOW_TO_GET: Final = {
    **{
        name: f"python -m benchmarks pair --build {of}"
        for of, each in SOURCES.items()
        for name in each.programs
    },
    "chromium": "apt-get install chromium",
    "ssh": "apt-get install openssh-client",
    "sshd": "apt-get install openssh-server",
}


def directory() -> Path:
    """Return where built programs are kept, for all checkouts of this user."""
    return cache_directory() / "peers" / "bin"


def optional_program(name: str) -> str:
    """Return where a program is: built here, or installed. Raises ProcessError, which tells how to get it."""
    built = directory() / name
    if built.exists():
        return str(built)
    try:
        return program(name)
    except ProcessError as error:
        raise ProcessError(f"{error}: {HOW_TO_GET[name]}") from None


def version(name: str, *words: str) -> str:
    """Return the first line of what a program says of its version; "not installed" if it is not."""
    try:
        command = [optional_program(name), *words]
    except ProcessError:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def versions() -> dict[str, str]:
    """Return the versions of the other pairs' programs."""
    return {
        "xray": version("xray", "version"),
        "shadowsocks-rust": version("ssserver", "--version"),
        "ssh": version("ssh", "-V"),
    }


def build(name: str) -> None:
    """Build a package of `SOURCES` at the lowest priority, unless its programs are there. Raises ProcessError.

    It takes minutes, and compilers and sources of the package's language.
    """
    source = SOURCES[name]
    if all((directory() / each).exists() for each in source.programs):
        return
    if shutil.which(source.command[0]) is None:
        raise ProcessError(f"{name} is built by {source.command[0]}, which is not installed")
    unfinished = directory().parent / f"{name}.{os.getpid()}"
    places = {"GOBIN": str(unfinished / "bin"), "CARGO_INSTALL_ROOT": str(unfinished)}
    environment = {**os.environ, **places, **source.environment}
    try:
        if subprocess.run(["nice", "-n", "19", *source.command], env=environment, check=False).returncode:
            raise ProcessError(f"{' '.join(source.command)} failed")
        directory().mkdir(parents=True, exist_ok=True)
        for ours, theirs in source.programs.items():
            (unfinished / "bin" / theirs).rename(directory() / ours)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
