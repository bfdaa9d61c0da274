"""The commands' flags, as a page of the site and as manual pages: both are made from the parser."""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from socks6.cli.parser import COMMANDS, DESCRIPTION, build_parser
from socks6.distribution import VERSION


class Flag:
    """A flag or a positional argument, as people write it, and what it does."""

    def __init__(self, action: argparse.Action) -> None:
        value = "" if action.nargs == 0 else str(action.metavar or "|".join(map(str, action.choices or ())))
        if action.option_strings:
            self.text = ", ".join(f"{name} {value}".rstrip() for name in action.option_strings)
        else:
            self.text = value
        default = "" if action.default is argparse.SUPPRESS else action.default
        self.help = " ".join(((action.help or "") % {**vars(action), "default": default}).split())


def flags(command: str) -> Iterator[tuple[str, list[Flag]]]:
    """Yield the groups of a command's flags: a title, and what is in it."""
    parser = parser_of(command)
    for group in parser._action_groups:  # noqa: SLF001 - argparse has no public list of them
        shown = [one for one in group._group_actions if one.help is not argparse.SUPPRESS]  # noqa: SLF001
        if shown:
            yield group.title or "", [Flag(action) for action in shown]


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    parser = build_parser(command)
    choices = next(action.choices for action in parser._actions if action.dest == "command")  # noqa: SLF001
    assert isinstance(choices, dict)
    found = choices[command]
    assert isinstance(found, argparse.ArgumentParser)
    return found


def usage(command: str) -> str:
    """Return how a command is called."""
    words = parser_of(command).format_usage().split()[1:]
    return " ".join(words)


def commands_page() -> str:
    """Return the page about all commands and their flags."""
    lines = [
        "# Commands and flags",
        "",
        "Made from the command line's own parser when the site is built, so it says what `socks6 COMMAND --help` says (`--help-all` where there is one).",
        "[The guide](../guide/commands.md) explains each command, [the settings](settings.md) have the keys of a configuration",
        "file that go with the flags of `server` and `client`.",
        "",
    ]
    for name, command in COMMANDS.items():
        lines += [f"## {name}", "", command.description, "", "```", usage(name), "```", ""]
        for title, its in flags(name):
            lines += [f"| {title} | |", "|---|---|"]
            lines += [
                f"| {', '.join(f'`{_cell(name)}`' for name in flag.text.split(', '))} | {_cell(flag.help, html=True)} |"
                for flag in its
            ]
            lines.append("")
        if command.examples:
            head, _, examples = command.examples.partition("\n")
            lines += [f"{head.capitalize()}", "", "```", *examples.rstrip().splitlines(), "```", ""]
    return "\n".join(lines)


def _cell(text: str, *, html: bool = False) -> str:
    text = text.replace("|", "\\|")
    return re.sub(r"([*<_])", r"\\\1", text) if html else text


def manual_pages() -> Iterator[tuple[str, str]]:
    """Yield the manual pages, each with the name of its file: socks6(1), and one for each command."""
    summaries = [(f"socks6-{name}(1)", command.summary) for name, command in COMMANDS.items()]
    body = [*_section("COMMANDS"), *_terms(summaries)]
    yield "socks6.1", _page("socks6", "SOCKS version 6", "socks6 COMMAND [flags]", DESCRIPTION, body)
    for name, command in COMMANDS.items():
        body = []
        for title, its in flags(name):
            body += [*_section(title.upper()), *_terms((flag.text, flag.help) for flag in its)]
        if command.examples:
            body += [
                *_section("EXAMPLES"),
                ".nf",
                *map(_escaped, command.examples.partition("\n")[2].splitlines()),
                ".fi",
            ]
        yield (
            f"socks6-{name}.1",
            _page(f"socks6-{name}", command.summary, usage(name), command.description, body),
        )


def _page(name: str, summary: str, synopsis: str, description: str, body: Iterable[str]) -> str:
    lines = [
        f'.TH {name.upper()} 1 "" "pysocks6 {VERSION}" "SOCKS version 6"',
        *_section("NAME"),
        _escaped(f"{name} - {summary}"),
        *_section("SYNOPSIS"),
        _escaped(synopsis),
        *_section("DESCRIPTION"),
        _escaped(description),
        *body,
        *_section("EXIT STATUS"),
        "0 all went well, 1 it failed at run time, 2 wrong usage or configuration.",
    ]
    return "\n".join(lines) + "\n"


def _section(title: str) -> Iterator[str]:
    yield f".SH {_escaped(title)}"


def _terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", rf"\fB{_escaped(term)}\fR", _escaped(text))


def _escaped(text: str) -> str:
    """Return text as roff takes it: backslashes, hyphens, and lines that would be requests."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


def main(folder: str) -> int:
    """Write the manual pages into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in manual_pages():
        (Path(folder) / name).write_text(text)
    print(f"wrote the manual pages into {folder}: man -l {folder}/socks6.1")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "build/man"))
