"""Runs curl, and tells how it went."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAM: Final = "curl"
LIMIT_SECONDS: Final = 60
FORMAT: Final = "%{http_code} %{time_total}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What curl did."""

    exit_code: int
    status: int  # HTTP's
    seconds: float
    body: bytes
    complaint: str


def is_installed() -> bool:
    """Return whether there is a curl."""
    return shutil.which(PROGRAM) is not None


async def run_curl(arguments: tuple[str, ...], body: Path) -> Fetched:
    """Run it with these arguments, whatever its configuration file and the environment say; `body` is scratch."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    limit = ("--max-time", str(LIMIT_SECONDS))
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "-q", "-sS", *limit, "-o", str(body), "-w", FORMAT, *arguments),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        told, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    status, seconds = told.split()
    return Fetched(
        exit_code=process.returncode or 0,
        status=int(status),
        seconds=float(seconds),
        body=_take(body),
        complaint=complaint.decode().strip(),
    )


def _take(path: Path) -> bytes:
    """Return what a file holds, and remove it."""
    if not path.exists():
        return b""
    data = path.read_bytes()
    path.unlink()
    return data
