"""docs/spec-notes.md names only what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    set(re.findall(r"\b(\w+)::(test_\w+)", (ROOT / "docs/spec-notes.md").read_text()))
    - {("requests", "test_x")}
)


@pytest.mark.parametrize(("section", "test"), NAMED)
def test_a_test_that_the_notes_name_exists(section: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / f"tests/spec/test_{section}.py").read_text()


def test_modules_that_the_notes_name_exist() -> None:
    notes = (ROOT / "docs/spec-notes.md").read_text()
    packages = "client|message|net|policy|protocol|proxy|relay"
    for name in set(re.findall(rf"`((?:{packages})(?:\.\w+)+)`", notes)):
        path = ROOT / "src/socks6" / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir(), name
