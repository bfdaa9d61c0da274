"""What is wrong with a configuration, and where."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError

Key: TypeAlias = tuple[str | int, ...]
"""The way to a value from the top of a file: names of tables and keys, indices of lists."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong."""

    key: Key
    what: str


class InvalidConfiguration(ConfigurationError):
    """A configuration file with faults; each of `lines` names one, as FILE:LINE: KEY: WHAT."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Final = lines


@contextmanager
def collect_error(key: Key, faults: list[Fault]) -> Iterator[None]:
    """Collect a ConfigurationError in `faults` as one of `key`, and continue."""
    try:
        yield
    except ConfigurationError as error:
        faults.append(Fault(key=key, what=str(error)))


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Prefix the message of a ConfigurationError with where it stands."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def key_text(key: Key) -> str:
    """Return a key as people write it: policy.rules[0].hosts."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text
