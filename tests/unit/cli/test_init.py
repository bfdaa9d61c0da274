"""What every command has in common: exit codes, and errors in one line."""

import gc
import os
import subprocess
import sys
from argparse import Namespace

import pytest

from socks6.cli import describe, main
from socks6.cli.process_title import WARNING
from socks6.errors import ConnectionRefused, ProxyUnreachable


def code_of(*words: str) -> object:
    """Return the exit code, however it comes."""
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


def test_wrong_configuration_is_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("server", "--listen", "socks7://") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("socks6: --listen: 'socks7://': has an unknown scheme")
    assert err.count("\n") == 1


def test_a_failure_is_1_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOCKS6_PROXY", raising=False)
    via = "socks6+unix:///nowhere/at/all"
    assert code_of("connect", "--via", via, "example.com", "80") == 1
    _, err = capsys.readouterr()
    assert err == f"socks6: cannot reach the proxy {via}: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["server", "--via=socks6://a:s3cret@b", "--foo=s3cret"],
            "unknown flag --foo (see socks6 server --help)",
        ),
        (["ping", "socks6://a", "s3cret"], "too many arguments (see socks6 ping --help)"),
        (
            ["ping", "-c", "0"],
            "argument -c/--count: '0' is no whole number (1 or more) (see socks6 ping --help)",
        ),
        (["connect", "h", "0"], "argument PORT: '0' is no port (1 to 65535) (see socks6 connect --help)"),
        (
            ["connect", "h", "alice:s3cret"],
            "argument PORT: ... is no port (1 to 65535) (see socks6 connect --help)",
        ),
        (
            ["server", "--drain", "nan"],
            "--drain: expected a finite number",
        ),
        (
            ["bind", "localhost"],
            "argument TARGET_HOST:TARGET_PORT: 'localhost' is not of the form HOST:PORT (see socks6 bind --help)",
        ),
        (
            ["bind", "--listen-on", "80", "localhost:80"],
            "argument --listen-on: '80' is not of the form HOST:PORT or :PORT (see socks6 bind --help)",
        ),
        (
            ["ping", "--via-file", "a", "--via-file", "b"],
            "--via-file twice: there is one proxy to go through (see socks6 ping --help)",
        ),
        (["servr"], "argument COMMAND: unknown 'servr', did you mean server? (see socks6 --help)"),
        (
            ["completion", "zhs"],
            "argument SHELL: unknown 'zhs', did you mean zsh? (see socks6 completion --help)",
        ),
        (["client", "--lis", "x"], "unknown flag --lis, did you mean --listen? (see socks6 client --help)"),
    ],
)
def test_wrong_usage_is_2_and_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*words) == 2
    assert capsys.readouterr().err == f"socks6: {complaint}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["alice:s3cret@host"],
        ["socks6://alice:s3cret@host"],
        ["ping", "socks6://alice:s3cret@host:port"],
        ["connect", "--via", "socks6://alice:s3cret@host:port", "h", "1"],
        ["server", "--user", "s3cret"],
        ["server", "--user", ":s3cret"],
        ["server", "--listen", "socks6://alice:s3cret@127.0.0.1"],
        ["server", "--via", "socks6://alice:s3cret@127.0.0.1"],
        ["completion", "alice:s3cret"],
    ],
)
def test_no_error_tells_a_secret(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*words) == 2
    assert "s3cret" not in capsys.readouterr().err


def test_ctrl_c_is_a_failure_without_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("socks6.cli.check.run", interrupted)
    assert code_of("check", "socks6.toml") == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("own", "warning"), [(True, f"socks6: {WARNING}\n"), (False, "")])
def test_a_process_of_its_own_collects_garbage_again_and_hides_its_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: bool, warning: str
) -> None:
    collects = []

    def run(parsed: Namespace) -> int:
        collects.append(gc.isenabled())
        return 7

    monkeypatch.setattr("socks6.cli.check.run", run)
    monkeypatch.setattr("socks6.cli.hides_passwords", lambda words: words == ["check", "socks6.toml"])
    monkeypatch.setattr("sys.argv", ["socks6", "check", "socks6.toml"])
    assert main(None if own else ["check", "socks6.toml"]) == 7
    assert collects == [True]
    assert capsys.readouterr().err == warning


def test_a_shell_gets_candidates_and_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("_complete", "cl") == 0
    assert capsys.readouterr().out.startswith("client\t")
    assert code_of("_complete", "--nonsense", "\0") == 0
    assert capsys.readouterr().err == ""


def test_a_fault_of_ours_is_told_whole_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.cli.check.run", lambda parsed: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        code_of("check", "socks6.toml")


def test_errors_of_the_system_are_told_without_their_number() -> None:
    assert (
        describe(PermissionError(13, "Permission denied", "/etc/shadow")) == "/etc/shadow: Permission denied"
    )
    assert describe(OSError(98, "Address already in use")) == "Address already in use"


def test_our_own_errors_are_told_as_they_are() -> None:
    assert describe(ConnectionRefused("the proxy replied 05")) == "the proxy replied 05"
    assert describe(ProxyUnreachable("nobody there")) == "nobody there"


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert describe(TimeoutError()) == "TimeoutError"


def test_output_that_nobody_reads_any_more_is_no_fault_to_tell_of() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = [sys.executable, "-m", "socks6", "passwd", "alice"]  # a line: it waits in the buffer
        done = subprocess.run(
            words, input=b"secret\n", stdout=writer, stderr=subprocess.PIPE, check=False, env=environment
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
