"""socks6 users, on a file."""

import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from socks6.cli import main
from socks6.proxy.accounts import Usage
from socks6.proxy.authentication.database_users import DatabaseUsers
from socks6.proxy.authentication.hashes import parse_hash
from socks6.proxy.authentication.users_database import UsersDatabase
from tests.kit.admin import administered

NOW: Final = datetime.now(UTC)
HASH: Final = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$vk+JgWgZGbXHtEqPQPhzXbD+QxxkJR5Fq2AXLhDyYaY"


class Users:
    """Runs the command on a file."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path = path
        self.database = UsersDatabase(path)
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.error = ""

    def __call__(self, *words: str, typed: bytes = b"", code: int = 0) -> str:
        """Return what is printed."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        assert main(["users", *words, "--users-db", str(self.path)]) == code
        printed, self.error = self._capsys.readouterr()
        return printed


@pytest.fixture
def users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Users]:
    made = Users(tmp_path / "users.db", capsys, monkeypatch)
    yield made
    made.database.close()


def test_a_user_is_added_changed_shown_and_removed(users: Users) -> None:
    flags = ("--quota", "10M", "--quota-period", "day", "--down", "1M", "--note", "of sales")
    added = users("add", "alice", *flags, "--expires", "2027-01-31", typed=b"secret\n")
    assert added == "added alice\n"
    users.database.save(
        {"alice": Usage(up=1, down=2, since=users.database.get("alice").limits.quota_period.start(NOW))}
    )
    assert users("list").splitlines() == [
        "NAME                     STATE     EXPIRES                  USED     LEFT QUOTA              UP/S   DOWN/S  NOTE",
        "alice                    enabled   2027-01-31T00:00:00Z      3 B    10 MB 10 MB/day             -     1 MB  of sales",
    ]
    changed = users("set", "alice", "--expires", "never", "--disable", "--sources", "192.0.2.0/24", "--json")
    assert json.loads(changed)["sources"] == ["192.0.2.0/24"]
    shown = dict(line.split(maxsplit=1) for line in users("show", "alice").splitlines())
    assert (shown["enabled"], shown["remaining"], shown["sources"]) == ("no", "9999997", "192.0.2.0/24")
    assert "expires" not in shown
    assert users("set", "alice", "--enable", "--password", typed=b"other\n") == "changed alice\n"
    assert parse_hash(users.database.get("alice").hash).matches(b"other")
    assert json.loads(users("show", "alice", "--json"))["enabled"] is True
    assert users("remove", "alice") == "removed alice\n"
    assert users("list").count("\n") == 1
    users("remove", "alice", code=2)
    assert users.error == "socks6: no user 'alice'\n"


def test_a_password_that_is_made_is_printed_once(users: Users) -> None:
    made = json.loads(users("add", "alice", "--generate", "--json"))["password"]
    assert parse_hash(users.database.get("alice").hash).matches(made.encode())
    other = users("set", "alice", "--generate").splitlines()[1].removeprefix("password: ")
    assert len(other) == 20
    assert parse_hash(users.database.get("alice").hash).matches(other.encode())
    assert "hash" not in json.loads(users("list", "--json"))


def test_what_is_exported_is_imported(users: Users, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(
        f"# of before\n\nalice:{HASH}\n{json.dumps({'name': 'bob', 'hash': HASH, 'quota': 7})}\n"
    )
    assert users("import", str(lines)) == f"{users.path}: 2 users imported\n"
    exported = users("export")
    assert [json.loads(line)["quota"] for line in exported.splitlines()] == [0, 7]
    users("import", "-", typed=exported.encode(), code=2)
    assert users.error == "socks6: there is a user 'alice' already\n"
    users("import", "-", "--replace", typed=users("list", "--json").encode())  # limits without hashes
    users("import", "-", "--replace", typed=exported.encode())
    assert users("export") == exported


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("alice", "is neither JSON nor of the form name:hash"),
        ("{", "is neither JSON nor of the form name:hash"),
        ('{"hash": "x"}', "has no name"),
        ("\xff", "is neither JSON nor of the form name:hash"),
    ],
)
def test_a_line_that_is_wrong_is_named(users: Users, line: str, what: str) -> None:
    users("import", "-", typed=f"carl:{HASH}\n".encode() + line.encode("latin-1"), code=2)
    assert users.error == f"socks6: standard input:2: {what}\n"
    assert len(users.database) == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("set", "alice"), "nothing to change: see socks6 users set --help"),
        (("list",), "no such file; `socks6 users add NAME --users-db"),
        (("add", "alice", "--quota", "10MB", "--generate"), "quota: '10MB' is no number of bytes"),
        (("add", "alice"), "a password has 1 to 255 bytes"),
    ],
)
def test_what_cannot_be_done_is_one_line(users: Users, words: tuple[str, ...], what: str) -> None:
    users(*words, code=2)
    assert users.error.count("\n") == 1
    assert what in users.error


def test_a_running_proxy_manages_its_users_as_well(
    users: Users, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users("add", "alice", typed=b"secret\n")
    listed, path = users("list"), str(tmp_path / "admin.sock")

    def run(*words: str, code: int = 0) -> str:
        assert main(["users", *words, "--admin", path]) == code
        printed, users.error = capsys.readouterr()
        return printed

    with administered(path, authenticator=DatabaseUsers(users.database)):
        assert run("list") == listed
        assert run("add", "bob/2", "--generate", "--quota", "10M").startswith("added bob/2\npassword: ")
        assert run("set", "bob/2", "--disable", "--note", "x") == "changed bob/2\n"
        assert run("show", "bob/2") == users("show", "bob/2")
        assert run("show", "bob/2", "--json") == users("show", "bob/2", "--json")
        assert run("remove", "bob/2") == "removed bob/2\n"
        run("show", "bob/2", code=1)
        assert users.error == "socks6: no user 'bob/2'\n"
        run("export", code=2)
        run("import", "-", code=2)
        assert users.error == "socks6: users are imported into a file: name it by --users-db\n"
