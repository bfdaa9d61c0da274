"""The users database: a SQLite file of users, their limits and what they have used.

`UsersDatabase` is what `socks6 users`, the admin interface, the authenticator (`database_users`) and the counting of quotas
share. Its file is in WAL mode: servers read while others write, and what a process that was killed had not finished never
happened.
"""

import contextlib
import os
import sqlite3
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError, GeneralFailure
from socks6.policy.user_limits import LIMIT_NAMES, NO_LIMITS, NO_VALUES, QuotaPeriod, UserLimits
from socks6.proxy.accounts import Usage, UsageStore
from socks6.proxy.authentication.hashes import hash_password, parse_hash
from socks6.proxy.authentication.users_file import check_name

BUSY_SECONDS: Final = 5.0  # that a process waits for others' writes
APPLICATION: Final = 0x534B5336  # in the file's header: "SKS6"
MAX_NOTE_LENGTH: Final = 1000
REMEMBERED_USAGE: Final = 65_536  # users whose usage is kept in memory
PAGE_SIZE: Final = 1000  # users that are read at a time

# Each script takes the file from its place in the list to the next version. `change.number` grows with each change of a user.
MIGRATIONS: Final = (
    """
    CREATE TABLE users (
        name TEXT NOT NULL PRIMARY KEY,
        hash TEXT NOT NULL,
        enabled INTEGER NOT NULL DEFAULT 1,
        expires TEXT,
        connections INTEGER NOT NULL DEFAULT 0,
        associations INTEGER NOT NULL DEFAULT 0,
        bindings INTEGER NOT NULL DEFAULT 0,
        up INTEGER NOT NULL DEFAULT 0,
        down INTEGER NOT NULL DEFAULT 0,
        burst INTEGER NOT NULL DEFAULT 0,
        quota INTEGER NOT NULL DEFAULT 0,
        quota_period TEXT NOT NULL DEFAULT 'month',
        sources TEXT NOT NULL DEFAULT '',
        outgoing TEXT NOT NULL DEFAULT '',
        note TEXT NOT NULL DEFAULT '',
        created TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE usage (
        name TEXT NOT NULL PRIMARY KEY,
        up INTEGER NOT NULL,
        down INTEGER NOT NULL,
        since INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE change (number INTEGER NOT NULL);
    INSERT INTO change VALUES (1);
    CREATE TRIGGER added AFTER INSERT ON users BEGIN
        UPDATE change SET number = number + 1;
        DELETE FROM usage WHERE name = new.name;
    END;
    CREATE TRIGGER changed AFTER UPDATE ON users BEGIN UPDATE change SET number = number + 1; END;
    CREATE TRIGGER removed AFTER DELETE ON users BEGIN
        UPDATE change SET number = number + 1;
        DELETE FROM usage WHERE name = old.name;
    END;
    """,
)

COLUMNS: Final = ("name", "hash", "enabled", *LIMIT_NAMES, "note", "created")
SETTABLE: Final = ("password", "hash", "enabled", *LIMIT_NAMES, "note")
_NO_LIMITS_ROW: Final = ["" if value == [] else value for value in NO_VALUES.values()]
_SELECT: Final = f"SELECT {', '.join(f'users.{column}' for column in COLUMNS)}"
_SELECT_USED: Final = (
    f"{_SELECT}, coalesce(usage.up, 0), coalesce(usage.down, 0) FROM users LEFT JOIN usage ON usage.name = users.name"
    " AND usage.since = CASE users.quota_period WHEN 'day' THEN ? WHEN 'month' THEN ? ELSE 0 END"
)


class UnknownUser(ConfigurationError):
    """There is no user of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no user {name!r}")


class UserExists(ConfigurationError):
    """There is a user of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a user {name!r} already")


class DatabaseUnavailable(ConfigurationError):
    """The database is damaged, locked by another process for too long, or cannot be read or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """What the database has on a user."""

    name: str
    hash: str = field(repr=False)
    enabled: bool
    limits: UserLimits
    note: str
    created: str  # in UTC, as in ISO 8601
    used_up: int = field(default=0, compare=False)  # bytes in the current period of its quota
    used_down: int = field(default=0, compare=False)

    @property
    def remaining(self) -> int | None:
        """What is left of the quota in the current period, in bytes; None without a quota."""
        quota = self.limits.quota
        return max(0, quota - self.used_up - self.used_down) if quota else None

    def refusal(self, now: datetime) -> str:
        """Return why the user may not use the proxy; "" if it may."""
        if not self.enabled:
            return "the user is disabled"
        return "the user has expired" if self.limits.has_expired(now) else ""

    def values(self, *, with_hash: bool = False) -> dict[str, object]:
        """Return what can be set, and `created`, as JSON can have it."""
        hashed = {"hash": self.hash} if with_hash else {}
        return {
            "name": self.name,
            **hashed,
            "enabled": self.enabled,
            **self.limits.values(),
            "note": self.note,
            "created": self.created,
        }

    @classmethod
    def of_described(cls, values: Mapping[str, Any]) -> "UserRecord":
        """Return the user that `described` returned this of, without its hash."""
        return cls(
            name=values["name"],
            hash="",
            enabled=values["enabled"],
            limits=UserLimits.parse({name: values[name] for name in LIMIT_NAMES}),
            note=values["note"],
            created=values["created"],
            used_up=values["used_up"],
            used_down=values["used_down"],
        )

    def described(self) -> dict[str, object]:
        """Return the same, without the hash, and what has been used: what people and programs are shown."""
        used = {"used_up": self.used_up, "used_down": self.used_down, "remaining": self.remaining}
        return {**self.values(), **used}


class UsersDatabase(UsageStore):
    """A file of users. Every method may block for `BUSY_SECONDS`, is atomic, and may be called from any thread.

    Values are by the names of SETTABLE, and as `UserLimits.parse` reads them. All methods raise DatabaseUnavailable.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """With `create` a file that is not there is made, readable by its owner alone. Nothing is opened yet."""
        self.path: Final = str(path)
        self._clock = clock
        self._usage: Final[OrderedDict[str, Usage]] = OrderedDict()  # as it is in the file
        # readers never wait for writers, in this process neither
        self._reader: Final = _Connection(self.path, create=create)
        self._writer: Final = _Connection(self.path, create=create)

    def close(self) -> None:
        """Close the file; what is called afterwards opens it anew. Idempotent."""
        self._reader.close()
        self._writer.close()

    def add(self, name: str, values: Mapping[str, object]) -> UserRecord:
        """Add a user and return it; a password or a hash is needed. Raises ConfigurationError, UserExists."""
        check_name(name)
        row = {"created": _text_of(self._clock()), **_row(values)}
        with self._transaction() as connection:
            _insert(connection, name, row)
            return self._find(connection, name)

    def set(self, name: str, values: Mapping[str, object]) -> UserRecord:
        """Change what the values name, and return the user. Raises ConfigurationError, UnknownUser."""
        row = _row(values)
        with self._transaction() as connection:
            if row:
                _update(connection, name, row)
            return self._find(connection, name)

    def get(self, name: str) -> UserRecord:
        """Return a user. Raises UnknownUser."""
        with self._reader.use() as connection:
            return self._find(connection, name)

    def find(self, names: Collection[str]) -> dict[str, UserRecord]:
        """Return those of the users that there are, by name."""
        with self._reader.use() as connection:
            found = ((name, self._found(connection, name)) for name in names)
            records = {name: record for name, record in found if record is not None}
        now = self._clock()
        for name in names:
            if (record := records.get(name)) is None:
                self._usage.pop(name, None)
            elif record.limits.quota and name not in self._usage:
                since = record.limits.quota_period.start(now)
                self._remember_usage(name, Usage(up=record.used_up, down=record.used_down, since=since))
        return records

    def remove(self, name: str) -> None:
        """Remove a user, and what it has used. Raises UnknownUser."""
        with self._transaction() as connection:
            if not connection.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount:
                raise UnknownUser(name)

    def list(self, *, after: str = "", limit: int | None = None) -> Iterator[UserRecord]:
        """Return an iterator over the users in the order of their names: those `after` a name, at most `limit` of them.

        They are read a page at a time: a user that is changed meanwhile is there as it was before or after.
        """
        sql = f"{_SELECT_USED} WHERE users.name > ? ORDER BY users.name LIMIT ?"
        while limit is None or limit > 0:
            size = PAGE_SIZE if limit is None else min(limit, PAGE_SIZE)
            with self._reader.use() as connection:
                page = [_record(row) for row in connection.execute(sql, (*self._periods(), after, size))]
            yield from page
            if len(page) < size:
                return
            after = page[-1].name
            limit = limit and limit - size

    def load_all(self, users: Iterable[tuple[str, Mapping[str, object]]], *, replace: bool = False) -> int:
        """Add many users, all or none, and return how many; with `replace` those that are there are changed.

        Raises ConfigurationError, UserExists.
        """
        created = _text_of(self._clock())
        count = 0
        with self._transaction() as connection:
            for name, values in users:
                check_name(name)
                given = dict(values)
                row = {"created": _text("created", given.pop("created", created)), **_row(given)}
                if not (replace and _update(connection, name, row)):
                    _insert(connection, name, row)
                count += 1
        return count

    def __len__(self) -> int:
        """Return how many users there are."""
        with self._reader.use() as connection:
            return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])

    def sample(self, size: int) -> dict[str, str]:
        """Return the hashes of some users, by name."""
        with self._reader.use() as connection:
            return dict(connection.execute("SELECT name, hash FROM users LIMIT ?", (size,)))

    def change_number(self) -> int:
        """Return a number that grows with each change of a user, by whatever process."""
        with self._reader.use() as connection:
            return int(connection.execute("SELECT number FROM change").fetchone()[0])

    # What users have used: this is the `UsageStore` of the proxy's accounts.

    @override
    def load(self, name: str) -> Usage:
        usage = self._usage.get(name)
        if usage is not None:
            return usage
        try:
            with (
                self._reader.use() as connection
            ):  # of a user of another authenticator: a look-up in memory, mostly
                row = connection.execute(
                    "SELECT up, down, since FROM usage WHERE name = ?", (name,)
                ).fetchone()
        except DatabaseUnavailable as error:
            raise GeneralFailure("what the user has used cannot be read") from error
        if row is None:
            return Usage()
        return Usage(up=row[0], down=row[1], since=datetime.fromtimestamp(row[2], UTC))

    @override
    def save(self, changes: Mapping[str, Usage]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO usage (name, up, down, since) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET up = excluded.up, down = excluded.down, since = excluded.since",
                (
                    (name, usage.up, usage.down, int(usage.since.timestamp()))
                    for name, usage in changes.items()
                ),
            )
        for name, usage in changes.items():
            self._remember_usage(name, usage)

    def _remember_usage(self, name: str, usage: Usage) -> None:
        self._usage[name] = usage
        if len(self._usage) > REMEMBERED_USAGE:
            self._usage.popitem(last=False)

    def _periods(self) -> tuple[int, int]:
        now = self._clock()
        return tuple(  # type: ignore[return-value]  # there are two
            int(period.start(now).timestamp()) for period in (QuotaPeriod.DAY, QuotaPeriod.MONTH)
        )

    def _find(self, connection: sqlite3.Connection, name: str) -> UserRecord:
        record = self._found(connection, name)
        if record is None:
            raise UnknownUser(name)
        return record

    def _found(self, connection: sqlite3.Connection, name: str) -> UserRecord | None:
        row = connection.execute(f"{_SELECT_USED} WHERE users.name = ?", (*self._periods(), name)).fetchone()
        return _record(row) if row else None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writer.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


class _Connection:
    """A connection to the file, opened when it is first used, and anew after an error; one thread uses it at a time."""

    def __init__(self, path: str, *, create: bool) -> None:
        self.path: Final = path
        self._create = create
        self._lock: Final = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close it. Idempotent."""
        with self._lock:
            self._close()

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Use it for a block. Raises DatabaseUnavailable."""
        with self._lock:
            try:
                if self._opened is None:
                    self._opened = self._open()
                yield self._opened
            except sqlite3.Error as error:
                self._close()
                busy = getattr(error, "sqlite_errorcode", None) in {
                    sqlite3.SQLITE_BUSY,
                    sqlite3.SQLITE_LOCKED,
                }
                reason = (
                    f"another process has been writing it for {BUSY_SECONDS:.0f} s" if busy else str(error)
                )
                raise DatabaseUnavailable(f"{self.path}: {reason}") from error

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> sqlite3.Connection:
        """Open the file, at the newest version."""
        self._check_file()
        connection = sqlite3.connect(
            f"file:{quote(self.path)}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < len(MIGRATIONS):
                self._migrate(connection)
            elif version > len(MIGRATIONS):
                raise DatabaseUnavailable(f"{self.path}: was made by a newer socks6")
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                raise DatabaseUnavailable(f"{self.path}: is a database of another program")
            # the system keeps what a killed process has written; only a power cut can take back the last second
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_file(self) -> None:
        """Make the file if it is to be made, and refuse one that others may change."""
        try:
            if self._create:
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            raise DatabaseUnavailable(
                f"{self.path}: no such file; `socks6 users add NAME --users-db {self.path}` makes it"
            ) from None
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path}: {error.strerror}") from error
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise DatabaseUnavailable(f"{self.path}: others than its owner can change it; try chmod go-w")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the file to the newest version; another process may do so at the same time."""
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise DatabaseUnavailable(f"{self.path}: is a database of another program")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("COMMIT")


def check_database(path: str) -> str:
    """Return the path of a database that can be used, as a configuration names it. Raises ConfigurationError."""
    database = UsersDatabase(path)
    try:
        database.change_number()
    finally:
        database.close()
    return path


def _statements(script: str) -> Iterator[str]:
    """Return the statements of a script: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _insert(connection: sqlite3.Connection, name: str, row: Mapping[str, object]) -> None:
    if "hash" not in row:
        raise ConfigurationError(f"user {name!r}: has neither a password nor a hash")
    columns = ("name", *row)
    try:
        connection.execute(
            f"INSERT INTO users ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608 - our own names
            (name, *row.values()),
        )
    except sqlite3.IntegrityError:
        raise UserExists(name) from None


def _update(connection: sqlite3.Connection, name: str, row: Mapping[str, object]) -> bool:
    """Return whether there was such a user."""
    columns = ", ".join(f"{column} = ?" for column in row)
    changed = connection.execute(f"UPDATE users SET {columns} WHERE name = ?", (*row.values(), name))  # noqa: S608 - our own names
    return changed.rowcount > 0


def _row(values: Mapping[str, object]) -> dict[str, object]:
    """Return the columns that values stand for. Raises ConfigurationError."""
    row: dict[str, object] = {}
    limits = {name: value for name, value in values.items() if name in LIMIT_NAMES}
    if limits:
        row |= UserLimits.parse(limits).values()
        row = {name: row[name] for name in limits}
    if "sources" in row:
        row["sources"] = ",".join(row["sources"])  # type: ignore[arg-type]  # of texts
    for name, value in values.items():
        if name in _COLUMN_OF:
            column, parse = _COLUMN_OF[name]
            row[column] = parse(name, value)
        elif name not in limits:
            raise ConfigurationError(f"{name!r} cannot be set: write {', '.join(SETTABLE)}")
    return row


def _password(name: str, value: object) -> str:
    return hash_password(_text(name, value))


def _hash(name: str, value: object) -> str:
    text = _text(name, value)
    try:
        parse_hash(text)
    except ValueError as error:
        raise ConfigurationError(f"what stands for the password is {error}") from None
    return text


def _enabled(name: str, value: object) -> int:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}: {value!r} is neither true nor false")
    return int(value)


def _note(name: str, value: object) -> str:
    text = _text(name, value)
    if len(text) > MAX_NOTE_LENGTH or not text.isprintable():
        raise ConfigurationError(f"{name}: is no line of at most {MAX_NOTE_LENGTH} printable characters")
    return text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: is no text")
    return value


_COLUMN_OF: Final[Mapping[str, tuple[str, Callable[[str, object], object]]]] = {
    "hash": ("hash", _hash),
    "password": ("hash", _password),
    "enabled": ("enabled", _enabled),
    "note": ("note", _note),
}


def _text_of(when: datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _record(row: tuple[Any, ...]) -> UserRecord:
    name, hashed, enabled, *own, note, created, used_up, used_down = row
    return UserRecord(
        name=name,
        hash=hashed,
        enabled=bool(enabled),
        limits=NO_LIMITS if own == _NO_LIMITS_ROW else _limits(name, own),
        note=note,
        created=created,
        used_up=used_up,
        used_down=used_down,
    )


def _limits(name: str, row: Iterable[object]) -> UserLimits:
    try:
        return UserLimits.parse(dict(zip(LIMIT_NAMES, row, strict=True)))
    except ConfigurationError as error:  # others than us have written it
        raise sqlite3.DatabaseError(f"user {name!r}: {error}") from None
