"""The example of a configuration file: every key is in it, and what stands behind a # is the default."""

import dataclasses
import re
from pathlib import Path
from typing import Final

from socks6.config import tables
from socks6.config.choices import Choices
from socks6.config.file import read_configuration
from socks6.config.plan import Plan
from socks6.config.reading import TABLES

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "socks6.toml"
DEFAULT: Final = "# "
SAMPLE: Final = "#e "


def uncommented(folder: Path, *marks: str) -> Path:
    """Return the example with some of its comments taken in: those in columns of continued text stay what they are."""
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        mark = next((mark for mark in marks if re.match(rf"{mark}(\[|[a-z0-9-]+ = )", line)), None)
        lines.append(line if mark is None else line.removeprefix(mark))
    path = folder / "socks6.toml"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def shown(plan: Plan) -> dict[str, object]:
    fields = (field.name for field in dataclasses.fields(plan) if field.name != "authenticator")
    return {name: getattr(plan, name) for name in fields}


def test_every_key_is_in_it() -> None:
    found: dict[str, set[str]] = {"": set()}
    table = ""
    for line in EXAMPLE.read_text().splitlines():
        if head := re.match(r"(?:#e? )?\[+([a-z.-]+)\]+", line):
            table = head[1]
            found.setdefault(table, set())
        elif key := re.match(r"(?:#e? )?([a-z0-9-]+) = ", line):
            found[table].add(key[1])
    wanted = {name: set(kind.__struct_encode_fields__) for name, kind in TABLES.items()}
    wanted[""] = {*tables.Top.__struct_encode_fields__} - {"stack"}
    wanted["stack"] = set(tables.Stack.__struct_encode_fields__)
    wanted["policy"].remove("rules")
    wanted["policy.rules"] = set(tables.Rule.__struct_encode_fields__)
    wanted["users"].remove("plain")
    assert found.pop("users.plain") == {"alice"}
    assert found == wanted


def test_what_stands_behind_a_hash_is_the_default(tmp_path: Path) -> None:
    as_it_is = read_configuration(EXAMPLE).choices
    assert as_it_is == Choices(listen=as_it_is.listen)
    filled = read_configuration(uncommented(tmp_path, DEFAULT)).choices
    assert shown(Plan.of(filled)) == shown(Plan.of(Choices()))
    assert (filled.loop, filled.verbosity, filled.log_destinations) == ("auto", 0, False)


def test_what_is_only_an_example_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    path = uncommented(tmp_path, SAMPLE)
    path.write_text(re.sub("(?m)^via-file .*", "", path.read_text()))  # there is via already
    choices = read_configuration(path).choices
    assert choices.users
    assert choices.rules
    assert len(choices.rules) == 2
    assert choices.via is not None
