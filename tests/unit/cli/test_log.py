"""Where the log goes, and in which form."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks6.cli import COMMAND_LOGGER, complain, tell
from socks6.cli.log import LEVELS, OTHERS, set_up_logging
from socks6.net import wire_log
from socks6.observability.lines import LogLine
from socks6.observability.logs import ACCESS_LOGGER, LOGGER


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (*LEVELS, *OTHERS, COMMAND_LOGGER)]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def written() -> None:
    """Wait for what is logged to a file."""
    for handler in logging.getLogger(LOGGER).handlers:
        handler.close()


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        (0, (logging.INFO, logging.WARNING, logging.WARNING)),
        (1, (logging.INFO, logging.INFO, logging.WARNING)),
        (2, (logging.DEBUG, logging.INFO, logging.WARNING)),
        (3, (logging.DEBUG, logging.INFO, logging.DEBUG)),
    ],
)
def test_each_v_logs_more(verbosity: int, levels: tuple[int, ...]) -> None:
    set_up_logging(verbosity)
    names = (LOGGER, ACCESS_LOGGER, wire_log.LOGGER.name)
    assert tuple(logging.getLogger(name).getEffectiveLevel() for name in names) == levels


def test_a_command_prints_its_lines_where_the_log_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(0)
    tell("listening on socks6://[::1]:1080", "listening", url="socks6://[::1]:1080")
    complain("oh")
    assert capsys.readouterr().err == "listening on socks6://[::1]:1080\nsocks6: oh\n"


def test_standard_error_is_json_and_nothing_else_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = set_up_logging(0, "json")
    tell("listening on socks6://[::1]:1080", "listening", url="socks6://[::1]:1080")
    complain("oh")
    logger.warning(LogLine("shut out", {"source": "::1"}))
    logging.getLogger("asyncio").error("a task\nfailed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("INFO", "listening"),
        ("WARNING", "oh"),
        ("WARNING", "shut out"),
        ("ERROR", "a task"),
    ]
    assert lines[0]["url"] == "socks6://[::1]:1080"


def test_a_file_has_every_line_and_standard_error_those_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = set_up_logging(0, path=f"{tmp_path}/log")
    tell("socks6: reloaded", "reloaded")
    logger.warning(LogLine("shut out", {"source": "::1"}))
    written()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.endswith(" INFO reloaded")
    assert second.endswith(" WARNING shut out source=::1")
    assert capsys.readouterr().err == "socks6: reloaded\n"


def test_a_file_that_cannot_be_written_is_told_once_and_raises_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = set_up_logging(0, path=f"{tmp_path}/missing/log")
    for _ in range(3):
        logger.warning("oh")
    written()
    assert capsys.readouterr().err == (
        f"socks6: log file {tmp_path}/missing/log: No such file or directory; lines are lost until it can be written\n"
    )


def test_the_journal_is_found_where_it_reads_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        for value in ("", "1:1", f"{status.st_dev}:{status.st_ino}"):
            monkeypatch.setenv("JOURNAL_STREAM", value)
            set_up_logging(0).warning("oh")
        stream.flush()
    lines = (tmp_path / "stream").read_text().splitlines()
    assert [line.startswith("<4>") for line in lines] == [False, False, True]
