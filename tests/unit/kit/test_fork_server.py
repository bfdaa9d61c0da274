"""Commands that are forked off are processes as a shell would start them."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.footprint import Footprint, eventually
from tests.kit.fork_server import Command
from tests.kit.netns import Namespace, needs_namespaces
from tests.kit.proxies import ENVIRONMENT

SECONDS = 20.0
SERVER = ("server", "--listen", "socks6://127.0.0.1:0")
VIA = {"SOCKS6_PROXY": "socks6://127.0.0.1:9"}


def first_line(process: Command) -> bytes:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "printed", "complaint"),
    [
        (["--version"], 0, b"socks6 ", b""),
        (["passwd", "alice"], 0, b"alice:$", b""),
        (["connect", "127.0.0.1", "9"], 1, b"", b"socks6: "),
        (["ping", "--unknown"], 2, b"", b"socks6: unknown flag --unknown"),
    ],
)
def test_exit_codes_and_streams(words: list[str], code: int, printed: bytes, complaint: bytes) -> None:
    with Command(*words, environment={**ENVIRONMENT, **VIA}, stdin=subprocess.PIPE) as process:
        output, errors = process.communicate(b"secret\n", timeout=SECONDS)
        assert (process.wait(), process.poll()) == (code, code)
    assert output.startswith(printed)
    assert errors.startswith(complaint)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_signal_ends_it(number: int) -> None:
    with Command(*SERVER, environment=ENVIRONMENT) as process:
        assert first_line(process).startswith(b"listening on ")
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert process.wait(SECONDS) == -number
        process.send_signal(number)  # to nobody


@pytest.mark.slow
def test_what_takes_too_long_is_killed() -> None:
    began = time.monotonic()
    with Command(*SERVER, environment=ENVIRONMENT) as process:
        process.communicate(timeout=0.5)
        assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < SECONDS


def test_folder_limits_and_descriptors_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Command(*SERVER, environment=ENVIRONMENT) as first:
        first_line(first)
        with Command(*SERVER, environment={"HOME": "/nowhere"}, descriptors=50) as second:
            first_line(second)
            assert resource.prlimit(second.pid, resource.RLIMIT_NOFILE) == (50, 50)
            assert os.readlink(f"/proc/{second.pid}/cwd") == str(tmp_path)
            # none of the first one's, none of ours
            assert eventually(
                lambda: Footprint.of(second.pid).descriptors == Footprint.of(first.pid).descriptors
            )
            assert all(os.readlink(f"/proc/{second.pid}/fd/{number}") for number in range(3))
            second.kill()
        first.kill()


@pytest.mark.slow
@needs_namespaces
def test_it_runs_in_the_network_of_the_thread_that_starts_it() -> None:
    inside, ours = Namespace(), os.stat("/proc/self/ns/net")
    try:
        with inside.entered(), Command(*SERVER, environment=ENVIRONMENT) as process:
            first_line(process)
            network = os.stat(f"/proc/{process.pid}/ns/net")
            assert os.path.samestat(network, os.stat(inside.path))
            assert not os.path.samestat(network, ours)
            process.kill()
    finally:
        inside.close()
