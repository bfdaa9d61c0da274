"""A line of the log, and the three forms that it is written in: text, JSON, and the journal's.

Text from outside can neither begin a line nor end one, nor look like another field: in a field it is quoted and escaped
where it is not plain, elsewhere whatever is not printable ASCII is escaped. Every line has an end: what is longer is cut.
"""

import functools
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.dataclass import dataclass

Fields: TypeAlias = Mapping[str, str | int | float]

MAX_WORDS: Final = 4096  # characters before the fields; many only where a message of the protocol is logged
MAX_VALUE: Final = 512  # characters of a field, and of a line of a traceback
MAX_TRACE: Final = 100  # lines of a traceback: its last ones
REMEMBERED: Final = 1024  # texts with what they are in a line: most come again
CUT: Final = "..."  # at the end of what was cut

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:/@+%*\[\]-]+")
_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
# what begins a line for the journal: sd-daemon(3)
_PRIORITIES: Final = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"), (0, "<7>"))


@dataclass(frozen=True, slots=True)
class LogLine:
    """The message of a log record: fixed words, fields, and the lines of a traceback.

    As text it is the words, then ` key=value` for each field that is not empty, then `! ` and a line of the traceback
    on each further line.
    """

    words: str
    fields: Fields = field(default_factory=dict)
    trace: tuple[str, ...] = ()

    @override
    def __str__(self) -> str:
        return f"{printable(_cut(self.words, MAX_WORDS))}{format_fields(self.fields)}" + "".join(
            f"\n! {printable(_cut(line, MAX_VALUE))}" for line in self.trace[-MAX_TRACE:]
        )


def trace_of(error: BaseException) -> tuple[str, ...]:
    """Return the lines of an exception's traceback."""
    return tuple("".join(traceback.format_exception(error)).splitlines())


def format_fields(fields: Fields) -> str:
    """Return " key=value" for each field that is not empty, with values that cannot break the line."""
    return "".join(f" {key}={_value_text(value)}" for key, value in fields.items() if value != "")


def line_of(record: logging.LogRecord) -> LogLine:
    """Return what a record says; where that is no `LogLine`, its first line is the words and the others the traceback."""
    if isinstance(record.msg, LogLine) and not record.exc_info:
        return record.msg
    error = record.exc_info[1] if record.exc_info else None
    trace = trace_of(error) if error is not None else ()
    if isinstance(record.msg, LogLine):
        return LogLine(record.msg.words, record.msg.fields, (*record.msg.trace, *trace))
    words, *more = record.getMessage().splitlines() or [""]
    return LogLine(words, trace=(*more, *trace))


class TextFormatter(logging.Formatter):
    """Local time, level, words and key=value."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._time = ""  # of that second

    @override
    def format(self, record: logging.LogRecord) -> str:
        if (second := int(record.created)) != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._time},{int(record.msecs):03} {record.levelname} {line_of(record)}"


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, logger and event, then the fields that are not empty, then trace."""

    def __init__(self) -> None:
        super().__init__()
        import json  # noqa: PLC0415 - 3 ms that the other forms need not take to start

        self._dumps = json.dumps  # escapes all but printable ASCII

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = line_of(record)
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": _cut(line.words, MAX_WORDS),
            **{key: _json_value(value) for key, value in line.fields.items() if value != ""},
        }
        if line.trace:
            found["trace"] = [_cut(text, MAX_VALUE) for text in line.trace[-MAX_TRACE:]]
        return self._dumps(found)


class JournalFormatter(logging.Formatter):
    """A level as systemd reads it on standard error, words and key=value: the journal has the time."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        prefix = next(prefix for level, prefix in _PRIORITIES if record.levelno >= level)
        return prefix + str(line_of(record)).replace("\n", f"\n{prefix}")


FORMATTERS: Final[Mapping[str, Callable[[], logging.Formatter]]] = {
    "text": TextFormatter,
    "json": JsonFormatter,
    "journal": JournalFormatter,
}


def _json_value(value: str | float) -> str | float:
    return _cut(value, MAX_VALUE) if isinstance(value, str) else value


def _value_text(value: str | float) -> str:
    if type(value) is int:
        return str(value)
    return f"{value:.3f}" if isinstance(value, float) else _quoted(_cut(str(value), MAX_VALUE))


@functools.lru_cache(REMEMBERED)
def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{printable(escaped)}"'


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size] + CUT


def printable(text: str) -> str:
    """Return a text with escapes for whatever is not printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda match: _ESCAPES.get(match[0]) or _escape(ord(match[0])), text)


def _escape(number: int) -> str:
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
