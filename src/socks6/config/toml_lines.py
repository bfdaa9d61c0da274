"""Finds the lines of keys in TOML text, which tomllib does not give: the first one with which the text has a key."""

import contextlib
import itertools
from collections.abc import Sequence, Set
from typing import Final

from socks6.config.faults import Key

MAX_DEPTH: Final = 3  # of lists and tables in a value of several lines; deeper, a line near it is found
# What ends text that was cut behind a line: nothing, or the ends of a text, lists and tables that the line is within.
CLOSERS: Final = tuple(
    quotes + "".join(brackets)
    for depth in range(MAX_DEPTH + 1)
    for brackets in itertools.product("]}", repeat=depth)
    for quotes in ("", '"""', "'''")
)


def lines_of(text: str, keys: Sequence[Key]) -> list[int]:
    """Return the lines of keys in valid TOML text, or of the nearest things around them; 1 if nothing of one is there."""
    search = _Search(text)
    present = [search.longest_part(key) for key in keys]
    search.run(set(present), 0, len(search.lines))
    return [search.found[key] for key in present]


class _Search:
    """Bisects for all keys at once: where a file has many faults, most parts of it are parsed for several of them."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.found: dict[Key, int] = {}
        self._closers = list(CLOSERS)
        self._whole = self._parse(len(self.lines))

    def longest_part(self, key: Key) -> Key:
        """Return as much of a key from its beginning on as the text has."""
        while not _has(self._whole, key):
            key = key[:-1]
        return key

    def run(self, keys: Set[Key], before: int, count: int) -> None:
        """Find the lines of keys that the first `count` lines have, and the first `before` have not."""
        if count - before == 1:
            self.found.update(dict.fromkeys(keys, count))
        elif keys:
            middle = (before + count) // 2
            value = self._parse(middle)
            early = {key for key in keys if _has(value, key)}
            self.run(early, before, middle)
            self.run(keys - early, middle, count)

    def _parse(self, count: int) -> object:
        """Return what the first lines say; without the last of them where what they are within has no end that we know."""
        import tomllib  # noqa: PLC0415 - as in `reading`

        end, step = count, 1
        while end > 0:
            for closer in self._closers:
                with contextlib.suppress(tomllib.TOMLDecodeError):
                    value = tomllib.loads("\n".join([*self.lines[:end], closer]))
                    self._closers.remove(closer)
                    self._closers.insert(0, closer)  # what ends a text is one; lines nearby have the same
                    return value
            end -= step
            step *= 2  # what is too deep may be long
        return {}


def _has(value: object, key: Key) -> bool:
    for part in key:
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if isinstance(part, int) and part < len(value):
                value = value[part]
            case _:
                return False
    return True
