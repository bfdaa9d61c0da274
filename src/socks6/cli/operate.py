"""socks6 who, kick and penalties: see and steer a running proxy by its admin interface."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from socks6.admin.client import AdminClient, AdminFailed, find_proxy
from socks6.cli import complain
from socks6.proxy.live import byte_words, duration_words

WATCH_SECONDS: Final = 2.0
COST: Final = (
    10  # times as long as a look takes, at least: a proxy of very many connections is asked less often
)
CLEAR: Final = "\x1b[H\x1b[J"
Row = Mapping[str, Any]


def command_words(row: Row) -> str:
    """Return what a connection does; what does not stand yet with an ellipsis."""
    if not row["command"]:
        return "(handshake)"
    name = str(row["command"]).removeprefix("UDP_")
    return name if row["established"] else f"{name}..."


def destination_words(row: Row) -> str:
    """Return where a connection leads to."""
    host = row["host"]
    place = f"{f'[{host}]' if ':' in host else host}:{row['port']}" if host else "-"
    return f"{place} < {row['peer']}" if row["peer"] else place


COLUMNS: Final[Mapping[str, tuple[Callable[[Row], str], Callable[[Row], Any]]]] = {
    "id": (lambda row: str(row["id"]), lambda row: row["id"]),
    "user": (lambda row: row["user"] or "-", lambda row: row["user"]),
    "source": (lambda row: row["source"], lambda row: row["source"]),
    "inbound": (lambda row: row["inbound"], lambda row: row["inbound"]),
    "command": (command_words, lambda row: row["command"]),
    "destination": (destination_words, lambda row: (row["host"], row["port"])),
    "age": (lambda row: duration_words(row["seconds"]), lambda row: -row["seconds"]),
    "up": (lambda row: byte_words(row["bytes_up"]), lambda row: -row["bytes_up"]),
    "down": (lambda row: byte_words(row["bytes_down"]), lambda row: -row["bytes_down"]),
}
"""The columns of connections: what they show, and by what they are sorted; numbers of time and bytes the greatest first."""
RIGHT: Final = frozenset({"id", "age", "up", "down"})


def run(arguments: Namespace) -> int:
    """Run one of the commands."""
    client = find_proxy(arguments.admin, os.environ)
    return {"who": _who, "kick": _kick, "penalties": _penalties}[arguments.command](client, arguments)


def _who(client: AdminClient, arguments: Namespace) -> int:
    try:
        while True:
            began = time.monotonic()
            text = _who_text(client, arguments)
            if arguments.watch and sys.stdout.isatty() and not arguments.json:
                text = CLEAR + text
            print(text, flush=True)
            if not arguments.watch:
                return 0
            time.sleep(max(WATCH_SECONDS, COST * (time.monotonic() - began)))
    except KeyboardInterrupt:
        return 0


def _who_text(client: AdminClient, arguments: Namespace) -> str:
    wanted = {} if arguments.user is None else {"user": arguments.user}
    connections = client.get("/connections", **wanted)["connections"]
    sessions = client.get("/sessions")["sessions"]
    if arguments.user is not None:
        sessions = [session for session in sessions if session["user"] == arguments.user]
    connections.sort(key=COLUMNS[arguments.sort][1])
    if arguments.json:
        return json.dumps({"connections": connections, "sessions": sessions})
    lines = table(
        [name.upper() for name in COLUMNS],
        [[show(row) for show, _ in COLUMNS.values()] for row in connections],
        right=[name in RIGHT for name in COLUMNS],
    )
    if sessions:
        rows = [[one["user"] or "-", str(one["connections"]), str(one["window"])] for one in sessions]
        lines += ["", *table(["SESSIONS OF", "CONNECTIONS", "TOKENS"], rows, right=[False, True, True])]
    kinds = [row["command"] for row in connections if row["established"]]
    held = {"association": kinds.count("UDP_ASSOCIATE"), "binding": kinds.count("BIND")}
    counts = {"connection": len(connections), **held, "session": len(sessions)}
    words = (f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    return "\n".join([*lines, "", ", ".join(words)])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool]) -> list[str]:
    """Return the lines of a table. What clients have named has nothing that a terminal would obey."""
    shown = [heads, *([showable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in shown
    ]


def showable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _kick(client: AdminClient, arguments: Namespace) -> int:
    why = {"reason": arguments.reason} if arguments.reason else {}
    wanted = {name: value for name in ("user", "source") if (value := getattr(arguments, name)) is not None}
    if bool(arguments.ids) == bool(wanted):
        complain("which connections? Name IDs, as `socks6 who` shows them, or --user, or --source")
        return 2
    ended: list[int] = []
    failed = False
    for number in arguments.ids:
        try:
            ended += client.delete(f"/connections/{number}", **why)["ended"]
        except AdminFailed as error:
            complain(str(error))
            failed = True
    if wanted:
        ended = client.delete("/connections", **wanted, **why)["ended"]
        if not ended:
            complain(f"no connection of {' at '.join(wanted.values())}")
            failed = True
    if ended:
        print(f"ended {', '.join(map(str, ended))}")
    return int(failed)


def _penalties(client: AdminClient, arguments: Namespace) -> int:
    if arguments.action == "lift":
        if arguments.source is None:
            complain("lift which source? As `socks6 penalties` shows it")
            return 2
        count = client.delete(f"/penalties/{arguments.source}")["lifted"]
        print(f"lifted {count} {'penalty' if count == 1 else 'penalties'}")
        return 0
    penalties = client.get("/penalties")["penalties"]
    if arguments.json:
        print(json.dumps(penalties))
    elif penalties:
        rows = [[one["source"], one["user"] or "(all)", duration_words(one["seconds"])] for one in penalties]
        print("\n".join(table(["SOURCE", "USER", "LEFT"], rows, right=[False, False, True])))
    else:
        print("no source is refused")
    return 0
