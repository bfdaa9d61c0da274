"""socks6 who, kick and penalties."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.cli import main
from socks6.cli.operate import COLUMNS, command_words, destination_words, showable
from socks6.cli.parser import WHO_COLUMNS
from socks6.proxy.worker import ServerWorker
from tests.kit.admin import administered


@pytest.fixture
def admin(tmp_path: Path) -> str:
    return str(tmp_path / "admin.sock")


@pytest.fixture
def worker(admin: str) -> Iterator[ServerWorker]:
    with administered(admin, "bob", "alice", "alice\x1b[2J") as its:
        yield its


def test_who_shows_sorts_and_filters(
    worker: ServerWorker, admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["who", "--admin", admin, "--sort", "user"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [name.upper() for name in WHO_COLUMNS]
    assert [line.split()[1] for line in lines[1:4]] == ["alice", "alice?[2J", "bob"]
    assert lines[-1] == "3 connections, 0 associations, 0 bindings, 0 sessions"
    assert main(["who", "--admin", admin, "--user", "bob", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["host"] for row in shown["connections"]] == ["example.com"]
    assert shown["sessions"] == []
    assert tuple(COLUMNS) == WHO_COLUMNS


def test_who_watches_until_it_is_interrupted(
    worker: ServerWorker, admin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert main(["who", "--admin", admin, "--watch"]) == 0
    assert "bob" in capsys.readouterr().out


def test_kick_ends_by_id_and_by_user(
    worker: ServerWorker, admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kick", "--admin", admin]) == 2
    assert main(["kick", "--admin", admin, "1", "--user", "bob"]) == 2
    assert main(["kick", "--admin", admin, "1", "99"]) == 1
    assert main(["kick", "--admin", admin, "--user", "nobody"]) == 1
    assert main(["kick", "--admin", admin, "--user", "alice", "--reason", "too much"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "ended 1\nended 2\n"
    assert "there is no connection 99" in shown.err
    assert "no connection of nobody" in shown.err


def test_penalties_are_shown_and_lifted(
    worker: ServerWorker, admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["penalties", "--admin", admin]) == 0
    for _ in range(50):
        worker.penalties.failed("192.0.2.7", worker.loop.time())
    assert main(["penalties", "--admin", admin]) == 0
    assert main(["penalties", "--admin", admin, "--json"]) == 0
    assert main(["penalties", "--admin", admin, "lift"]) == 2
    assert main(["penalties", "--admin", admin, "lift", "192.0.2.7"]) == 0
    assert main(["penalties", "--admin", admin, "lift", "192.0.2.7"]) == 1
    shown = capsys.readouterr()
    assert "no source is refused" in shown.out
    assert "192.0.2.7  (all)" in shown.out
    assert "lifted 1 penalty" in shown.out


def test_what_a_connection_does_in_words() -> None:
    row = {"command": "UDP_ASSOCIATE", "established": False, "host": "::1", "port": 7, "peer": "192.0.2.1:9"}
    assert (command_words(row), destination_words(row)) == ("ASSOCIATE...", "[::1]:7 < 192.0.2.1:9")
    assert (command_words({**row, "command": ""}), destination_words({**row, "host": "", "peer": ""})) == (
        "(handshake)",
        "-",
    )
    assert showable("a\x1b\u202e\n") == "a???"
