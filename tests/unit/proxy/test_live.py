"""The live table."""

import pytest

from socks6.net.stream import Protection
from socks6.policy.identity import Identity
from socks6.proxy.accounts import Account
from socks6.proxy.live import (
    ConnectionInfo,
    LiveTable,
    SessionInfo,
    Traffic,
    TrafficTotals,
    byte_words,
    duration_words,
)
from socks6.proxy.sessions import MemorySessionStore
from socks6.relay.bandwidth import Meter
from socks6.telemetry import Ending


class Listed:
    """A connection of which each reading shows one byte more."""

    def __init__(self, number: int, command: str = "CONNECT", *, established: bool = True) -> None:
        self.endings: list[tuple[Ending, str]] = []
        self.id = number
        self.inbound = "socks6"
        self.started = 0.0
        self.user = "alice"
        self.outbound = ""
        self.reply = 0
        self.ending = Ending.DONE
        self.times: list[float] | None = None
        self.command = command
        self.bytes_up = 100
        self.bytes_down = 1000
        self.traffic: Traffic | None = None
        self._established = established
        self.readings = 0

    def end(self, ending: Ending, reason: str) -> None:
        self.endings.append((ending, reason))

    def take_account(self, account: Account) -> None: ...

    def quota_reached(self) -> None: ...

    def info(self) -> ConnectionInfo:
        self.readings += 1
        return ConnectionInfo(
            id=self.id,
            inbound="socks6",
            source="192.0.2.1",
            user="alice",
            command=self.command,
            host="example.com",
            port=443,
            peer="",
            established=self._established,
            seconds=1.0,
            bytes_up=self.readings,
            bytes_down=0,
        )


def test_sums_need_no_reading_of_each() -> None:
    table = LiveTable(None)
    connections = [Listed(number, command) for number, command in enumerate(("CONNECT", "CONNECT", ""))]
    for connection in connections:
        table.add(connection)
    assert table.summed(by_user=False) == {
        ("socks6", "", "CONNECT", 0, ""): (2, 200, 2000),
        ("socks6", "", "", 0, ""): (1, 100, 1000),
    }
    assert ("socks6", "", "CONNECT", 0, "alice") in table.summed(by_user=True)
    assert not any(connection.readings for connection in connections)
    ended: list[object] = []
    table.on_ended = ended.append
    table.discard(connections[0])
    table.discard(connections[0])
    assert ended == connections[:1]


def test_nothing_is_read_before_it_is_asked_for() -> None:
    table = LiveTable(None)
    connection = Listed(1)
    table.add(connection)
    assert len(table) == 1
    assert connection.readings == 0
    assert [info.bytes_up for info in table] == [1]
    assert [info.bytes_up for info in table] == [2]


def test_a_connection_is_ended_by_its_number() -> None:
    table = LiveTable(None)
    connection, other = Listed(1), Listed(2)
    table.add(connection)
    table.add(other)
    assert table.end(1, ending=Ending.KICKED, reason="enough")
    assert not table.end(3, ending=Ending.KICKED, reason="enough")
    assert (connection.endings, other.endings) == ([(Ending.KICKED, "enough")], [])


def test_what_has_ended_is_not_in_it() -> None:
    table = LiveTable(None)
    connection = Listed(1)
    table.add(connection)
    table.discard(connection)
    table.discard(connection)
    assert list(table) == []


class Moved:
    """What a relay at work has moved."""

    bytes_up = 5
    bytes_down = 50

    def limit(self, up: Meter, down: Meter) -> None: ...


def test_totals_are_of_what_runs_and_of_what_has_ended_but_not_of_who_asks_for_nothing() -> None:
    table = LiveTable(None)
    connections = [Listed(1), Listed(2), Listed(3, "")]
    for connection in connections:
        table.add(connection)
    connections[0].traffic = Moved()
    assert table.totals() == TrafficTotals(open=2, served=0, bytes_up=205, bytes_down=2050)
    connections[0].traffic = None
    for connection in (connections[0], connections[0], connections[2]):
        table.discard(connection)
    assert table.totals() == TrafficTotals(open=1, served=1, bytes_up=200, bytes_down=2000)
    assert [connection.readings for connection in connections] == [0, 0, 0]


def test_connections_may_end_while_it_is_read() -> None:
    table = LiveTable(None)
    connections = [Listed(number) for number in range(3)]
    for connection in connections:
        table.add(connection)
    seen = []
    for info in table:
        seen.append(info.id)
        for connection in connections:
            table.discard(connection)
    assert seen == [0, 1, 2]


def test_bindings_and_associations_are_those_that_are_there() -> None:
    table = LiveTable(None)
    for connection in (
        Listed(1),
        Listed(2, "BIND"),
        Listed(3, "BIND", established=False),
        Listed(4, "UDP_ASSOCIATE"),
    ):
        table.add(connection)
    assert [info.id for info in table.bindings] == [2]
    assert [info.id for info in table.associations] == [4]


def test_sessions_are_shown_without_their_ids() -> None:
    store = MemorySessionStore()
    opened = store.create(Identity(name="alice"), source="192.0.2.1", protection=Protection.CLEAR, now=0.0)
    assert opened is not None
    opened.session.grant(5)
    assert LiveTable(store).sessions == [SessionInfo(user="alice", connections=0, window=5)]
    assert LiveTable(None).sessions == []


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (99_960, "100 kB"),
        (999_600, "1 MB"),
        (5e12, "5 TB"),
    ],
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert byte_words(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (90_000, "1 d")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
