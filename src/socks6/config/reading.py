"""Reads the values of settings, from configuration files and from texts such as flags, by what each setting says of itself.

Values are kept by the keys of their settings; `socks6.setting.build` makes dataclasses of them.
"""

import math
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import field
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from socks6.config.faults import Fault, InvalidConfiguration, Key, collect_error, key_text
from socks6.config.server import ServerConfig
from socks6.config.toml_lines import line_of, locate_keys
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.net.files import read_stable
from socks6.proxy.authentication.users_file import UsersFile
from socks6.setting import DeclaredSetting, build, settings_of
from socks6.suggestion import suggestion, suggestion_or_all

ShapeT = TypeVar("ShapeT")
ConfigValues: TypeAlias = Mapping[str, object]
"""Values of settings by their keys; settings that are not specified are not in it."""

_TOML_ERROR: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)
_TYPE_NAMES: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "list": "a list",
    "dict": "a table",
    "date": "a date",
    "datetime": "a time",
    "time": "a time",
}
_HERE: Final = Path()
TOML_WORDS: Final = {
    "Illegal character '\\n'": "a quote is not closed",
    "Unterminated string": "a quote is not closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """What a file specifies; `warnings` are for its owner."""

    path: str
    values: ConfigValues
    text: str = field(repr=False)
    warnings: tuple[str, ...]

    def invalid(self, *faults: Fault) -> InvalidConfiguration:
        """Return the exception for faults in it."""
        lines = locate_keys(self.text)
        located = sorted(((line_of(lines, fault.key) or 1, fault) for fault in faults), key=itemgetter(0))
        return InvalidConfiguration(
            *(f"{self.path}:{line}: {key_text(fault.key)}: {fault.what}" for line, fault in located)
        )


def read_configuration(path: str | Path, root: type = ServerConfig) -> ConfigurationFile:
    """Read a file. Raises InvalidConfiguration."""
    file, faults = examine_configuration(path, root)
    if faults:
        raise file.invalid(*faults)
    return file


def examine_configuration(
    path: str | Path, root: type = ServerConfig
) -> tuple[ConfigurationFile, list[Fault]]:
    """Read a file; return the values that are right, and all faults. Raises InvalidConfiguration if it is no TOML."""
    text, mode = _read_text(str(path))
    document = _parse_toml(text, str(path))
    faults: list[Fault] = []
    values = read_document(document, Path(path).parent, faults, root)
    return ConfigurationFile(
        path=str(path), values=values, text=text, warnings=_warnings(str(path), mode, values)
    ), faults


def read_document(
    document: Mapping[str, object], folder: Path, faults: list[Fault], root: type = ServerConfig
) -> dict[str, object]:
    """Return the values in a TOML document; what is wrong is left out and added to `faults`.

    Paths in the document begin at `folder`.
    """
    values = _Reader(folder, faults).read_tables(document, settings_of(root))
    if "via" in values and "via-file" in values:
        faults.append(Fault(key=("via-file",), what="there is via already"))
    return values


def read_texts(declared: DeclaredSetting, texts: Sequence[str]) -> object:
    """Return the value of a setting whose texts come from flags or the environment. Raises ConfigurationError."""
    if declared.facts.entry is not None:
        pairs = [text.partition(":") for text in texts]
        if not all(colon for _, colon, _ in pairs):
            raise ConfigurationError(f"not of the form {declared.unit}")
        return {name: declared.facts.entry(name, value) for name, _, value in pairs}
    if declared.facts.many:
        return declared.facts.collect(tuple(_read_scalar(declared, text, _HERE) for text in texts))
    text = texts[-1]
    if declared.kind in (int, float):
        return _read_scalar(declared, _number(text, declared), _HERE)
    return _read_scalar(declared, text, _HERE)


class _Reader:
    """Reads tables, and collects what is wrong with them."""

    def __init__(self, folder: Path, faults: list[Fault]) -> None:
        self._folder = folder
        self._faults = faults

    def read_tables(
        self, document: Mapping[str, object], settings: Sequence[DeclaredSetting]
    ) -> dict[str, object]:
        """Read a document: what stands above all tables, and the tables."""
        tables = {declared.table for declared in settings if declared.table}
        top = {name: raw for name, raw in document.items() if name not in tables}
        values = self._read_table(top, (), settings, others=sorted(tables))
        for table in sorted(tables & document.keys()):
            with collect_error((table,), self._faults):
                values |= self._read_table(document[table], (table,), settings, table)
        return values

    def _read_table(
        self,
        raw: object,
        key: Key,
        settings: Sequence[DeclaredSetting],
        table: str = "",
        *,
        others: Sequence[str] = (),
    ) -> dict[str, object]:
        """Read one table; `others` are names that an unknown key may be a slip for, too. Raises ConfigurationError."""
        known = {declared.name: declared for declared in settings if declared.table == table}
        values: dict[str, object] = {}
        for name, value in _expect(dict, "a table", raw).items():
            before = len(self._faults)
            with collect_error((*key, name), self._faults):
                if name not in known:
                    raise ConfigurationError(f"unknown key{suggestion_or_all(name, [*known, *others])}")
                read = self._read_value(known[name], value, (*key, name))
                if len(self._faults) == before or known[name].facts.many or known[name].facts.items:
                    values[known[name].key] = read  # a list without those of its items that are wrong
        return values

    def _read_value(self, declared: DeclaredSetting, raw: object, key: Key) -> object:
        """Return the value of a setting; what is wrong within it is left out. Raises ConfigurationError."""
        facts = declared.facts
        if facts.items is not None:
            return self._read_items(facts.items, _expect(list, "a list of tables", raw), key)
        if facts.entry is not None:
            entries = {}
            for name, text in _expect(dict, "a table", raw).items():
                with collect_error((*key, name), self._faults):
                    entries[name] = facts.entry(name, _expect(str, "text in quotes", text))
            return entries
        if not facts.many:
            return _read_scalar(declared, raw, self._folder)
        if isinstance(raw, str) or (facts.numbers and type(raw) is int):
            raw = [raw]
        values = []
        for index, item in enumerate(_expect(list, "text in quotes or a list", raw)):
            with collect_error((*key, index), self._faults):
                values.append(_read_scalar(declared, item, self._folder))
        return facts.collect(tuple(values))

    def _read_items(self, kind: type, raw: Sequence[object], key: Key) -> tuple[object, ...]:
        settings = settings_of(kind)
        built: list[object] = []
        for index, item in enumerate(raw):
            before = len(self._faults)
            with collect_error((*key, index), self._faults):
                table = _expect(dict, "a table", item)
                values = self._read_table(table, (*key, index), settings)
                for declared in settings:
                    if declared.facts.required and declared.name not in table:
                        choice = " or ".join(declared.facts.values or ())
                        raise ConfigurationError(f"has no {declared.name}: write {choice}")
                if len(self._faults) == before:
                    built.append(build(kind, values))
        return tuple(built)


def _expect(shape: type[ShapeT], name: str, raw: object) -> ShapeT:
    if not isinstance(raw, shape):
        raise ConfigurationError(f"expected {name}, got {_type_name(raw)}")
    return raw


def _read_scalar(declared: DeclaredSetting, raw: object, folder: Path) -> object:
    """Return the value of what is written for a setting, or for an item of its list. Raises ConfigurationError."""
    facts = declared.facts
    if facts.numbers and type(raw) is int:
        raw = str(raw)
    if not _is_a(declared.kind, raw):
        raise ConfigurationError(f"expected {_TYPE_NAMES[declared.kind.__name__]}, got {_type_name(raw)}")
    if facts.values is not None:
        if raw not in facts.values:
            meant = suggestion(str(raw), map(str, facts.values))
            raise ConfigurationError(f"expected one of {_one_of(declared)}{meant}")
        return facts.values[raw]
    if isinstance(raw, str):
        text = str(folder / raw) if facts.unit == "FILE" else raw
        return text if facts.parse is None else facts.parse(text)
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        _check_bounds(declared, raw)
    return raw


def _check_bounds(declared: DeclaredSetting, number: float) -> None:
    facts = declared.facts
    name = _TYPE_NAMES[declared.kind.__name__]
    if not math.isfinite(number):
        raise ConfigurationError("expected a finite number")
    if facts.positive and number <= 0:
        raise ConfigurationError(f"expected {name} {'>= 1' if declared.kind is int else '> 0'}")
    if number < 0:
        raise ConfigurationError(f"expected {name} >= 0")
    if number > facts.maximum:
        raise ConfigurationError(f"expected {name} <= {facts.maximum}")


def _number(text: str, declared: DeclaredSetting) -> float:
    try:
        return int(text) if declared.kind is int else float(text)
    except ValueError:
        raise ConfigurationError(f"expected {_TYPE_NAMES[declared.kind.__name__]}, got {text!r}") from None


def _is_a(kind: type, raw: object) -> bool:
    """Return whether a value of TOML is of a kind; a whole number is a number, true and false are none."""
    if kind is float:
        return isinstance(raw, int | float) and not isinstance(raw, bool)
    return type(raw) is kind


def _one_of(declared: DeclaredSetting) -> str:
    return ", ".join(map(str, declared.facts.values or ()))


def _type_name(raw: object) -> str:
    return _TYPE_NAMES[type(raw).__name__]


def _read_text(path: str) -> tuple[str, int]:
    """Return a file's text and its mode."""
    try:
        data, mode = read_stable(path)
    except OSError as error:
        raise InvalidConfiguration(f"{path}: {error.strerror}") from error
    try:
        return data.removeprefix(BOM_UTF8).decode().replace("\r\n", "\n"), mode
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfiguration(f"{path}:{line}: not UTF-8") from None


def _parse_toml(text: str, path: str) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 - takes 5 ms, and many servers have no file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _TOML_ERROR.fullmatch(str(error))
        line = int(at["line"]) if at else text.count("\n") + 1
        what = at["what"] if at else str(error)
        what = TOML_WORDS.get(what, what)
        raise InvalidConfiguration(f"{path}:{line}: not TOML: {what[:1].lower()}{what[1:]}") from None
    except RecursionError:
        raise InvalidConfiguration(
            f"{path}: lists or tables within each other, deeper than can be read"
        ) from None


def users_warnings(values: ConfigValues) -> tuple[str, ...]:
    """Return what the owner should know of the values that say who may come in."""
    users_file, url = values.get("users.file"), values.get("users.url")
    warnings = users_file.warnings if isinstance(users_file, UsersFile) else ()
    if isinstance(url, str):
        from socks6.proxy.authentication.http_service import AuthUrl  # noqa: PLC0415 - which few need

        warnings += AuthUrl.parse(url).warnings
    return warnings


def _warnings(path: str, mode: int, values: ConfigValues) -> tuple[str, ...]:
    via, warnings = values.get("via", ()), users_warnings(values)
    secret = (
        bool(values.get("users.plain"))
        or "@" in str(values.get("users.url"))
        or (isinstance(via, tuple) and any(url.password is not None for url in via))
    )
    if secret and mode & stat.S_IROTH:
        return (f"{path}: every user of this machine can read the passwords; try chmod o-r", *warnings)
    return warnings
