"""The flags of the commands that serve, and the configuration that they, the environment and a file make together.

Flags go before the environment, and the environment before the file. All three are read by what the settings declare about
themselves (`socks6.setting`).
"""

import argparse
from argparse import Namespace
from collections.abc import Mapping
from typing import Final, NamedTuple

from socks6.config.faults import error_prefix
from socks6.config.reading import ConfigValues, read_configuration, read_texts, users_warnings
from socks6.config.server import TABLES, ServerConfig, by_table
from socks6.errors import ConfigurationError
from socks6.setting import DeclaredSetting, settings_of

ONE_FILE: Final = "one file may hold several URLs, one a line"
UPSTREAM_KEYS: Final = (
    "via",
    "via-file",
    "direct",
)  # alternatives: each goes before all three of a later source


class LoadedConfig(NamedTuple):
    """The values of all sources, and what the operator should know about the files that they came from."""

    values: ConfigValues
    warnings: tuple[str, ...]


def add_setting_flags(
    parser: argparse.ArgumentParser, *, listen: str, root: type = ServerConfig
) -> frozenset[argparse.Action]:
    """Add the flags of all settings, in a group for each table, and return those that are not common.

    `listen` is the command's default listener.
    """
    uncommon: set[argparse.Action] = set()
    for table, settings in by_table(root).items():
        group = parser.add_argument_group(TABLES.get(table, table))
        for declared in settings:
            if declared.flag:
                default = listen if declared.key == "listen" else declared.default_words
                action = _add_flag(group, declared, default)
                if not declared.facts.common:
                    uncommon.add(action)
    group = parser.add_argument_group("configuration file")
    group.add_argument("--config", metavar="FILE", help="read a TOML file; `socks6 check` examines it")
    return frozenset(uncommon)


def _add_flag(group: argparse._ArgumentGroup, declared: DeclaredSetting, default: str) -> argparse.Action:
    facts = declared.facts
    text = facts.help.replace("%", "%%") + (f" (default: {default})" if default not in ("", "no") else "")
    names = [facts.short, declared.flag] if facts.short else [declared.flag]
    if facts.short:
        return group.add_argument(*names, dest=declared.key, action="count", help=text)
    if declared.kind is bool:
        return group.add_argument(*names, dest=declared.key, action=argparse.BooleanOptionalAction, help=text)
    return group.add_argument(
        *names,
        dest=declared.key,
        action="append",
        metavar=None if facts.values else declared.unit,
        choices=None if facts.values is None else tuple(facts.values),
        help=text,
    )


def load(flags: Namespace, environment: Mapping[str, str], root: type = ServerConfig) -> LoadedConfig:
    """Read flags, environment and file. Raises ConfigurationError."""
    values = _read_flags(flags, root)
    values = merged_over(values, _read_environment(environment, values, root))
    file_warnings: tuple[str, ...] = ()
    own_warnings = users_warnings(values)
    if flags.config is not None:
        file = read_configuration(flags.config, root)
        values = merged_over(values, file.values)
        file_warnings = file.warnings
    return LoadedConfig(values, own_warnings + file_warnings)


def merged_over(values: ConfigValues, lower: ConfigValues) -> dict[str, object]:
    """Return the values that hold when `values` go before those of a later source."""
    if any(values.get(key) for key in UPSTREAM_KEYS):
        lower = {key: value for key, value in lower.items() if key not in UPSTREAM_KEYS}
    return {**lower, **values}


def _read_flags(flags: Namespace, root: type) -> dict[str, object]:
    raw = {key: value for key, value in vars(flags).items() if value is not None}
    if "via_url" in raw:
        if "via" in raw:
            raise ConfigurationError("URL, --via: only one of them")
        raw["via"] = [raw["via_url"]]
    if isinstance(files := raw.get("via-file"), list) and len(files) > 1:
        raise ConfigurationError(f"--via-file {len(files)} times: {ONE_FILE}")
    if sum(bool(raw.get(key)) for key in UPSTREAM_KEYS) > 1:
        raise ConfigurationError("--via, --via-file, --direct: only one of them")
    values: dict[str, object] = {}
    for declared in settings_of(root):
        if declared.key in raw:
            with error_prefix(declared.flag):
                values[declared.key] = _read_flag(declared, raw[declared.key])
    return values


def _read_flag(declared: DeclaredSetting, given: object) -> object:
    """Return the value of a flag from what argparse has made of it. Raises ConfigurationError."""
    facts = declared.facts
    match given:
        case list():
            return read_texts(declared, given)
        case bool() if facts.values is not None:
            return facts.values[given]
        case int() if facts.short:
            return min(given, int(facts.maximum))
        case _:
            return given


def _read_environment(environment: Mapping[str, str], values: ConfigValues, root: type) -> dict[str, object]:
    """Return the values of variables, but for what flags have specified."""
    specified = {*values, *(UPSTREAM_KEYS if any(values.get(key) for key in UPSTREAM_KEYS) else ())}
    read: dict[str, object] = {}
    for declared in settings_of(root):
        name = declared.facts.environment
        if text := environment.get(name, "") if declared.key not in specified else "":
            with error_prefix(name):
                read[declared.key] = read_texts(declared, text.splitlines())
    return read
