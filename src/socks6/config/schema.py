"""The JSON Schema of configuration files, made from the settings."""

import json
from collections.abc import Iterable
from typing import TypeAlias

from socks6.config.server import TABLES, ServerConfig, by_table
from socks6.setting import DeclaredSetting, settings_of

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json]"


def schema(root: type = ServerConfig) -> dict[str, Json]:
    """Return a JSON Schema (2020-12) of configuration files, as editors use it."""
    properties: dict[str, Json] = {}
    for table, settings in by_table(root).items():
        if table:
            properties[table] = {"description": TABLES.get(table, table), **_object(settings)}
        else:
            properties |= _properties(settings)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "socks6.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def schema_text(root: type = ServerConfig) -> str:
    """Return the JSON Schema as text."""
    return json.dumps(schema(root), indent=2) + "\n"


def _object(settings: Iterable[DeclaredSetting]) -> dict[str, Json]:
    settings = tuple(settings)
    result: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "properties": _properties(settings),
    }
    if required := [declared.name for declared in settings if declared.facts.required]:
        result["required"] = list(required)
    return result


def _properties(settings: Iterable[DeclaredSetting]) -> dict[str, Json]:
    return {declared.name: _property(declared) for declared in settings}


def _property(declared: DeclaredSetting) -> dict[str, Json]:
    facts = declared.facts
    result: dict[str, Json] = {"description": facts.help}
    if facts.items is not None:
        return {**result, "type": "array", "items": _object(settings_of(facts.items))}
    if facts.entry is not None:
        return {**result, "type": "object", "additionalProperties": {"type": "string"}}
    scalar = _scalar(declared)
    if facts.many:
        return {**result, "anyOf": [scalar, {"type": "array", "items": scalar}]}
    result |= scalar
    default = next((name for name, value in (facts.values or {}).items() if value == declared.default), None)
    if facts.values is None and isinstance(declared.default, str | int | float):
        default = declared.default
    if default is not None and not facts.required:
        result["default"] = default
    return result


def _scalar(declared: DeclaredSetting) -> dict[str, Json]:
    """Return the schema of what is written for a setting, or for an item of its list."""
    facts = declared.facts
    if declared.kind is bool:
        return {"type": "boolean"}
    if facts.values is not None:
        return {"enum": list(facts.values)}
    if declared.kind is str:
        return {"type": ["string", "integer"] if facts.numbers else "string"}
    lowest = "exclusiveMinimum" if facts.positive else "minimum"
    kind = "integer" if declared.kind is int else "number"
    return {"type": kind, lowest: 0, "maximum": facts.maximum}
