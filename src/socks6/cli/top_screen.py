"""The screen of socks6 top: connections, users and events of a proxy, by its admin interface."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Log, Static

from socks6.admin.client import AdminClient, AdminFailed
from socks6.cli.operate import command_words, destination_words, showable
from socks6.compat import override
from socks6.proxy.live import byte_words, duration_words

PAUSE: Final = 1.0  # seconds between two looks
COST: Final = (
    10  # times as long as a look takes, at least: a proxy of very many connections is asked less often
)
MAX_ROWS: Final = 200
MAX_EVENTS: Final = 500
EVENTS: Final = ("ConnectionEnded", "UserRefused", "SourcePenalized", "LimitReached", "Reloaded", "Stopping")
COLUMNS: Final = ("ID", "USER", "SOURCE", "COMMAND", "DESTINATION", "AGE", "UP/s", "DOWN/s", "UP", "DOWN")
NARROW: Final = COLUMNS[:8]  # on a terminal of less than WIDE characters
WIDE: Final = 100
RIGHT: Final = frozenset({"ID", "AGE", "UP/s", "DOWN/s", "UP", "DOWN"})
Row = Mapping[str, Any]


class Rates(NamedTuple):
    """Bytes a second."""

    up: float = 0.0
    down: float = 0.0


class Traffic:
    """Knows the rates of connections from two looks at them."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}
        self._when = 0.0
        self.rates: dict[int, Rates] = {}

    def look(self, rows: Iterable[Row], now: float) -> None:
        """Take what there is now, `now` being seconds on any clock."""
        seconds = now - self._when
        found = {row["id"]: (row["bytes_up"], row["bytes_down"]) for row in rows}
        self.rates = {
            number: Rates((up - before[0]) / seconds, (down - before[1]) / seconds)
            for number, (up, down) in found.items()
            if (before := self._before.get(number)) is not None and seconds > 0
        }
        self._before, self._when = found, now

    def of(self, row: Row) -> Rates:
        """Return the rates of a connection."""
        return self.rates.get(row["id"], Rates())


def shown_rows(rows: Sequence[Row], traffic: Traffic, *, sort: str, text: str) -> list[Row]:
    """Return the connections to show, in order; `text` is in what is shown of them."""
    orders = {
        "ID": lambda row: row["id"],
        "USER": lambda row: row["user"],
        "SOURCE": lambda row: row["source"],
        "COMMAND": lambda row: row["command"],
        "DESTINATION": lambda row: (row["host"], row["port"]),
        "AGE": lambda row: -row["seconds"],
        "UP/s": lambda row: -traffic.of(row).up,
        "DOWN/s": lambda row: -traffic.of(row).down,
        "UP": lambda row: -row["bytes_up"],
        "DOWN": lambda row: -row["bytes_down"],
    }
    wanted = [row for row in rows if text.lower() in " ".join(cells_of(row, traffic)[:5]).lower()]
    return sorted(wanted, key=orders[sort])


def cells_of(row: Row, traffic: Traffic) -> list[str]:
    """Return what is shown of a connection."""
    rates = traffic.of(row)
    return [
        str(row["id"]),
        showable(row["user"]) or "-",
        row["source"],
        command_words(row),
        showable(destination_words(row)),
        duration_words(row["seconds"]),
        byte_words(rates.up),
        byte_words(rates.down),
        byte_words(row["bytes_up"]),
        byte_words(row["bytes_down"]),
    ]


def users_of(rows: Iterable[Row], traffic: Traffic) -> list[tuple[str, int, Rates]]:
    """Return the users, how many connections each has, and how fast these are; the fastest first."""
    found: dict[str, tuple[int, Rates]] = {}
    for row in rows:
        count, sums = found.get(row["user"], (0, Rates()))
        rates = traffic.of(row)
        found[row["user"]] = count + 1, Rates(sums.up + rates.up, sums.down + rates.down)
    users = [(name, count, rates) for name, (count, rates) in found.items()]
    return sorted(users, key=lambda user: (-(user[2].up + user[2].down), -user[1], user[0]))


def event_words(name: str, fields: Mapping[str, Any]) -> str:
    """Return an event in a line."""
    if name == "ConnectionEnded":
        whose = f"{fields['id']} {fields['user'] or fields['source']} {fields['command']} {fields['host']}"
        text = f"{fields['ending']} {whose} {fields['reason']}"
    else:
        text = f"{name} " + " ".join(
            f"{key}={value}" for key, value in fields.items() if value not in ("", 0)
        )
    return showable(f"{time.strftime('%H:%M:%S')} {text}")


class Question(ModalScreen[bool]):
    """Asks before connections are ended."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    @override
    def compose(self) -> ComposeResult:
        yield Static(f"{self._words}\n\ny yes   n no", id="question", markup=False)

    def action_answer(self, is_yes: bool) -> None:
        """Close with an answer."""
        _ = self.dismiss(is_yes)


class TopApp(App[int]):
    """The screen."""

    TITLE = "socks6 top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #status { height: 2; padding: 0 1; background: $panel; }
    #connections { height: 1fr; }
    #below { height: 8; border-top: solid $panel; }
    #users { width: 2fr; }
    #events { width: 3fr; }
    #events { scrollbar-size-horizontal: 0; }
    #filter { display: none; height: 3; }
    #filter.asked { display: block; }
    Question { align: center middle; }
    #question { width: auto; max-width: 70; height: auto; padding: 1 2; border: round $warning; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "kick", "kick"),
        Binding("u", "kick_user", "kick user"),
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "clear", "all", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, client: AdminClient) -> None:
        super().__init__()
        self._client = client
        self._traffic = Traffic()
        self._rows: Sequence[Row] = ()
        self._order = COLUMNS.index("DOWN/s")
        self._over = threading.Event()

    @override
    def compose(self) -> ComposeResult:
        yield Static("", id="status", markup=False)
        connections: DataTable[Text] = DataTable(id="connections", cursor_type="row", zebra_stripes=True)
        users: DataTable[Text] = DataTable(id="users", cursor_type="none", show_cursor=False)
        with Vertical():
            yield connections
            yield Input(placeholder="user, source, command or destination", id="filter")
        with Horizontal(id="below"):
            yield users
            yield Log(id="events", max_lines=MAX_EVENTS, auto_scroll=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look, and to follow events."""
        self.screen_stack[0].query_one("#users", DataTable).add_columns("USER", "CONN.", "UP/s", "DOWN/s")
        self.screen_stack[0].query_one("#connections", DataTable).focus()
        for work in (self._look, self._follow):
            threading.Thread(target=work, daemon=True).start()

    def on_unmount(self) -> None:
        """End the threads."""
        self._over.set()

    # What the threads do.

    def _look(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            began = time.monotonic()
            try:
                status = self._client.get("/status")
                rows = self._client.get("/connections")["connections"]
            except AdminFailed as error:
                self._tell(self.show_failure, str(error))
            else:
                self._tell(self.show, status, rows, time.monotonic())
            pause = max(PAUSE, COST * (time.monotonic() - began))

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                for name, fields in self._client.events(EVENTS):
                    self._tell(self.show_event, event_words(name, fields))
            except AdminFailed:  # which the other thread shows
                self._over.wait(PAUSE)

    def _tell(self, function: Any, *arguments: Any) -> None:
        if not self._over.is_set():
            try:
                self.call_from_thread(function, *arguments)
            except RuntimeError:  # the screen has just gone
                self._over.set()

    # What is shown.

    def show(self, status: Mapping[str, Any], rows: Sequence[Row], now: float) -> None:
        """Show how the proxy is, and its connections."""
        self._rows = rows
        self._traffic.look(rows, now)
        rates = byte_words(status["bytes_up_per_second"]), byte_words(status["bytes_down_per_second"])
        kinds = "connections", "associations", "bindings", "sessions"
        counts = ", ".join(f"{status[name]} {name}" for name in kinds if status[name] or name == kinds[0])
        self.screen_stack[0].query_one("#status", Static).update(
            f"socks6 {status['version']}, {duration_words(status['uptime'])}: {' '.join(status['listeners'])}\n"
            f"{rates[0]}/s up, {rates[1]}/s down; {counts}"
        )
        self._show_rows()
        users = self.screen_stack[0].query_one("#users", DataTable)
        users.clear()
        for name, count, its in users_of(rows, self._traffic)[:MAX_ROWS]:
            cells = showable(name) or "-", str(count), byte_words(its.up), byte_words(its.down)
            users.add_row(*map(Text, cells))

    def show_failure(self, words: str) -> None:
        """Show that the proxy does not answer."""
        self.screen_stack[0].query_one("#status", Static).update(words)

    def show_event(self, words: str) -> None:
        """Show an event."""
        self.screen_stack[0].query_one("#events", Log).write_line(words)

    def _show_rows(self) -> None:
        table = self.screen_stack[0].query_one("#connections", DataTable)
        before = self._selected()
        table.clear(columns=True)
        order = COLUMNS[self._order]
        shown = COLUMNS if self.size.width >= WIDE else NARROW
        table.add_columns(*(f"{name}▾" if name == order else f"{name} " for name in shown))
        text = self.screen_stack[0].query_one("#filter", Input).value
        rows = shown_rows(self._rows, self._traffic, sort=order, text=text)
        for row in rows[:MAX_ROWS]:
            cells = zip(COLUMNS, cells_of(row, self._traffic), strict=True)
            texts = (
                Text(cell, justify="right" if name in RIGHT else "left")
                for name, cell in cells
                if name in shown
            )
            table.add_row(*texts, key=str(row["id"]))
        table.border_title = f"{len(rows)} of {len(self._rows)}" if len(rows) != len(self._rows) else None
        numbers = [row["id"] for row in rows[:MAX_ROWS]]
        if before is not None and before["id"] in numbers:
            table.move_cursor(row=numbers.index(before["id"]), scroll=False)

    def _selected(self) -> Row | None:
        """Return the connection at the cursor."""
        table = self.screen_stack[0].query_one("#connections", DataTable)
        if not table.row_count or not table.is_valid_coordinate(table.cursor_coordinate):
            return None
        number = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return next((row for row in self._rows if str(row["id"]) == number), None)

    # What keys do.

    def action_kick(self) -> None:
        """Ask, and end the connection at the cursor."""
        if (row := self._selected()) is not None:
            user = showable(row["user"]) or row["source"]
            self._ask(
                f"End connection {row['id']} of {user} to {showable(destination_words(row))}?",
                f"/connections/{row['id']}",
            )

    def action_kick_user(self) -> None:
        """Ask, and end all connections of the user at the cursor."""
        if (row := self._selected()) is not None:
            name = row["user"]
            count = sum(other["user"] == name for other in self._rows)
            whose = f"of {showable(name)}" if name else "of clients without a name"
            self._ask(f"End all {count} connections {whose}?", "/connections", user=name)

    def _ask(self, question: str, path: str, **query: str) -> None:
        def answered(is_yes: bool | None) -> None:
            if is_yes:
                try:
                    ended = self._client.delete(path, **query)["ended"]
                    self.notify(f"ended {len(ended)}", timeout=2)
                except AdminFailed as error:
                    self.notify(str(error), severity="error", markup=False)

        _ = self.push_screen(Question(question), answered)

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = (self._order + 1) % len(COLUMNS if self.size.width >= WIDE else NARROW)
        self._show_rows()

    def action_filter(self) -> None:
        """Ask for what is to be shown."""
        asked = self.screen_stack[0].query_one("#filter", Input)
        asked.add_class("asked")
        asked.focus()

    def on_input_changed(self) -> None:
        """Show what is asked for now."""
        self._show_rows()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self.screen_stack[0].query_one("#connections", DataTable).focus()

    def action_clear(self) -> None:
        """Show all connections again."""
        asked = self.screen_stack[0].query_one("#filter", Input)
        asked.value = ""
        asked.remove_class("asked")
        self.screen_stack[0].query_one("#connections", DataTable).focus()
        self._show_rows()
