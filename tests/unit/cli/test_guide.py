"""README.md, the guides, the tutorials and the command line agree; so do the manual pages and the reference."""

import ast
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from command_pages import flags, manual_pages
from python_pages import GUIDE as LIBRARY
from python_pages import MORE, names_by_page

import socks6
from socks6.cli import main
from socks6.cli.parser import COMMANDS, parse
from tests.kit import documents

GUIDE: Final = Path("docs/guide")
TUTORIALS: Final = sorted(Path("docs/tutorial").glob("*.md"))
TROUBLESHOOTING: Final = GUIDE / "troubleshooting.md"
DOCUMENTS: Final = [
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "changes.d/README.md"),
    *sorted(map(str, Path("docs").glob("*/*.md"))),
]
BLOCKS: Final = [block for document in DOCUMENTS for block in documents.blocks(document)]


def blocks(language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return [block.text for block in BLOCKS if block.language == language]


SHELL: Final = "\n".join(
    line for block in BLOCKS if block.language in {"sh", "console"} for _, line in block.commands
)
COMMAND_LINES: Final = re.findall(r"(?<![\w.-])socks6 (?!pysocks6)([a-z](?:(?!  )[^#|>&)'\n])*)", SHELL)
IN_TEXT: Final = [
    line
    for path in (*TUTORIALS, TROUBLESHOOTING)
    for line in re.findall(r"`socks6 ([a-z]+ [^`]+)`", path.read_text())
]


def test_every_block_says_what_it_is() -> None:
    """Those that are not `text` are run, here or by tests/e2e/test_snippets.py; what is `text` is no command."""
    languages = {"sh", "console", "python", "toml", "text"}
    assert [(block.document, block.text) for block in BLOCKS if block.language not in languages] == []
    assert [
        line
        for text in blocks("text")
        for line in text.splitlines()
        if re.match(r"(\$ )?(socks6|curl) ", line)
    ] == []


def test_every_target_of_make_is_one() -> None:
    text = "\n".join(Path(document).read_text() for document in DOCUMENTS)
    named = {*re.findall(r"^make ([a-z-]+)", SHELL, re.MULTILINE), *re.findall(r"`make ([a-z-]+)", text)}
    assert len(named) > 8
    assert named <= set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("line", sorted({*COMMAND_LINES, *IN_TEXT}))
def test_every_command_line_is_one(line: str) -> None:
    parse(line.replace("%p", "22").split())


def test_every_script_is_one() -> None:
    subprocess.run(["bash", "-n"], input=SHELL, text=True, check=True, timeout=30)


@pytest.mark.parametrize("block", blocks("python"))
def test_every_piece_of_python_is_one_that_imports_what_there_is(block: str) -> None:
    tree = compile(block, "block", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [name.name for node in imports if node.module == "socks6" for name in node.names]
    assert set(names) <= set(socks6.__all__)


def test_every_message_that_is_explained_is_one_of_ours() -> None:
    """What a row of a table about messages quotes is said by the code, or by the system."""
    source = "".join(path.read_text() for path in Path(socks6.__file__).parent.rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", source) + "".join(map(os.strerror, range(140)))
    said += "Name or service not known"  # getaddrinfo
    text = TROUBLESHOOTING.read_text()
    ours = "".join(part for part in text.split("\n## ") if "| message |" in part)
    quoted = [
        piece
        for cell in re.findall(r"^\| (`[^|]*) \|", ours, re.MULTILINE)
        for piece in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(quoted) > 20
    replies = [f"the proxy replied {code}" for code in ("01", "02", "05")]
    pieces = [
        part
        for piece in quoted
        for part in (piece.split(", ") if piece.startswith(tuple(replies)) else [piece])
    ]
    assert [piece for piece in pieces if piece not in said and piece not in replies] == []


def test_every_flag_is_in_the_manual() -> None:
    pages = dict(manual_pages())
    assert list(pages) == ["socks6.1", *(f"socks6-{name}.1" for name in COMMANDS)]
    for name in COMMANDS:
        page = pages[f"socks6-{name}.1"].replace("\\-", "-")
        assert [flag.text for _, its in flags(name) for flag in its if flag.text not in page] == []


def test_every_public_name_has_its_place_in_the_reference() -> None:
    pages = names_by_page(LIBRARY.read_text())
    modules = {module for more in MORE.values() for module in more}  # whose pages show all that they have
    named = [name for names in pages.values() for name in names]
    shown = [name for name, module in socks6._MODULE_OF.items() if module in modules]
    assert sorted(named + shown) == sorted(socks6.__all__)
    assert all(pages[page] or MORE.get(page) for page in pages)


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_piece_of_a_configuration_file_is_one(block: str, tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text(block)
    assert main(["check", str(path)]) == 0


def test_every_command_has_a_section() -> None:
    text = (GUIDE / "commands.md").read_text()
    assert re.findall(r"^## ([a-z]+)$", text, flags=re.MULTILINE) == list(COMMANDS)
