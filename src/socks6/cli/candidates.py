"""What may come next on a command line: for the shells' completion, drawn from the parser."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from socks6.cli.parser import build_parser
from socks6.cli.texts import HELP

FILES: Final = ":files"  # stands for the names of files
OURS: Final = ("socks6://", "socks6+tls://", "socks6+quic://", "socks6+unix:///")
PROXY_SCHEMES: Final = (*OURS, "socks6+auto://")
LISTENER_SCHEMES: Final = ("mixed://", "socks5://", "http://", *OURS)
LONGEST_MEANING: Final = 60


class Candidate(NamedTuple):
    """A word, and what it is for."""

    text: str
    meaning: str = ""


def show(words: Sequence[str]) -> int:
    """Print the candidates, one a line, each with a TAB and its meaning."""
    for candidate in candidates(words):
        print("\t".join(filter(None, candidate)))
    return 0


def candidates(words: Sequence[str]) -> list[Candidate]:
    """Return what may stand in the place of the last of the words."""
    *before, current = words or [""]
    actions = _actions(build_parser())
    command = next((word for word in before if word in HELP), None)
    if command is not None:
        before = before[before.index(command) + 1 :]
        actions = _actions(_parsers(actions)[command])
    found = _next(actions, before, flags_only=current.startswith("-"))
    return [one for one in found if one.text.startswith(current) or one.text == FILES]


def _next(actions: list[argparse.Action], before: list[str], *, flags_only: bool) -> Iterator[Candidate]:
    """Return what may follow the words of one command."""
    flags = {name: action for action in actions for name in action.option_strings}
    if before and _takes_value(flags.get(before[-1])):
        yield from _values(flags[before[-1]])
        return
    positionals = [action for action in actions if not action.option_strings]
    given = _count_positionals(before, flags)
    if given < len(positionals) and not flags_only:
        yield from _values(positionals[given])
    else:
        for name, action in flags.items():
            if name.startswith("--"):
                yield Candidate(name, _meaning(name, action))


def _values(action: argparse.Action) -> Iterator[Candidate]:
    """Return what may be the value of a flag, or a positional argument."""
    if action.dest == "command":
        yield from (Candidate(name, texts.summary) for name, texts in HELP.items())
    elif action.choices is not None:
        yield from (Candidate(str(choice)) for choice in action.choices)
    elif action.metavar == "FILE":
        yield Candidate(FILES)
    elif action.metavar == "URL":
        schemes = LISTENER_SCHEMES if action.dest == "listen" else PROXY_SCHEMES
        yield from map(Candidate, schemes)


def _count_positionals(words: list[str], flags: dict[str, argparse.Action]) -> int:
    """Return how many of the words are neither flags nor their values."""
    pairs = zip(["", *words], words, strict=False)
    return sum(not word.startswith("-") and not _takes_value(flags.get(before)) for before, word in pairs)


def _takes_value(action: argparse.Action | None) -> bool:
    return action is not None and action.nargs != 0


def _meaning(name: str, action: argparse.Action) -> str:
    """Return the first clause of a flag's help."""
    if name.startswith("--no-"):
        return f"the opposite of {action.option_strings[0]}"
    clause = re.split(r"[;(:]", action.help or "", maxsplit=1)[0].strip()
    return clause if len(clause) <= LONGEST_MEANING else clause[: LONGEST_MEANING - 1] + "…"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    # argparse tells nobody what it parses; argcomplete and shtab read it here, too
    return [action for action in parser._actions if action.help is not argparse.SUPPRESS]  # noqa: SLF001


def _parsers(actions: list[argparse.Action]) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands."""
    return next(dict(action.choices) for action in actions if isinstance(action.choices, dict))
