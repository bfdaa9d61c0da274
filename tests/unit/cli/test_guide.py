"""docs/guide and the command line agree."""

import re
from pathlib import Path
from typing import Final

import pytest

from socks6.cli.candidates import candidates
from socks6.cli.parser import COMMANDS, parse
from socks6.config import tables
from socks6.config.reading import TABLES

GUIDE: Final = Path("docs/guide")
ROWS: Final = re.findall(
    r"^\| (.*?) \| (.*?) \|", (GUIDE / "configuration.md").read_text(), flags=re.MULTILINE
)
LINES: Final = [
    line.strip()
    for line in (GUIDE / "commands.md").read_text().splitlines()
    if re.match(r"(\$ )?socks6 ", line.strip())
]


def test_every_flag_is_in_the_table() -> None:
    told = set(re.findall(r"--[a-z0-9-]+", " ".join(flag for flag, _ in ROWS)))
    flags = {candidate.text for candidate in candidates(["server", "--"])}
    assert told == {flag for flag in flags if not flag.startswith("--no-")} - {"--help"}


def test_every_key_is_in_the_table() -> None:
    told = set(re.findall(r"`([a-z0-9.-]+)`", " ".join(key for flag, key in ROWS if "-" in flag or not flag)))
    keys = set(tables.Top.__struct_encode_fields__)
    for name, table in TABLES.items():
        keys |= {f"{name}.{key}" for key in table.__struct_encode_fields__}
    assert told == keys - {"users.plain", "policy.rules", "stack"}  # which are told as tables


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_one(line: str) -> None:
    words = re.split(r"#|>|  ", line.removeprefix("$ "))[0].split()
    if not words[1].startswith("-"):
        parse(words[1:])


def test_every_command_has_a_section() -> None:
    text = (GUIDE / "commands.md").read_text()
    assert re.findall(r"^## ([a-z]+)$", text, flags=re.MULTILINE) == list(COMMANDS)
