"""Finds the line of a key in TOML text, which tomllib does not give: the first one with which the text has that key."""

import bisect
import contextlib
import itertools
from collections.abc import Sequence
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


def line_of(text: str, key: Key) -> int | None:
    """Return the line of a key in valid TOML text, or of the nearest thing around it; None if nothing of it is there."""
    lines = text.split("\n")
    while key and not _has(_parse(lines, len(lines)), key):
        key = key[:-1]
    if not key:
        return None
    return 1 + bisect.bisect_left(
        range(len(lines)), True, key=lambda index: _has(_parse(lines, index + 1), key)
    )


def _parse(lines: Sequence[str], count: int) -> object:
    """Return what the first lines say; without the last of them where what they are within has no end that we know."""
    import tomllib  # noqa: PLC0415 - as in `reading`

    end, step = count, 1
    while end > 0:
        for closer in CLOSERS:
            with contextlib.suppress(tomllib.TOMLDecodeError):
                return tomllib.loads("\n".join([*lines[:end], closer]))
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
