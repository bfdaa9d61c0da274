"""README.md, docs/guide and the command line agree."""

import re
from pathlib import Path
from typing import Final

import pytest

from socks6.cli import main
from socks6.cli.parser import COMMANDS, parse

GUIDE: Final = Path("docs/guide")
TEXTS: Final = [path.read_text() for path in (Path("README.md"), *sorted(GUIDE.glob("*.md")))]


def blocks(language: str) -> list[str]:
    """Return the blocks of code in a language, "" for those without one."""
    return [
        block
        for text in TEXTS
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        if kind == language
    ]


COMMAND_LINES: Final = re.findall(r"(?<![\w.-])socks6 ([a-z](?:(?!  )[^#|>&)'\n])*)", "".join(blocks("")))


@pytest.mark.parametrize("line", sorted(set(COMMAND_LINES)))
def test_every_command_line_is_one(line: str) -> None:
    parse(line.replace("%p", "22").split())


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_piece_of_a_configuration_file_is_one(block: str, tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text(block)
    assert main(["check", str(path)]) == 0


def test_every_command_has_a_section() -> None:
    text = (GUIDE / "commands.md").read_text()
    assert re.findall(r"^## ([a-z]+)$", text, flags=re.MULTILINE) == list(COMMANDS)
