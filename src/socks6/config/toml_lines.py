"""Finds the line of each key in TOML text, which tomllib does not give."""

import re
from collections.abc import Mapping
from typing import Final

from socks6.config.faults import Key

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")  # a number, boolean or time


def locate_keys(text: str) -> dict[Key, int]:
    """Return the line number of every table, key and list item of valid TOML text."""
    return _Scanner(text).scan()


def line_of(lines: Mapping[Key, int], key: Key) -> int | None:
    """Return the line of a key, or of the nearest thing around it that has one."""
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None


class _Scanner:
    """Walks through text that tomllib has accepted, so that it need not look for faults."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0  # up to here newlines are counted in `_line`
        self._line = 1
        self._lines: dict[Key, int] = {}
        self._lengths: dict[Key, int] = {}  # of arrays of tables, so far

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        while self._next():
            if self._take("[["):
                table = self._header_key()
                index = self._lengths.get(table, 0)
                self._lengths[table] = index + 1
                table = (*table, index)
                self._lines[table] = self._here()
                self._take("]]")
            elif self._take("["):
                table = self._header_key()
                self._take("]")
            else:
                self._pair(table)
        return self._lines

    def _next(self) -> bool:
        """Skip what says nothing; return whether anything follows."""
        self._skip(_BLANK)
        return self._at < len(self._text)

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _header_key(self) -> Key:
        """Read and note a table's name; an array of tables on its way stands for the last of them."""
        key: Key = ()
        for part in self._dotted_key():
            if key in self._lengths:
                key = (*key, self._lengths[key] - 1)
            key = (*key, part)
            self._note(key)
        return key

    def _dotted_key(self) -> Key:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            quoted = self._skip(_STRING)
            parts.append(_unquoted(quoted) if quoted else self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if not self._take("."):
                return tuple(parts)

    def _pair(self, table: Key) -> None:
        key = (*table, *self._dotted_key())
        for length in range(len(table) + 1, len(key) + 1):
            self._note(key[:length])
        self._take("=")
        self._skip(_SPACE)
        self._value(key)

    def _value(self, key: Key) -> None:
        if self._take("["):
            self._items(key)
        elif self._take("{"):
            self._pairs(key)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _items(self, key: Key) -> None:
        index = 0
        while self._next() and not self._take("]"):
            if not self._take(","):
                self._note((*key, index))
                self._value((*key, index))
                index += 1

    def _pairs(self, key: Key) -> None:
        while self._next() and not self._take("}"):
            if not self._take(","):
                self._pair(key)

    def _note(self, key: Key) -> None:
        self._lines.setdefault(key, self._here())

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _unquoted(quoted: str) -> str:
    import tomllib  # noqa: PLC0415 - as in `reading`

    key: str = tomllib.loads(f"key = {quoted}")["key"]
    return key
