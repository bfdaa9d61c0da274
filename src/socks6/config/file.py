"""Reads a configuration file into choices, naming file, line and key of everything that is wrong."""

import re
import stat
import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from socks6.config.choices import Choices
from socks6.config.faults import Fault, InvalidConfiguration, Key, key_text
from socks6.config.locate import line_of, locate_keys
from socks6.errors import ConfigurationError
from socks6.net.files import read_stable

_TOML_ERROR: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """What a file says; `warnings` are what its owner should know."""

    path: str
    choices: Choices
    lines: dict[Key, int]
    warnings: tuple[str, ...]

    def invalid(self, *faults: Fault) -> InvalidConfiguration:
        """Return the exception that tells of faults in it."""
        return _invalid(self.path, self.lines, faults)


def read_configuration(path: str | Path) -> ConfigurationFile:
    """Read a file. Raises InvalidConfiguration, and ConfigurationError where msgspec is not installed."""
    file, faults = examine_configuration(path)
    if faults:
        raise file.invalid(*faults)
    return file


def examine_configuration(path: str | Path) -> tuple[ConfigurationFile, list[Fault]]:
    """Read a file; return what it says rightly, and all that it says wrongly.

    Raises InvalidConfiguration for what cannot be read at all, and ConfigurationError where msgspec is not installed.
    """
    try:
        from socks6.config.reading import read_document  # noqa: PLC0415 - an extra
    except ImportError as error:
        if error.name != "msgspec":
            raise
        raise ConfigurationError("configuration files need an extra: pip install socks6[server]") from None
    name = str(path)
    text, mode = _read(name)
    document = _parse(text, name)
    lines = locate_keys(text)
    faults: list[Fault] = []
    choices = read_document(document, Path(path).parent, faults)
    warnings = _warnings(name, mode, document, choices)
    return ConfigurationFile(path=name, choices=choices, lines=lines, warnings=warnings), faults


def _read(path: str) -> tuple[str, int]:
    try:
        data, mode = read_stable(path)
    except OSError as error:
        raise InvalidConfiguration(f"{path}: {error.strerror}") from error
    try:
        return data.removeprefix(BOM_UTF8).decode().replace("\r\n", "\n"), mode
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfiguration(f"{path}:{line}: not UTF-8") from None


def _parse(text: str, path: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _TOML_ERROR.fullmatch(str(error))
        line = int(at["line"]) if at else text.count("\n") + 1
        what = at["what"] if at else str(error)
        raise InvalidConfiguration(f"{path}:{line}: not TOML: {what[:1].lower()}{what[1:]}") from None


def _invalid(path: str, lines: dict[Key, int], faults: Iterable[Fault]) -> InvalidConfiguration:
    located = sorted(((line_of(lines, fault.key) or 1, fault) for fault in faults), key=itemgetter(0))
    return InvalidConfiguration(
        *(f"{path}:{line}: {key_text(fault.key)}: {fault.what}" for line, fault in located)
    )


def _warnings(path: str, mode: int, document: dict[str, object], choices: Choices) -> tuple[str, ...]:
    users = choices.users_file.warnings if choices.users_file else ()
    secret = bool(choices.users) or ("via" in document and choices.via and choices.via.password is not None)
    if secret and mode & stat.S_IROTH:
        return (f"{path}: every user of this machine can read the passwords; try chmod o-r", *users)
    return users
