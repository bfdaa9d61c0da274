"""docs/guide and the command line agree."""

import re
from pathlib import Path
from typing import Final

import pytest

from socks6.cli.parser import COMMANDS, parse

GUIDE: Final = Path("docs/guide")
LINES: Final = [
    line.strip()
    for line in (GUIDE / "commands.md").read_text().splitlines()
    if re.match(r"(\$ )?socks6 ", line.strip())
]


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_one(line: str) -> None:
    words = re.split(r"#|>|  ", line.removeprefix("$ "))[0].split()
    if not words[1].startswith("-"):
        parse(words[1:])


def test_every_command_has_a_section() -> None:
    text = (GUIDE / "commands.md").read_text()
    assert re.findall(r"^## ([a-z]+)$", text, flags=re.MULTILINE) == list(COMMANDS)
