"""What a setting is: a field of a frozen dataclass that carries all that an operator needs to know about it.

    idle_timeout: float = setting(7440.0, "without a byte either way, then a connection is closed; 0 for never")

This line is the whole setting. Its key in a configuration file, its flag, `--help`, the errors about its value, the
reference, the JSON Schema, the example file and what a reload may change are derived from it, by `socks6.config`
and `socks6.cli`.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from socks6.dataclass import dataclass

ValueT = TypeVar("ValueT")
FactsP = typing.ParamSpec("FactsP")

SETTING: Final = "setting"  # in a field's metadata: its Setting
# in a field's metadata: the table of the settings within it, where that is not its name
TABLE: Final = "table"
MAX_NUMBER: Final = 10**9  # of anything; seconds: some thirty years


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known about a setting besides its default."""

    help: str
    _: dataclasses.KW_ONLY
    key: str = ""  # in a configuration file: with a dot the whole, else in its dataclass's table; else the field's name
    flag: str = ""  # made from the key where there is none
    short: str = ""  # a letter that is counted, as -v
    environment: str = ""  # a variable that holds a value, too
    unit: str = ""  # what stands for a value in texts; "FILE": a path from its configuration file's folder on
    positive: bool = False  # a number: above 0; otherwise from 0
    maximum: float = MAX_NUMBER
    values: Mapping[Any, object] | None = None  # what is written, and the values meant
    parse: Callable[[str], object] | None = None  # reads text; raises ConfigurationError
    entry: Callable[[str, str], object] | None = None  # makes a table of texts: reads each name and text
    items: type | None = None  # makes an array of tables: a dataclass of settings
    numbers: bool = False  # whole numbers may stand for text
    many: bool = False  # a list of texts
    collect: Callable[[tuple[Any, ...]], object] = tuple  # makes the value of those of a list's items
    required: bool = False  # in a table of `items`
    default_text: str = ""  # what the default is, where it cannot be written
    example: str = ""  # in TOML, where the default cannot be written
    reload: bool = False  # whether it changes at SIGHUP; otherwise at a restart
    secret: bool = False  # whether the value stays out of `repr`
    common: bool = False  # whether its flag is in `--help`; `--help-all` has all


def _field_maker(facts: Callable[FactsP, Setting]) -> Callable[typing.Concatenate[ValueT, FactsP], ValueT]:
    def setting(default: ValueT, /, *args: FactsP.args, **kwargs: FactsP.kwargs) -> ValueT:
        made = facts(*args, **kwargs)
        return dataclasses.field(default=default, repr=not made.secret, metadata={SETTING: made})

    return setting


setting = _field_maker(Setting)
"""Returns a dataclass field that is a setting, from its default and the fields of `Setting`.

A value is what the field's type says: true or false, a number, or text; floats are seconds.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSetting:
    """A setting in its place."""

    key: str  # in a configuration file, with its table
    path: tuple[str, ...]  # the fields that lead to it
    kind: type  # of what is written: bool, int, float or str
    default: object
    facts: Setting

    @property
    def table(self) -> str:
        """The table of its key; "" above all tables."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its key without the table."""
        return self.key.rpartition(".")[2]

    @property
    def unit(self) -> str:
        """What stands for its value in help texts; "" for true and false."""
        if self.facts.values is not None and self.kind is str:
            return "|".join(self.facts.values)
        return self.facts.unit or {float: "SECONDS", int: "NUMBER", str: "TEXT"}.get(self.kind, "")

    @property
    def flag(self) -> str:
        """Its flag; "" for none."""
        return "" if self.facts.items else self.facts.flag or f"--{self.key.replace('.', '-')}"

    @property
    def default_toml(self) -> str:
        """The default as a configuration file writes it; "" where that cannot be."""
        facts, default = self.facts, self.default
        if facts.values is not None:
            return next((_toml(name) for name, value in facts.values.items() if value == default), "")
        if facts.default_text or facts.required or default in (None, ()):
            return ""
        return _toml(default)

    @property
    def default_words(self) -> str:
        """The default for people to read; "" for none."""
        written = self.default_toml
        words = {"true": "yes", "false": "no"}.get(written, written.replace('"', "").strip("[]"))
        return self.facts.default_text or words


@functools.cache
def settings_of(root: type) -> tuple[DeclaredSetting, ...]:
    """Return the settings of a dataclass, and of those within it."""
    return tuple(_declared(root, (), ""))


def reloadable_keys(root: type) -> frozenset[str]:
    """Return the keys of the settings that a reload changes."""
    return frozenset(declared.key for declared in settings_of(root) if declared.facts.reload)


def build(root: type[ValueT], values: Mapping[str, object]) -> ValueT:
    """Return a dataclass with settings from values by their keys, and defaults for the rest."""
    settings = settings_of(root)  # type: ignore[arg-type]  # classes can be hashed
    given = {declared.path: values[declared.key] for declared in settings if declared.key in values}
    return _build(root, (), given)


def _declared(root: type, path: tuple[str, ...], table: str) -> Iterator[DeclaredSetting]:
    hints = typing.get_type_hints(root)
    for field in dataclasses.fields(root):
        facts: Setting | None = field.metadata.get(SETTING)
        name = field.name.replace("_", "-")
        here = (*path, field.name)
        if facts is not None:
            key = facts.key or name
            yield DeclaredSetting(
                key=key if "." in key or not table else f"{table}.{key}",
                path=here,
                kind=_kind(hints[field.name], facts),
                default=field.default,
                facts=facts,
            )
        elif dataclasses.is_dataclass(hints[field.name]):
            yield from _declared(hints[field.name], here, field.metadata.get(TABLE, name))


def _kind(hint: object, facts: Setting) -> type:
    """Return the type of what is written for a setting."""
    if facts.values is not None:
        return type(next(iter(facts.values)))
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return next((kind for kind in (bool, int, float) if hint is kind), str)


def _build(root: type[ValueT], path: tuple[str, ...], given: Mapping[tuple[str, ...], object]) -> ValueT:
    hints = typing.get_type_hints(root)
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(root):  # type: ignore[arg-type]  # it is a dataclass
        here = (*path, field.name)
        if here in given:
            arguments[field.name] = given[here]
        elif any(other[: len(here)] == here for other in given):
            arguments[field.name] = _build(hints[field.name], here, given)
    construct: Callable[..., ValueT] = root
    return construct(**arguments)


def _toml(value: object) -> str:
    """Return a default as TOML writes it: none has quotes or backslashes in it."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:.15g}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f'"{value}"'
