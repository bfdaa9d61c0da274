"""What `socks6 log` prints."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.cli import access_log, main
from socks6.observability.access_database import AccessLogDatabase, Cell
from socks6.telemetry import Ending
from tests.kit.ended import ended


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    path = str(tmp_path / "a.db")
    database = AccessLogDatabase(path, keep=None, log_destinations=True, clock=lambda: 1_900_000_000.25)
    for event in (
        ended(1),
        ended(
            2,
            user="bob",
            source="2001:db8::1",
            host="2001:db8::2",
            ending=Ending.FAILED,
            reply=5,
            reason="refu\nsed",
        ),
        ended(3, user="", command="", host="", port=0, reply=-1, ending=Ending.MALFORMED),
    ):
        database.observe(event)
    database.start()
    database.close()
    yield path
    monkeypatch.undo()
    time.tzset()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["log", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_columns_in_local_time(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [re.sub(" +", " ", line) for line in run(capsys, "--log-db", path)]
    assert lines == [
        "TIME SOURCE USER COMMAND DESTINATION ENDING REPLY SECONDS UP DOWN REASON",
        "2030-03-17 19:46:40.250 192.0.2.1 alice CONNECT example.com:443 done 0 1.235 10 2000000 -",
        r"2030-03-17 19:46:40.250 2001:db8::1 bob CONNECT [2001:db8::2]:443 failed 5 1.235 10 2000000 refu\nsed",
        "2030-03-17 19:46:40.250 192.0.2.1 - - - malformed - 1.235 10 2000000 -",
    ]


def test_objects_in_utc_without_what_is_empty(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_, last = map(json.loads, run(capsys, "--log-db", path, "--json"))
    assert first == {
        "time": "2030-03-17T17:46:40.250Z",
        "id": 1,
        "source": "192.0.2.1",
        "user": "alice",
        "inbound": "mixed",
        "command": "CONNECT",
        "host": "example.com",
        "port": 443,
        "ending": "done",
        "reply": 0,
        "seconds": 1.235,
        "up": 10,
        "down": 2_000_000,
    }
    assert set(last) == {"time", "id", "source", "inbound", "ending", "seconds", "up", "down"}


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        (("--user", "bob"), [2]),
        (("--source", "192.0.2.0/24"), [1, 3]),
        (("--source", "192.0.2.9", "--source", "2001:db8::/32"), [2]),
        (("--limit", "2"), [2, 3]),
        (("--since", "2030-03-17T19:46:40.2"), [1, 2, 3]),
        (("--since", "2030-03-17T19:46:41"), []),
        (("--until", "2030-03-17T17:46:40.25+00:00"), []),
        (("--until", "1h"), []),
        (("--since", "7d"), [1, 2, 3]),
    ],
)
def test_only_those_that_are_wanted(
    path: str, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], numbers: list[int]
) -> None:
    assert [json.loads(line)["id"] for line in run(capsys, "--log-db", path, "--json", *flags)] == numbers


def test_follow_asks_again_and_again(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(access_log.time, "sleep", sleep)  # type: ignore[attr-defined]
    assert main(["log", "--log-db", path, "--follow"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--log-db", "missing.db"), "missing.db: No such file or directory"),
        (("--log-db", __file__), "file is not a database"),
        (("--log-db", "x", "--since", "tomorrow"), "'tomorrow' is no time"),
        (("--log-db", "x", "--source", "example.com"), "'example.com' is no address"),
        ((), "--log-db"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    try:
        code: object = main(["log", *arguments])
    except SystemExit as ended:
        code = ended.code
    output = capsys.readouterr()
    assert code == 2
    assert words in output.err
    assert len(output.err.splitlines()) == 1
    assert not output.out


def test_text_cannot_move_a_terminals_cursor() -> None:
    row: dict[str, Cell] = {
        "time": 0,
        "source": "\x1b[2J",
        "user": "é",
        "command": "",
        "host": "",
        "port": 0,
        "ending": "done",
        "reply": 0,
        "seconds": 0.0,
        "up": 0,
        "down": 0,
        "reason": "",
    }
    assert access_log.as_text(row).isascii()
    assert "\x1b" not in access_log.as_text(row)
