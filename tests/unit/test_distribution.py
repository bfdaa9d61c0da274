"""The package as an installer knows it."""

import shlex
import tomllib
from pathlib import Path

import pytest

from socks6.distribution import NAME, VERSION, install_hint

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())


def test_name_and_version_are_those_that_are_built() -> None:
    assert PROJECT["project"]["name"] == NAME
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/socks6/distribution.py"
    assert all(part.isdecimal() for part in VERSION.split("."))


@pytest.mark.parametrize("extra", PROJECT["project"]["optional-dependencies"])
def test_a_hint_can_be_pasted_into_a_shell(extra: str) -> None:
    published, _, clone = install_hint(extra).partition(" (in a clone: ")
    assert shlex.split(published) == ["pip", "install", f"pysocks6[{extra}]"]
    assert shlex.split(clone.removesuffix(")")) == ["pip", "install", f".[{extra}]"]
