"""What a word was probably meant to be, of those that there are: for commands, flags, keys and values alike."""

from collections.abc import Iterable
from typing import Final

MAX_EDITS: Final = 2
LONG: Final = 5  # characters; shorter words differ by one edit alone
MIN_PREFIX: Final = 3  # characters of a word that is the beginning of the one that was meant


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the word that `word` is a slip for: it begins with it, or is within two edits; None where none is, or two are.

    An edit is a character too many, one too few, another one, or two exchanged.
    """
    bare = _bare(word)
    names = {name: _bare(name) for name in known}
    limit = MAX_EDITS if len(bare) >= LONG else 1
    edits = {name: _edits(bare, text) for name, text in names.items() if abs(len(text) - len(bare)) <= limit}
    for allowed in range(limit + 1):
        found = [name for name, count in edits.items() if count == allowed]
        if found:
            return found[0] if len(found) == 1 else None
    begun = [name for name, text in names.items() if len(bare) >= MIN_PREFIX and text.startswith(bare)]
    return begun[0] if len(begun) == 1 else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean ...?" if there is a word that was meant; else ""."""
    meant = closest(word, known)
    return f", did you mean {meant}?" if meant else ""


def suggestion_or_all(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean ...?", or else "; there are ..." with all words."""
    names = list(known)
    return suggestion(word, names) or f"; there are {', '.join(names)}"


def _bare(word: str) -> str:
    return word.lstrip("-").lower()


def _edits(one: str, other: str) -> int:
    """Return how many edits make one word of the other (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]
