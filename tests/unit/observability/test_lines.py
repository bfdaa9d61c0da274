"""The forms of the log."""

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.observability.lines import (
    FORMATTERS,
    MAX_TRACE,
    MAX_VALUE,
    MAX_WORDS,
    LogLine,
    format_fields,
    trace_of,
)

HOSTILE = 'a" source=192.0.2.1\nauthentication failed source=192.0.2.1\x1b[31m\u2028'


def formatted(
    form: str, message: object, *, level: int = logging.WARNING, error: BaseException | None = None
) -> str:
    """Return what is written for a record of 2026-11-30 14:46:02.007 UTC."""
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord("socks6", level, "", 0, message, (), exc_info)
    record.created, record.msecs = 1796049962.007, 7.0
    return FORMATTERS[form]().format(record)


@given(st.text())
def test_any_value_is_one_printable_field(value: str) -> None:
    text = format_fields({"user": value, "end": 1})
    assert text.endswith(" end=1")
    assert text.isascii()
    assert text.isprintable()
    quoted = text.removesuffix(" end=1").removeprefix(" user=")
    assert quoted.startswith('"') == quoted.endswith('"')
    assert quoted.startswith('"') or " " not in quoted


def test_what_is_empty_is_left_out() -> None:
    assert format_fields({"a": "", "b": 0}) == " b=0"


def test_text_begins_with_local_time_and_level() -> None:
    line = formatted("text", LogLine("shut out", {"source": "::1", "seconds": 60.0}))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,007 WARNING shut out source=::1 seconds=60.000", line
    )


def test_json_is_one_object_whose_values_keep_their_types() -> None:
    line = formatted("json", LogLine("shut out", {"source": "::1", "user": "", "seconds": 60.5, "id": 7}))
    assert line == (
        '{"time": "2026-11-30T14:46:02.007Z", "level": "WARNING", "logger": "socks6", "event": "shut out",'
        ' "source": "::1", "seconds": 60.5, "id": 7}'
    )


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.CRITICAL, "<3>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.INFO, "<6>"),
        (5, "<7>"),
    ],
)
def test_the_journal_has_the_level_and_no_time(level: int, prefix: str) -> None:
    assert (
        formatted("journal", LogLine("stopping", {"connections": 3}), level=level)
        == f"{prefix}stopping connections=3"
    )


@pytest.mark.parametrize("form", FORMATTERS)
@pytest.mark.parametrize("message", [HOSTILE, LogLine(HOSTILE), LogLine("shut out", {"user": HOSTILE})])
def test_nothing_from_outside_begins_a_line(form: str, message: object) -> None:
    text = formatted(form, message)
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))
    assert not any(re.match(r"(<\d>)?authentication", line) for line in text.split("\n"))


@pytest.mark.parametrize("form", FORMATTERS)
def test_a_traceback_is_marked_line_by_line(form: str) -> None:
    error = RuntimeError(f"oh\n{HOSTILE}")
    said = formatted(form, LogLine("unexpected error", {}, trace_of(error)), level=logging.ERROR)
    others = formatted(form, "unexpected error", error=error, level=logging.ERROR)  # as asyncio logs
    assert said == others
    if form == "json":
        assert json.loads(said)["trace"][0] == "RuntimeError: oh"
    else:
        assert all(re.match(r"(<3>)?! ", line) for line in said.split("\n")[1:])


@pytest.mark.parametrize("form", FORMATTERS)
def test_every_line_has_an_end(form: str) -> None:
    long = LogLine(100_000 * "x", {"user": 100_000 * "\U0001f600"}, 1000 * (100_000 * "x",))
    text = formatted(form, long)
    lines = json.loads(text)["trace"] if form == "json" else text.split("\n")[1:]
    assert len(lines) == MAX_TRACE
    assert len(text) < MAX_WORDS + 12 * MAX_VALUE + MAX_TRACE * (MAX_VALUE + 20) + 200
