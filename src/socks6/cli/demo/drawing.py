"""Draws who told whom what, as plain text: a column for each party, an arrow for each message, down the page."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MARGIN: Final = 6  # the column of times
NARROWEST: Final = 15
AIR: Final = 1  # on both sides of the words above an arrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """Something that went from one party to another, which must be neighbours."""

    time: float  # milliseconds
    source: int
    target: int
    words: tuple[str, ...]  # above the shaft
    label: str = ""  # in the shaft
    both_ways: bool = False

    @property
    def gap(self) -> int:
        """Which gap between two columns it is in."""
        return min(self.source, self.target)


def draw(parties: Sequence[str], arrows: Sequence[Arrow]) -> list[str]:
    """Return the lines of the picture."""
    columns = _columns(parties, arrows)
    lines = [_header(parties, columns)]
    for arrow in arrows:
        lines += [_words(arrow, words, columns) for words in arrow.words]
        lines.append(_shaft(arrow, columns))
    lines.append(_bars(columns))
    return [line.rstrip() for line in lines]


def _columns(parties: Sequence[str], arrows: Sequence[Arrow]) -> list[int]:
    """Return where each party's bar is; the gaps are as wide as their words need."""
    columns = [MARGIN + len(parties[0]) // 2]
    for gap, (left, right) in enumerate(itertools.pairwise(parties)):
        inside = [arrow for arrow in arrows if arrow.gap == gap]
        names = len(left) - len(left) // 2 + len(right) // 2 + 1
        words = [len(words) + 2 * AIR + 1 for arrow in inside for words in arrow.words]
        labels = [len(arrow.label) + len("|<-  ->") for arrow in inside]
        columns.append(columns[-1] + max(NARROWEST, names, *words, *labels))
    return columns


def _header(parties: Sequence[str], columns: list[int]) -> str:
    line = "ms"
    for name, column in zip(parties, columns, strict=True):
        line = line.ljust(column - len(name) // 2) + name
    return line


def _bars(columns: list[int]) -> str:
    line = ""
    for column in columns:
        line = line.ljust(column) + "|"
    return line


def _words(arrow: Arrow, words: str, columns: list[int]) -> str:
    return _put(_bars(columns), columns[arrow.gap] + 1 + AIR, words)


def _shaft(arrow: Arrow, columns: list[int]) -> str:
    left, right = columns[arrow.gap] + 1, columns[arrow.gap + 1]
    stroke = "=" if arrow.both_ways else "-"
    label = f" {arrow.label} " if arrow.label else ""
    shaft = label.center(right - left, stroke)
    if arrow.both_ways or arrow.source > arrow.target:
        shaft = "<" + shaft[1:]
    if arrow.both_ways or arrow.source < arrow.target:
        shaft = shaft[:-1] + ">"
    return _put(_put(_bars(columns), 0, f"{arrow.time:.1f}"), left, shaft)


def _put(line: str, at: int, text: str) -> str:
    return line[:at] + text + line[at + len(text) :]
