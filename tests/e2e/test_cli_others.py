"""The commands that do not stay: check, passwd, completion; `make demo`."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from socks6.proxy.authentication.users_file import parse_users
from tests.kit.processes import END_SECONDS, socks6

pytestmark = pytest.mark.e2e


def test_the_version() -> None:
    ended = socks6("--version")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith(b"socks6 ")


def test_check_finds_no_fault_in_the_example() -> None:
    ended = socks6("check", "examples/socks6.toml")
    assert (ended.code, ended.output, ended.errors) == (0, b"examples/socks6.toml: no faults\n", "")


def test_check_tells_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text('listen = "socks6://0.0.0.0:1"\n')
    ended = socks6("check", str(path))
    assert (ended.code, ended.output) == (2, b"")
    assert ended.errors.startswith(f"{path}:1: listen[0]: socks6://0.0.0.0:1 can be reached by others")


def test_passwd_makes_a_line_of_what_a_pipe_says() -> None:
    ended = socks6("passwd", "alice", typed="pässword\n".encode())
    assert (ended.code, ended.errors) == (0, "")
    line = ended.output.decode()
    assert line.startswith("alice:$argon2id$")
    assert parse_users(line, "it")["alice"].matches("pässword".encode())


def passwd_at_a_terminal(*typed: bytes) -> tuple[int, bytes, bytes]:
    """Answer each prompt; return the exit code, standard output, and what the screen showed."""
    keyboard, terminal = pty.openpty()
    screen = b""
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "socks6", "passwd", "alice"],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            start_new_session=True,  # so that it has no other terminal to ask at
        ) as process:
            for prompt, answer in zip((b"password: ", b"again: "), typed, strict=True):
                while not screen.endswith(prompt):
                    screen += os.read(keyboard, 1024)
                os.write(keyboard, answer)
            output, _ = process.communicate(timeout=END_SECONDS)
        screen += os.read(keyboard, 1024)
    finally:
        os.close(keyboard)
        os.close(terminal)
    return process.returncode, output, screen


def test_passwd_asks_twice_at_a_terminal_and_shows_nothing() -> None:
    code, output, screen = passwd_at_a_terminal(b"123456\n", b"123456\n")
    assert code == 0
    assert output.startswith(b"alice:$argon2id$")
    assert b"123456" not in screen


def test_passwd_wants_the_same_password_twice() -> None:
    code, output, screen = passwd_at_a_terminal(b"123456\n", b"654321\n")
    assert (code, output) == (2, b"")
    assert b"two different passwords" in screen


def test_bash_completes() -> None:
    script = """
        socks6() { "$PYTHON" -m socks6 "$@"; }
        command() { "$@"; }
        compopt() { :; }
        source <(socks6 completion bash)
        for line in "socks6 se" "socks6 server --listen mix" "socks6 server --listen mixed:" "socks6 check pyproj"; do
            COMP_LINE=$line COMP_POINT=${#line} _socks6
            echo "${COMPREPLY[@]}"
        done
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["server", "mixed://", "//", "pyproject.toml"]


@pytest.mark.parametrize(("path", "code"), [(os.environ["PATH"], 0), ("/nowhere", 1)])
def test_the_demonstration(path: str, code: int) -> None:
    """`make demo` shows seven runs as they should be; without curl it says what is missing."""
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        assert done.stderr == "demo: curl is needed, which is not installed\n"
    else:
        assert done.stdout.endswith("\n7 of 7 as they should be\n")
        assert "user=demo command=CONNECT host=localhost" in done.stdout
