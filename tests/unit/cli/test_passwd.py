"""socks6 passwd, with input from a pipe; tests/e2e asks at a terminal."""

import io
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from socks6.cli import passwd
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.users_file import parse_users, read_users_file


def made(monkeypatch: pytest.MonkeyPatch, name: str, typed: bytes, file: Path | None = None) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    assert passwd.run(Namespace(name=name, file=file)) == 0


@pytest.mark.slow
def test_a_users_file_is_changed_in_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    users = tmp_path / "users"
    made(monkeypatch, "alice", b"123456\n", users)
    made(monkeypatch, "bob", b"654321\n", users)
    made(monkeypatch, "alice", b"new\n", users)
    assert capsys.readouterr().out == f"{users}: added alice\n{users}: added bob\n{users}: changed alice\n"
    entries = read_users_file(users).entries
    assert (len(entries), entries["alice"].matches(b"new"), entries["bob"].matches(b"654321")) == (
        2,
        True,
        True,
    )


@pytest.mark.parametrize("typed", [b"123456\n", b"123456\r\nmore\n", b"123456"])
def test_the_first_line_is_the_password(
    typed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(monkeypatch, "alice", typed)
    out, err = capsys.readouterr()
    assert parse_users(out, "it")["alice"].matches(b"123456")
    assert err == ""


@pytest.mark.parametrize("typed", [b"", b"\n", b"\xff\n", b"x" * 256])
def test_what_is_no_password(typed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        made(monkeypatch, "alice", typed)


def test_a_name_that_may_not_be_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigurationError, match="user name"):
        passwd.run(Namespace(name="a:b", file=None))


def test_two_passwords_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["123456", "654321"])
    monkeypatch.setattr(passwd, "getpass", lambda _: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(ConfigurationError, match="different"):
        passwd.run(Namespace(name="alice", file=None))
