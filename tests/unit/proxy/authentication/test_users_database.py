"""The users database: what it keeps, what it refuses, and what becomes of it when others meddle."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from socks6.errors import ConfigurationError, GeneralFailure
from socks6.policy.user_limits import NO_LIMITS, UserLimits
from socks6.proxy.accounts import Usage
from socks6.proxy.authentication import users_database
from socks6.proxy.authentication.hashes import parse_hash
from socks6.proxy.authentication.users_database import (
    APPLICATION,
    DatabaseUnavailable,
    UnknownUser,
    UserExists,
    UsersDatabase,
    check_database,
)

HASH: Final = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$vk+JgWgZGbXHtEqPQPhzXbD+QxxkJR5Fq2AXLhDyYaY"
NOON: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
MONTH: Final = datetime(2026, 11, 1, tzinfo=UTC)


def opened(path: str) -> contextlib.closing[sqlite3.Connection]:
    """Open a file as others do."""
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "users.db")


@pytest.fixture
def database(path: str) -> Iterator[UsersDatabase]:
    made = UsersDatabase(path, create=True, clock=lambda: NOON)
    yield made
    made.close()


def test_a_user_is_kept_with_all_that_was_said_of_it(database: UsersDatabase, path: str) -> None:
    limits = {"quota": "10M", "quota_period": "day", "expires": "2027-01-31", "sources": ["192.0.2.0/24"]}
    added = database.add("alice", {"hash": HASH, "note": "of sales", **limits})
    assert added.limits == UserLimits.parse(limits)
    assert (added.enabled, added.note, added.created) == (True, "of sales", "2026-11-30T12:00:00Z")
    assert HASH not in repr(added)
    freed = {"quota": 0, "quota_period": "month", "expires": None, "sources": ""}
    assert database.set("alice", freed).limits is NO_LIMITS
    other = UsersDatabase(path)
    assert other.get("alice") == database.get("alice")
    assert [record.name for record in other.list()] == ["alice"]
    other.close()
    database.remove("alice")
    assert len(database) == 0


def test_a_password_becomes_a_hash(database: UsersDatabase) -> None:
    hashed = database.add("alice", {"password": "secret"}).hash
    assert parse_hash(hashed).matches(b"secret")
    changed = database.set("alice", {"password": "other"}).hash
    assert parse_hash(changed).matches(b"other")


def test_what_is_changed_is_changed_alone(database: UsersDatabase) -> None:
    before = database.add("alice", {"hash": HASH, "up": 7, "note": "kept"})
    after = database.set("alice", {"down": "1k", "enabled": False})
    assert (after.limits.up, after.limits.down, after.note, after.hash) == (7, 1000, "kept", before.hash)
    assert after.refusal(NOON) == "the user is disabled"
    assert database.set("alice", {}) == after


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "has neither a password nor a hash"),
        ({"hash": "plain"}, "what stands for the password is not a hash of a kind"),
        ({"hash": 5}, "hash: is no text"),
        ({"password": "x" * 256}, "a password has 1 to 255 bytes"),
        ({"hash": HASH, "enabled": "yes"}, "enabled: 'yes' is neither true nor false"),
        ({"hash": HASH, "note": "two\nlines"}, "note: is no line"),
        ({"hash": HASH, "quota": "much"}, "quota: 'much' is no number of bytes"),
        ({"hash": HASH, "created": "now"}, "'created' cannot be set: write password, hash, "),
    ],
)
def test_what_cannot_be_is_named_and_nothing_is_kept(
    database: UsersDatabase, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        database.add("alice", values)
    assert len(database) == 0


def test_a_name_is_one_users_and_one_that_users_can_have(database: UsersDatabase) -> None:
    database.add("alice", {"hash": HASH})
    with pytest.raises(UserExists, match="there is a user 'alice' already"):
        database.add("alice", {"hash": HASH})
    with pytest.raises(ConfigurationError, match="has a colon"):
        database.add("a:b", {"hash": HASH})
    calls: list[Callable[[], object]] = [
        lambda: database.get("bob"),
        lambda: database.set("bob", {"note": "x"}),
        lambda: database.remove("bob"),
    ]
    for call in calls:
        with pytest.raises(UnknownUser, match="no user 'bob'"):
            call()


def test_many_are_added_whole_or_not_at_all(database: UsersDatabase) -> None:
    many = [(f"user{number:04}", {"hash": HASH}) for number in range(2500)]
    with pytest.raises(ConfigurationError, match="neither a password"):
        database.load_all([*many, ("bad", {})])
    assert len(database) == 0
    assert database.load_all(many) == len(database) == 2500
    assert [record.name for record in database.list()] == [name for name, _ in many]
    assert [record.name for record in database.list(after="user0997", limit=1500)][::1499] == [
        "user0998",
        "user2497",
    ]
    with pytest.raises(UserExists):
        database.load_all([("user0001", {"hash": HASH})])
    database.load_all([("user0001", {"hash": HASH, "note": "new", "created": "2020-01-01"})], replace=True)
    record = database.get("user0001")
    assert (record.note, record.created, len(database)) == ("new", "2020-01-01", 2500)
    exported = record.values(with_hash=True)
    database.remove("user0001")
    database.load_all([(str(exported.pop("name")), exported)])
    assert database.get("user0001") == record


def test_each_change_is_noticed_elsewhere_but_not_what_is_used(database: UsersDatabase, path: str) -> None:
    other = UsersDatabase(path)
    numbers = [database.change_number()]
    for change in (
        lambda: database.add("alice", {"hash": HASH}),
        lambda: database.set("alice", {"note": "x"}),
        lambda: database.save({"alice": Usage(up=1)}),
        lambda: database.remove("alice"),
    ):
        change()
        numbers.append(other.change_number())
    assert numbers == [1, 2, 3, 3, 4]
    other.close()


def test_what_is_used_counts_in_its_period(database: UsersDatabase, path: str) -> None:
    database.add("alice", {"hash": HASH, "quota": 100})
    assert (database.load("alice"), database.get("alice").remaining) == (Usage(), 100)
    assert database.find(["alice", "bob"]).keys() == {"alice"}
    assert database.load("alice") == Usage(since=MONTH)  # from memory: it was found
    database.save({"alice": Usage(up=30, down=90, since=MONTH)})
    assert database.load("alice") == Usage(up=30, down=90, since=MONTH)
    next_month = UsersDatabase(path, clock=lambda: datetime(2026, 12, 1, tzinfo=UTC))
    assert next_month.load("alice") == Usage(up=30, down=90, since=MONTH)
    assert (database.get("alice").remaining, next_month.get("alice").remaining) == (0, 100)
    database.remove("alice")
    database.find(["alice"])
    database.add("alice", {"hash": HASH})
    assert database.load("alice") == Usage()
    next_month.close()


def test_usage_is_remembered_within_bounds(database: UsersDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_database, "REMEMBERED_USAGE", 2)
    database.save({name: Usage(up=1) for name in ("a", "b", "c")})
    assert (list(database._usage), database.load("a").up) == (["b", "c"], 1)


def test_the_file_is_its_owners_alone(database: UsersDatabase, path: str) -> None:
    database.add("alice", {"hash": HASH})
    assert os.stat(path).st_mode & 0o777 == 0o600
    database.close()
    os.chmod(path, 0o620)
    with pytest.raises(DatabaseUnavailable, match="others than its owner can change it; try chmod go-w"):
        database.get("alice")
    os.chmod(path, 0o600)
    assert database.get("alice").name == "alice"


def foreign(path: str) -> None:
    with opened(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def newer(path: str) -> None:
    with opened(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def newer_of_others(path: str) -> None:
    with opened(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(users_database.MIGRATIONS)}")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "no such file; `socks6 users add NAME --users-db "),
        (lambda path: Path(path).write_bytes(b"rubbish" * 1000), "file is not a database"),
        (foreign, "is a database of another program"),
        (newer, "was made by a newer socks6"),
        (newer_of_others, "is a database of another program"),
        (os.mkdir, "unable to open database file"),
    ],
)
def test_what_is_no_database_of_ours_is_left_alone(
    path: str, made: Callable[[str], object] | None, message: str
) -> None:
    if made is not None:
        made(path)
        os.chmod(path, 0o700)
    with pytest.raises(DatabaseUnavailable, match=message) as caught:
        check_database(path)
    assert str(caught.value).startswith(path)


def test_a_path_in_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="Not a directory"):
        UsersDatabase(tmp_path / "file" / "users.db", create=True).get("alice")


def test_a_damaged_file_is_an_error_until_it_is_whole_again(database: UsersDatabase, path: str) -> None:
    database.load_all((f"user{number}", {"hash": HASH, "quota": 5}) for number in range(500))
    database.close()
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:4096] + b"\xee" * (len(whole) - 4096))
    with pytest.raises(DatabaseUnavailable, match="malformed"):
        database.get("user7")
    with pytest.raises(GeneralFailure, match="what the user has used cannot be read"):
        database.load("user7")
    Path(path).write_bytes(whole)
    assert database.get("user7").name == "user7"


def test_rows_of_others_that_cannot_be(database: UsersDatabase, path: str) -> None:
    database.add("alice", {"hash": HASH})
    with opened(path) as connection:
        connection.execute("UPDATE users SET sources = 'everywhere'")
    with pytest.raises(DatabaseUnavailable, match="user 'alice': sources: "):
        database.get("alice")


def test_readers_do_not_wait_for_a_writer_and_writers_not_for_ever(
    database: UsersDatabase, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_database, "BUSY_SECONDS", 0.01)
    database.add("alice", {"hash": HASH})
    database.close()
    with opened(path) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM users")
        assert database.get("alice").name == "alice"
        with pytest.raises(DatabaseUnavailable, match="another process has been writing it for "):
            database.set("alice", {"note": "x"})
        other.execute("ROLLBACK")
    assert database.set("alice", {"note": "x"}).note == "x"


def test_an_empty_file_becomes_a_database(path: str) -> None:
    Path(path).touch(0o600)
    assert check_database(path) == path
    with opened(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
