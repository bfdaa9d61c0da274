"""The screen of socks6 top."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from textual.pilot import Pilot
from textual.widgets import DataTable, Log, Static

from socks6.admin.client import AdminClient, AdminFailed
from socks6.cli.top_screen import Question, Rates, TopApp, Traffic, event_words, shown_rows, users_of

STATUS = {
    "version": "1.0", "uptime": 60.0, "listeners": ["socks6://127.0.0.1:1080"], "connections": 3, "associations": 0,
    "bindings": 1, "sessions": 0, "bytes_up_per_second": 1e6, "bytes_down_per_second": 0.0,
}  # fmt: skip
ENDED = {
    "id": 7,
    "user": "",
    "source": "192.0.2.1",
    "command": "CONNECT",
    "host": "h\x1b",
    "ending": "kicked",
    "reason": "by root",
}


def row(number: int, user: str, host: str = "example.com", *, up: int = 0) -> dict[str, Any]:
    return {
        "id": number, "user": user, "source": "192.0.2.1", "inbound": "socks6", "command": "CONNECT", "host": host, "port": 443,
        "peer": "", "established": True, "seconds": 1.0, "bytes_up": up, "bytes_down": 0,
    }  # fmt: skip


class Proxy:
    """A proxy's admin interface."""

    def __init__(self) -> None:
        self.rows = [row(1, "alice"), row(2, "bob", "[red]x"), row(3, "alice")]
        self.deleted: list[tuple[str, dict[str, str]]] = []
        self.fails = False
        self.over = threading.Event()

    def get(self, path: str) -> Any:
        if self.fails:
            raise AdminFailed("the proxy has ended")
        return STATUS if path == "/status" else {"connections": self.rows}

    def delete(self, path: str, **query: str) -> Any:
        if self.fails:
            raise AdminFailed("the proxy has ended")
        self.deleted.append((path, query))
        self.rows = [one for one in self.rows if path != f"/connections/{one['id']}"]
        return {"ended": [1]}

    def events(self, _: object) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "ConnectionEnded", ENDED
        self.over.wait(10)
        raise AdminFailed("over")


async def until(pilot: Pilot[int], condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await pilot.pause(0.01)


def test_it_shows_sorts_filters_and_kicks_after_a_question() -> None:
    async def play() -> None:
        proxy = Proxy()
        app = TopApp(cast("AdminClient", proxy))
        async with app.run_test(size=(80, 24)) as pilot:
            main = app.screen
            table: DataTable[Any] = main.query_one("#connections", DataTable)
            await until(pilot, lambda: table.row_count == 3)
            assert "1 MB/s up, 0 B/s down; 3 connections, 1 bindings" in str(
                main.query_one("#status", Static).content
            )
            await until(
                pilot,
                lambda: any("kicked 7 192.0.2.1" in line for line in main.query_one("#events", Log).lines),
            )
            assert len(table.columns) == 8
            await pilot.press("slash", *"bob", "enter")
            await until(pilot, lambda: table.row_count == 1)
            await pilot.press("escape")
            await until(pilot, lambda: table.row_count == 3)
            await pilot.press("s", "k")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("n")
            await until(pilot, lambda: app.screen is main)
            assert not proxy.deleted
            await pilot.press("k")
            await until(pilot, lambda: isinstance(app.screen, Question))
            app.show(STATUS, proxy.rows, 1.0)  # what goes on below
            await pilot.press("y")
            await until(pilot, lambda: proxy.deleted)
            assert proxy.deleted == [("/connections/2", {})]  # where the filter left the cursor
            await pilot.press("u")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("y")
            await until(pilot, lambda: len(proxy.deleted) == 2)
            assert proxy.deleted[1][0] == "/connections"
            proxy.fails = True
            await until(pilot, lambda: "has ended" in str(main.query_one("#status", Static).content))
            proxy.over.set()
            await pilot.press("q")

    asyncio.run(play())


def test_rates_are_of_two_looks_and_users_are_sums() -> None:
    traffic = Traffic()
    traffic.look([row(1, "alice"), row(2, "bob")], 10.0)
    rows = [row(1, "alice", up=100), row(2, "bob", up=400), row(3, "alice", up=999)]
    traffic.look(rows, 12.0)
    assert [traffic.of(one) for one in rows] == [Rates(50.0, 0.0), Rates(200.0, 0.0), Rates()]
    assert users_of(rows, traffic) == [("bob", 1, Rates(200.0, 0.0)), ("alice", 2, Rates(50.0, 0.0))]
    orders = {
        sort: [one["id"] for one in shown_rows(rows, traffic, sort=sort, text="")]
        for sort in ("UP/s", "UP", "USER")
    }
    assert orders == {"UP/s": [2, 1, 3], "UP": [3, 2, 1], "USER": [1, 3, 2]}
    assert [one["id"] for one in shown_rows(rows, traffic, sort="ID", text="ALICE")] == [1, 3]


def test_events_in_words_have_nothing_that_a_terminal_obeys() -> None:
    assert event_words("ConnectionEnded", ENDED)[9:] == "kicked 7 192.0.2.1 CONNECT h? by root"
    assert event_words("Stopping", {"connections": 2})[9:] == "Stopping connections=2"
