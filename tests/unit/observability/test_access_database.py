"""The access log as a database."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest

from socks6.errors import ConfigurationError
from socks6.observability import access_database
from socks6.observability.access_database import (
    CHUNK,
    COLUMNS,
    DELETED_AT_ONCE,
    AccessLogDatabase,
    Cell,
    RowFilter,
    check_database,
    open_database,
    open_to_read,
    read_rows,
    row_time,
)
from socks6.telemetry import Ending
from tests.kit.clock import ManualClock
from tests.kit.ended import ended
from tests.kit.footprint import eventually

NOW: Final = 1_900_000_000.0


@contextmanager
def writing(
    path: Path, *, keep: timedelta | None = None, destinations: bool = True, clock: ManualClock | None = None
) -> Iterator[AccessLogDatabase]:
    database = AccessLogDatabase(
        str(path),
        keep=keep,
        log_destinations=destinations,
        clock=clock or ManualClock(NOW),
        flush_seconds=0.01,
    )
    database.start()
    try:
        yield database
    finally:
        database.close()


def rows(path: Path, limit: int | None = None, **wanted: object) -> list[dict[str, Cell]]:
    with open_to_read(str(path)) as database:
        return [dict(row) for row in read_rows(database, RowFilter(**wanted), limit=limit)]  # type: ignore[arg-type]


def ids(path: Path, limit: int | None = None, **wanted: object) -> list[Cell]:
    return [row["id"] for row in rows(path, limit, **wanted)]


def test_a_row_has_what_a_line_has(tmp_path: Path) -> None:
    with writing(tmp_path / "a.db") as database:
        database.observe(ended(outbound="direct", session="new", token="accepted", peer="a:1"))
    assert rows(tmp_path / "a.db") == [
        {
            "time": 1_900_000_000_000_000,
            "id": 1,
            "source": "192.0.2.1",
            "user": "alice",
            "inbound": "mixed",
            "outbound": "direct",
            "command": "CONNECT",
            "host": "example.com",
            "port": 443,
            "peer": "a:1",
            "session": "new",
            "token": "accepted",
            "ending": "done",
            "reply": 0,
            "reason": "",
            "seconds": 1.2346,
            "up": 10,
            "down": 2_000_000,
        }
    ]
    assert row_time(rows(tmp_path / "a.db")[0]) == datetime.fromtimestamp(NOW, UTC)
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600


def test_where_clients_went_is_there_only_if_it_shall_be(tmp_path: Path) -> None:
    with writing(tmp_path / "a.db", destinations=False) as database:
        database.observe(ended(1, peer="a:1", ending=Ending.FAILED, reason="no route to example.com"))
        database.observe(ended(2, ending=Ending.REFUSED, reason="by the policy"))
    assert [(row["host"], row["port"], row["peer"], row["reason"]) for row in rows(tmp_path / "a.db")] == [
        ("", 0, "", ""),
        ("", 0, "", "by the policy"),
    ]
    assert b"example" not in (tmp_path / "a.db").read_bytes()


def test_rows_are_found_by_user_source_and_time(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    path = tmp_path / "a.db"
    with writing(path, clock=clock) as database:
        for number, (source, user) in enumerate(
            [
                ("192.0.2.1", "alice"),
                ("2001:db8::1%eth0", "bob"),
                ("unix", "bob"),
                ("::ffff:192.0.2.9", "eve"),
            ]
        ):
            clock.now = NOW + number * 60
            database.observe(ended(number, source=source, user=user))
    at = [datetime.fromtimestamp(NOW + number * 60, UTC) for number in range(4)]
    assert ids(path) == [0, 1, 2, 3]
    assert ids(path, user="bob") == [1, 2]
    assert ids(path, sources=(ip_network("192.0.2.0/24"),)) == [0, 3]
    assert ids(path, sources=(ip_network("192.0.2.9"), ip_network("2001:db8::/32"))) == [1, 3]
    assert ids(path, since=at[1], until=at[3]) == [1, 2]
    assert ids(path, limit=2) == [2, 3]
    assert ids(path, user="bob", limit=1, until=at[2]) == [1]
    assert ids(path, limit=0) == []


def test_those_that_come_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(open_database(str(path))):
        pass
    seen: list[Cell] = []
    with writing(path) as writer, open_to_read(str(path)) as database:
        turns = iter([1, 2])

        def follow() -> bool:
            number = next(turns, 0)
            if number:
                writer.observe(ended(number))
                assert eventually(lambda: len(rows(path)) == number)
            return bool(number)

        seen += [row["id"] for row in read_rows(database, RowFilter(), limit=5, follow=follow)]
    assert seen == [1, 2]


def test_more_than_a_statement_holds(tmp_path: Path) -> None:
    count = 21 * CHUNK + 3
    with writing(tmp_path / "a.db") as database:
        for number in range(count):
            database.observe(ended(number))
    assert ids(tmp_path / "a.db") == list(range(count))


def test_a_clock_that_is_set_back_harms_no_row(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    with writing(tmp_path / "a.db", clock=clock) as database:
        for number, when in enumerate((NOW, NOW, NOW - 0.5, NOW - 3600, NOW - 3600)):
            clock.now = when
            database.observe(ended(number))
    assert ids(tmp_path / "a.db") == [3, 4, 0, 1, 2]


def test_what_is_too_old_is_deleted_in_pieces(tmp_path: Path) -> None:
    clock, path = ManualClock(NOW), tmp_path / "a.db"
    with writing(path, clock=clock) as database:
        for number in range(DELETED_AT_ONCE + 10):
            database.observe(ended(number))
    clock.now += 86_400
    with writing(path, clock=clock, keep=timedelta(hours=24)) as database:
        database.observe(ended(5000))
        assert eventually(lambda: len(rows(path)) == DELETED_AT_ONCE + 11)
    clock.now += 1
    with writing(path, clock=clock, keep=timedelta(hours=24)):
        assert eventually(lambda: ids(path) == [5000])


def test_too_many_that_wait_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_database, "MAX_WAITING", 3)
    database = AccessLogDatabase(str(tmp_path / "a.db"), keep=None, log_destinations=True)
    for number in range(5):
        database.observe(ended(number))
    database.start()
    database.close()
    assert ids(tmp_path / "a.db") == [0, 1, 2]
    assert [str(record.msg) for record in caplog.records] == [
        f"log rows dropped path={tmp_path}/a.db count=2"
    ]


def test_a_failure_is_told_once_and_rows_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_database, "RETRY_SECONDS", 0.02)
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database" * 100)
    tries = 0

    def opened(name: str) -> sqlite3.Connection:
        nonlocal tries
        tries += 1
        return open_database(name)

    monkeypatch.setattr(access_database, "open_database", opened)
    with writing(path) as database:
        database.observe(ended(1))
        assert eventually(lambda: tries > 3)
        path.unlink()
        assert eventually(lambda: path.exists() and ids_or_none(path) == [1])
        # the disk is full
        monkeypatch.setattr(access_database, "_INSERT", "INSERT INTO nothing VALUES ")
        database.observe(ended(2))
        assert eventually(lambda: len(caplog.records) == 2)
        monkeypatch.undo()
        assert eventually(lambda: ids(path) == [1, 2])
    assert 'reason="file is not a database"' in str(caplog.records[0].msg)
    assert "log database failed" in str(caplog.records[1].msg)


def ids_or_none(path: Path) -> list[Cell] | None:
    try:
        return ids(path)
    except ConfigurationError:
        return None


def test_the_end_waits_for_a_disk_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_database, "CLOSE_SECONDS", 0.05)
    stuck = threading.Event()

    def never(path: str) -> sqlite3.Connection:
        stuck.wait(5)
        raise OSError(path)

    monkeypatch.setattr(access_database, "open_database", never)
    with writing(tmp_path / "a.db") as database:
        pass
    assert database._thread.is_alive()
    stuck.set()
    database._thread.join(5)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("CREATE TABLE users (name TEXT)")
    (tmp_path / "text").write_text("text" * 1000)
    (tmp_path / "empty").touch()
    for name, fault in (("other.db", "something else"), ("text", "not a database")):
        with pytest.raises(ConfigurationError, match=fault):
            check_database(str(tmp_path / name))
    check_database(str(tmp_path / "empty"))
    check_database(str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(ConfigurationError, match="its folder is missing"):
        check_database(str(tmp_path / "no" / "a.db"))
    for name, fault in (("new.db", "No such file"), ("empty", "no connections yet")):
        with pytest.raises(ConfigurationError, match=fault):
            rows(tmp_path / name)
    with pytest.raises(sqlite3.DatabaseError):
        open_database(str(other))


def test_columns_are_those_of_the_table(tmp_path: Path) -> None:
    with closing(open_database(str(tmp_path / "a.db"))) as database:
        assert [row[1] for row in database.execute("PRAGMA table_info(connections)")] == list(COLUMNS)
    assert not os.path.exists(tmp_path / "a.db-wal")
