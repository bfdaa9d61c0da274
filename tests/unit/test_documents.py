"""The documents name only what there is: links, files, and the modules and classes of the architecture and the glossary."""

import importlib
import re
from pathlib import Path
from typing import Final

import pytest

import socks6

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = {path.stem for path in Path(socks6.__file__).parent.iterdir() if path.suffix in {"", ".py"}}
DOCUMENTS: Final = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
)
WORDS: Final = {  # of the code
    word
    for folder in ("src", "tests", "scripts", "benchmarks")
    for path in ROOT.glob(f"{folder}/**/*.py")
    for word in re.findall(r"[A-Z]\w+", path.read_text())
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text)
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md"])
def test_names_of_code_are_names_of_code(document: str) -> None:
    text = (ROOT / document).read_text()
    assert [name for name in re.findall(r"`([A-Z]\w*[a-z]\w*)`", text) if name not in WORDS] == []
    ticked = re.findall(r"`([a-z_]\w*(?:\.\w+)+)`", text)
    named = [
        name for name in ticked if name.partition(".")[0] in PACKAGES and not name.endswith((".py", ".md"))
    ]
    assert [name for name in named if not is_there(name)] == []


def is_there(name: str) -> bool:
    """Return whether a dotted name is a module of ours, or something in one."""
    module, _, attribute = f"socks6.{name}".rpartition(".")
    try:
        importlib.import_module(f"socks6.{name}")
    except ModuleNotFoundError:
        if module == "socks6":
            return False
        try:
            return hasattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError:  # an attribute of a class
            return is_there(name.rpartition(".")[0])
    return True


def test_the_glossary_says_where_things_are() -> None:
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(named) > 30
    assert [name for name in named if name not in PACKAGES and not is_there(name)] == []


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:docs|examples|scripts|src|tests)/[\w./-]+)`", text)
    assert named
    assert [name for name in named if not list(ROOT.glob(f"{name}*"))] == []


def test_both_services_are_hardened_alike() -> None:
    """An administrator reads each unit whole, so what they share stands in both."""
    units = [path.read_text() for path in ROOT.glob("packaging/systemd/*.service")]
    shared = [
        [line for line in unit.partition("\nRestart=")[2].splitlines() if not line.startswith("#")]
        for unit in units
    ]
    assert len(units) == 2
    assert "NoNewPrivileges=yes" in shared[0]
    assert shared[0] == shared[1]
