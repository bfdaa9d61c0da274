"""socks6 log: which connections there were, from the database of `--log-db`."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from socks6.observability.access_database import Cell, RowFilter, open_to_read, read_rows, row_time
from socks6.observability.lines import printable

POLL_SECONDS: Final = 0.5  # of --follow
HEADER: Final = (
    "TIME",
    "SOURCE",
    "USER",
    "COMMAND",
    "DESTINATION",
    "ENDING",
    "REPLY",
    "SECONDS",
    "UP",
    "DOWN",
    "REASON",
)
WIDTHS: Final = (23, 15, 10, 9, 24, 15, 5, 9, 11, 11, 0)
NUMBERS: Final = slice(6, 10)  # the columns that are flush right
NOTHING: Final = "-"


def run(arguments: Namespace) -> int:
    """Print the connections that are wanted, the oldest first; with --follow those to come, too."""
    wanted = RowFilter(
        user=arguments.user,
        sources=tuple(arguments.source or ()),
        since=arguments.since,
        until=arguments.until,
    )
    show: Callable[[Mapping[str, Cell]], str] = as_json if arguments.json else as_text
    follow = _wait if arguments.follow else lambda: False
    with open_to_read(arguments.log_db) as database:
        if not arguments.json:
            print(_joined(HEADER))
        for row in read_rows(database, wanted, limit=arguments.limit, follow=follow):
            print(show(row))
    return 0


def as_json(row: Mapping[str, Cell]) -> str:
    """Return an object of JSON, in the names of the log: the time is in UTC, what is empty is left out."""
    cells = {
        name: cell
        for name, cell in row.items()
        if cell != "" and (name, cell) not in {("port", 0), ("reply", -1)}
    }
    when = row_time(row).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({**cells, "time": when, "seconds": round(float(row["seconds"]), 3)})


def as_text(row: Mapping[str, Cell]) -> str:
    """Return a line of columns, in local time."""
    local: datetime = row_time(row).astimezone()
    host = str(row["host"])
    destination = (f"[{host}]:{row['port']}" if ":" in host else f"{host}:{row['port']}") if host else ""
    cells = (
        local.isoformat(sep=" ", timespec="milliseconds")[:23],
        row["source"],
        row["user"],
        row["command"],
        destination,
        row["ending"],
        row["reply"] if row["reply"] != -1 else "",
        f"{row['seconds']:.3f}",
        row["up"],
        row["down"],
        row["reason"],
    )
    return _joined(tuple(printable(str(cell)) or NOTHING for cell in cells))


def _joined(cells: tuple[str, ...]) -> str:
    numbers = range(*NUMBERS.indices(len(cells)))
    aligned = (
        cell.rjust(width) if index in numbers else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    )
    return " ".join(aligned).rstrip()


def _wait() -> bool:
    sys.stdout.flush()
    time.sleep(POLL_SECONDS)
    return True
