"""What is generated from the settings, and that one line is all that a new setting takes."""

import argparse
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from settings_pages import example_file, reference_page

from socks6.cli.load import add_setting_flags, load
from socks6.config.faults import InvalidConfiguration
from socks6.config.reading import read_configuration
from socks6.config.schema import schema, schema_text
from socks6.config.server import ServerConfig
from socks6.setting import build, reloadable_keys, setting, settings_of
from tests.kit.certificates import authority

EXAMPLE_MARK: Final = "  # an example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(ServerConfig):
    """The settings, and one more."""

    greetings: int = setting(5, "greetings a second", key="limits.greetings", maximum=9, reload=True)


def uncommented(folder: Path, *, examples: bool) -> Path:
    """Return the example file with its defaults taken in, or its examples."""
    lines = []
    for line in example_file().splitlines():
        value = re.match(r"#(\[\[.+\]\]|[a-z0-9-]+ = .*)", line)
        wanted = value and (examples == (EXAMPLE_MARK in line or "  # " in line))
        lines.append(line.removeprefix("#") if wanted else line)
    path = folder / "socks6.toml"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def test_the_example_is_a_file_that_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "socks6.toml").write_text(example_file())
    assert read_configuration(tmp_path / "socks6.toml").values == {}


def test_the_example_has_every_default(tmp_path: Path) -> None:
    values = read_configuration(uncommented(tmp_path, examples=False)).values
    assert build(ServerConfig, values) == ServerConfig()
    assert len(values) > 40


def test_the_example_has_every_other_key(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    (tmp_path / "users.db").touch(0o600)
    (tmp_path / "upstream.url").write_text("socks6://proxy.example")
    authority("good").cert_pem.write_to_path(str(tmp_path / "auth-ca.pem"))
    defaults = read_configuration(uncommented(tmp_path, examples=False)).values
    path = uncommented(tmp_path, examples=True)
    path.write_text(path.read_text().replace("\nvia = ", "\n#via = "))  # there is via-file as well
    examples = read_configuration(path).values
    assert defaults.keys() | examples.keys() | {"via"} == {
        declared.key for declared in settings_of(ServerConfig)
    }


def test_the_reference_has_every_key_and_flag() -> None:
    page = reference_page()
    for declared in settings_of(ServerConfig):
        assert f"| `{declared.key}`" in page
        assert not declared.flag or f"`{declared.flag}`" in page


def test_the_schema_allows_what_a_file_may_have(tmp_path: Path) -> None:
    """Every key of the example is in the schema, with a type that its value has."""
    types = {str: "string", bool: "boolean", int: "integer", float: "number"}
    document = tomllib.loads(uncommented(tmp_path, examples=False).read_text())
    top = json.loads(schema_text())["properties"]
    for name, value in document.items():
        known = top[name]
        for key, item in value.items() if isinstance(value, dict) else [(name, value)]:
            rule = known["properties"][key] if isinstance(value, dict) else known
            if "enum" in rule:
                assert item in rule["enum"]
                assert rule["default"] == item
            elif "type" in rule:
                assert rule["type"] in (types[type(item)], "number")
                assert rule["default"] == item
    assert top["policy"]["properties"]["rules"]["items"]["required"] == ["action"]
    assert schema()["additionalProperties"] is False


def test_the_schema_says_what_each_kind_of_setting_may_be() -> None:
    top = json.loads(schema_text())["properties"]
    text_or_number = {"type": ["string", "integer"]}
    kinds = {
        "sessions.enabled": {"type": "boolean", "default": True},
        "sessions.total": {
            "type": "integer", "exclusiveMinimum": 0, "maximum": 10**9, "default": 100_000,
        },
        "timeouts.idle": {"type": "number", "minimum": 0, "maximum": 10**9, "default": 7440.0},
        "tls.min-version": {"enum": ["1.2", "1.3"], "default": "1.3"},
        "tls.key": {"type": "string"},
        "bind.ports": text_or_number,
        "bind.advertise": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "users.plain": {"type": "object", "additionalProperties": {"type": "string"}},
    }  # fmt: skip
    for key, rule in kinds.items():
        table, _, name = key.partition(".")
        said = top[table]["properties"][name]
        assert {fact: value for fact, value in said.items() if fact != "description"} == rule
    rules = top["policy"]["properties"]["rules"]["items"]
    assert rules["properties"]["ports"]["anyOf"] == [
        text_or_number,
        {"type": "array", "items": text_or_number},
    ]
    tables = [top["stack"]["items"], rules, *(rule for rule in top.values() if "properties" in rule)]
    assert all(rule["additionalProperties"] is False for rule in tables)


def test_a_new_setting_has_a_flag_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_setting_flags(parser, listen="x", root=Extended)
    flags = parser.parse_args(["--limits-greetings", "7"])
    assert build(Extended, load(flags, {}, Extended).values).greetings == 7
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--limits-greetings NUMBER greetings a second (default: 5)" in told


def test_a_new_setting_has_a_key_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text("[limits]\ngreetings = 6")
    flags = argparse.ArgumentParser()
    add_setting_flags(flags, listen="x", root=Extended)
    values = load(flags.parse_args(["--config", str(path)]), {}, Extended).values
    assert build(Extended, values) == Extended(greetings=6)
    path.write_text("[limits]\ngreetings = 10")
    with pytest.raises(
        InvalidConfiguration, match=r"socks6\.toml:2: limits\.greetings: expected a whole number <= 9"
    ):
        read_configuration(path, Extended)


def test_a_new_setting_is_in_the_documents_and_has_a_reload_class() -> None:
    assert "\n# greetings a second\n#greetings = 5\n" in example_file(Extended)
    assert (
        "| `limits.greetings` ↻ | `--limits-greetings` | 0 to 9 | `5` | greetings a second |"
        in reference_page(Extended)
    )
    limits = json.loads(schema_text(Extended))["properties"]["limits"]["properties"]
    assert limits["greetings"] == {
        "description": "greetings a second", "type": "integer", "minimum": 0, "maximum": 9, "default": 5,
    }  # fmt: skip
    assert "limits.greetings" in reloadable_keys(Extended)
