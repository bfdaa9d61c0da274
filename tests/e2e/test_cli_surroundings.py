"""Servers in surroundings that are not as they should be: closed descriptors, a log that nobody takes."""

import contextlib
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.footprint import eventually
from tests.kit.origins import Place, echo
from tests.kit.proxies import ENVIRONMENT, connect_request, receive_exactly

PATIENCE = 20.0

pytestmark = [pytest.mark.e2e]


@contextlib.contextmanager
def started(
    folder: Path, *flags: str, redirections: str = "", stderr: int | None = None, loop: str = "auto"
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a server at a Unix socket, by a shell that redirects; it must have ended well when the block is left."""
    path = folder / "proxy"
    words = [sys.executable, "-m", "socks6", "server", f"--listen=socks6+unix://{path}", f"--loop={loop}"]
    line = f"exec {shlex.join([*words, '--drain=0', *flags])} {redirections}"
    with subprocess.Popen(["/bin/bash", "-c", line], env=ENVIRONMENT, stderr=stderr) as process:
        try:
            limit = time.monotonic() + PATIENCE
            while not path.exists():
                assert process.poll() is None, process.returncode
                assert time.monotonic() < limit
                time.sleep(0.01)
            yield process, path
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def ask(path: Path, target: Place) -> None:
    """Have an echo answer through the server."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        assert eventually(lambda: not sock.connect_ex(str(path)))  # it is there before it takes connections
        sock.sendall(connect_request(target) + b"hello")
        reply = receive_exactly(sock, 4 + 4 + 8 + 5)
        assert (reply[:3], reply[-5:]) == (b"\x06\0\0", b"hello")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("redirections", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(tmp_path: Path, redirections: str, loop: str) -> None:
    with echo() as target, started(tmp_path, redirections=redirections, loop=loop) as (process, path):
        ask(path, target)
        for descriptor in range(3):
            assert not os.readlink(f"/proc/{process.pid}/fd/{descriptor}").startswith(("socket:", "anon"))


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    with (
        os.fdopen(reading),
        os.fdopen(writing) as pipe,
        echo() as target,
        started(tmp_path, "-vv", stderr=pipe.fileno()) as (_, path),
    ):
        for _ in range(60):  # some 150 characters each, twice
            ask(path, target)


def test_a_full_disk_below_the_log_stops_nothing(tmp_path: Path) -> None:
    with echo() as target, started(tmp_path, "-v", redirections="2>/dev/full") as (_, path):
        ask(path, target)
