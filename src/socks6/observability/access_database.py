"""The access log as an SQLite database: a row for each connection that has ended, kept for a while; and what reads it.

A connection's row is put in a queue and written by a thread, with others, every FLUSH_SECONDS: the loop never waits for a disk. A row
is numbered by its time, in microseconds, so that searching and deleting by time need no index besides.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from operator import attrgetter
from pathlib import Path
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.observability.lines import LogLine
from socks6.observability.logs import LOGGER, TELLTALE_ENDINGS
from socks6.telemetry import ConnectionEnded, Event, Observer

FLUSH_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 10.0  # without a connection, until what is too old is looked for
RETRY_SECONDS: Final = 5.0  # after a failure
CLOSE_SECONDS: Final = 5.0  # for the last rows to be written
MAX_WAITING: Final = 20_000  # rows that wait to be written; more are lost, and counted
CHUNK: Final = 50  # rows of one statement: what it takes besides the rows is then little, and done without the interpreter's lock
DELETED_AT_ONCE: Final = 1000  # rows; it takes some milliseconds
FILE_MODE: Final = 0o600
APPLICATION_ID: Final = 0x53364C31  # in the file's header: "S6L1"

# As the fields of a line are called, docs/reference/log.md; those that tell where a client went are empty unless they are to be logged.
COLUMNS: Final = {
    "time": "INTEGER PRIMARY KEY",  # of the connection's end, in microseconds since 1970
    "id": "INTEGER",
    "source": "TEXT",
    "user": "TEXT",
    "inbound": "TEXT",
    "outbound": "TEXT",
    "command": "TEXT",
    "host": "TEXT",
    "port": "INTEGER",
    "peer": "TEXT",
    "session": "TEXT",
    "token": "TEXT",
    "ending": "TEXT",
    "reply": "INTEGER",
    "reason": "TEXT",
    "seconds": "REAL",
    "up": "INTEGER",
    "down": "INTEGER",
}
_BEFORE: Final = attrgetter("id", "source", "user", "inbound", "outbound", "command")
_DESTINATION: Final = attrgetter("host", "port", "peer")
_MIDDLE: Final = attrgetter("session", "token")
_AFTER: Final = attrgetter("seconds", "bytes_up", "bytes_down")
_HIDDEN: Final = ("", 0, "")
_SCHEMA: Final = f"CREATE TABLE IF NOT EXISTS connections ({', '.join(map(' '.join, COLUMNS.items()))})"
_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
# two rows of one microsecond, after the clock was set back: one is lost, once in a blue moon
_INSERT: Final = "INSERT OR IGNORE INTO connections VALUES "
_DELETE: Final = "DELETE FROM connections WHERE time IN (SELECT time FROM connections WHERE time < ? ORDER BY time LIMIT ?)"

Cell: TypeAlias = str | int | float


class AccessLogDatabase(Observer):
    """Writes connections that have ended to a database, which is made where it is missing, and deletes those older than `keep`.

    A database that cannot be written, since the disk is full or the file is none, is told of once, and tried again
    every RETRY_SECONDS; meanwhile rows wait, MAX_WAITING at most, and the loss is told afterwards.
    """

    wants = (ConnectionEnded,)

    def __init__(
        self,
        path: str,
        *,
        keep: timedelta | None,
        log_destinations: bool,
        clock: Callable[[], float] = time.time,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._path = path
        self._keep = keep
        self._log_destinations = log_destinations
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._waiting: deque[tuple[float, ConnectionEnded]] = deque()
        self._lost = 0
        self._last = 0  # the number of the last row
        self._failing = False
        self._came = threading.Event()
        self._closed = threading.Event()
        # a daemon: a disk that never answers does not hold up the process's end
        self._thread = threading.Thread(target=self._work, name="access log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, CLOSE_SECONDS at most."""
        self._closed.set()
        self._came.set()
        self._thread.join(CLOSE_SECONDS)

    @override
    def observe(self, event: Event) -> None:
        waiting = self._waiting
        if len(waiting) >= MAX_WAITING:
            self._lost += 1
            return
        waiting.append((self._clock(), event))  # type: ignore[arg-type]  # nothing else is wanted
        if len(waiting) == 1:
            self._came.set()

    def _work(self) -> None:
        """Write what comes until `close`, whatever happens."""
        while not self._closed.is_set():
            try:
                with contextlib.closing(open_database(self._path)) as database:
                    self._write_all(database)
            except (OSError, sqlite3.Error) as error:
                if not self._failing:
                    self._failing = True
                    _tell("log database failed", path=self._path, reason=str(error))
            self._closed.wait(RETRY_SECONDS)

    def _write_all(self, database: sqlite3.Connection) -> None:
        """Write until `close`. Raises sqlite3.Error."""
        while True:
            self._came.clear()  # before the rest is looked at, so that nothing that comes meanwhile is missed
            closed = self._closed.is_set()
            while self._waiting:
                self._write_some(database)
            if closed:
                return
            if not self._delete_some(database):
                self._came.wait(IDLE_SECONDS)
            self._closed.wait(self._flush_seconds)

    def _write_some(self, database: sqlite3.Connection) -> None:
        """Write some of the rows that wait, in one transaction. Raises sqlite3.Error; then all of them wait still."""
        waiting, count = self._waiting, min(len(self._waiting), 20 * CHUNK)
        with database:
            for begin in range(0, count, CHUNK):
                rows = [waiting[index] for index in range(begin, min(begin + CHUNK, count))]
                cells: list[Cell] = []
                for when, event in rows:
                    cells += self._row(when, event)
                database.execute(_INSERT + ", ".join([_ROW] * len(rows)), cells)
        for _ in range(count):
            waiting.popleft()
        self._failing = False
        if lost := self._lost:
            self._lost -= lost
            _tell("log rows dropped", path=self._path, count=lost)

    def _row(self, when: float, event: ConnectionEnded) -> Sequence[Cell]:
        number = int(when * 1_000_000)
        if 0 <= self._last - number < 1_000_000:  # not where the clock was set back
            number = self._last + 1
        self._last = number
        shown = self._log_destinations
        return (
            number,
            *_BEFORE(event),
            *(_DESTINATION(event) if shown else _HIDDEN),
            *_MIDDLE(event),
            event.ending.value,
            event.reply,
            event.reason if shown or event.ending not in TELLTALE_ENDINGS else "",
            *_AFTER(event),
        )

    def _delete_some(self, database: sqlite3.Connection) -> bool:
        """Delete some of the rows that are too old; return whether there may be more. Raises sqlite3.Error."""
        if self._keep is None:
            return False
        oldest = int((self._clock() - self._keep.total_seconds()) * 1_000_000)
        with database:
            return database.execute(_DELETE, (oldest, DELETED_AT_ONCE)).rowcount == DELETED_AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which connections are wanted; None and () are no bound."""

    user: str | None = None
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    since: datetime | None = None  # the end of a connection, from then on
    until: datetime | None = None  # and before then

    def matches_source(self, source: str) -> bool:
        """Return whether a client's address is in one of the networks."""
        try:
            address = ip_address(source.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.sources)


def open_database(path: str) -> sqlite3.Connection:
    """Return a database to write to, made where it is missing, for its owner alone. Raises OSError, sqlite3.Error."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE))
    database = sqlite3.connect(path, timeout=CLOSE_SECONDS, cached_statements=2 * CHUNK)
    try:
        _check_header(database)
        database.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        database.execute("PRAGMA synchronous = NORMAL")
        with database:
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def check_database(path: str) -> None:
    """Raise ConfigurationError unless a log can be written there."""
    if not os.access(Path(path).parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{path}: its folder is missing, or cannot be written")
    if Path(path).exists():
        with open_to_read(path):
            pass


@contextlib.contextmanager
def open_to_read(path: str) -> Iterator[sqlite3.Connection]:
    """Open a database to read from. Raises ConfigurationError, also for what is found to be wrong within the block."""
    try:
        os.stat(path)  # for its words
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=CLOSE_SECONDS)) as database:
            _check_header(database)
            yield database
    except OSError as error:
        if error.filename != path:
            raise
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path}: {error}") from error


def read_rows(
    database: sqlite3.Connection,
    wanted: RowFilter,
    *,
    limit: int | None = None,
    follow: Callable[[], bool] = lambda: False,
) -> Iterator[Mapping[str, Cell]]:
    """Return the connections that are wanted, by their columns' names, in the order of their ends.

    `limit` is for the last ones only. When all were given, `follow` is called, which may wait; as long as it returns True,
    those that have come meanwhile are next. Raises sqlite3.Error.
    """
    if not _check_header(database):
        raise sqlite3.DatabaseError("there are no connections yet")
    conditions = ["time > ?"]
    parameters: list[Cell] = [_microseconds(wanted.since) - 1 if wanted.since else -1]
    if wanted.until is not None:
        conditions.append("time < ?")
        parameters.append(_microseconds(wanted.until))
    if wanted.user is not None:
        conditions.append("user = ?")
        parameters.append(wanted.user)
    if wanted.sources:
        database.create_function("in_sources", 1, wanted.matches_source, deterministic=True)
        conditions.append("in_sources(source)")
    every = f"SELECT {', '.join(COLUMNS)} FROM connections WHERE {' AND '.join(conditions)} ORDER BY time"  # noqa: S608 - our own words
    last = f"SELECT * FROM ({every} DESC LIMIT ?) ORDER BY time"  # noqa: S608 - as above
    rows = (
        database.execute(every, parameters) if limit is None else database.execute(last, [*parameters, limit])
    )
    while True:
        for row in rows:
            parameters[0] = row[0]
            yield dict(zip(COLUMNS, row, strict=True))
        if not follow():
            return
        rows = database.execute(every, parameters)


def row_time(row: Mapping[str, Cell]) -> datetime:
    """Return when a connection ended, in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(row["time"]))


def _check_header(database: sqlite3.Connection) -> bool:
    """Return whether there is a log. Raises sqlite3.DatabaseError for a database of something else."""
    (number,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if number != APPLICATION_ID and (number or tables):
        raise sqlite3.DatabaseError("it is a database of something else")
    return bool(tables)


def _microseconds(when: datetime) -> int:
    return (when - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _tell(words: str, **fields: str | int) -> None:
    logging.getLogger(LOGGER).warning(LogLine(words, fields))
