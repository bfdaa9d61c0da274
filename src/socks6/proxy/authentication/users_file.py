"""The users file: one `name:hash` a line, as `socks6 passwd` and htpasswd -B make them."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from socks6.errors import ConfigurationError
from socks6.proxy.authentication.hashes import PasswordHash, parse_hash

COMMENT: Final = "#"
MAX_NAME_LENGTH: Final = 255  # RFC 1929, section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersFile:
    """What a users file says, and what its owner should know about it."""

    entries: dict[str, PasswordHash]
    warnings: tuple[str, ...] = ()


def read_users_file(path: str | Path) -> UsersFile:
    """Read a users file. Raises ConfigurationError, which names file and line and quotes no secret."""
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: not UTF-8") from None
    entries = parse_users(text, str(path))
    return UsersFile(entries=entries, warnings=_warnings(str(path), mode, entries))


def parse_users(text: str, source: str) -> dict[str, PasswordHash]:
    """Read the text of a users file; `source` is what errors call it. Raises ConfigurationError."""
    entries: dict[str, PasswordHash] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry.startswith(COMMENT):
            continue
        where = f"{source}:{number}"
        name, colon, secret = entry.partition(":")
        if not colon:
            raise ConfigurationError(f"{where}: not of the form name:hash")
        _check_name(name, where)
        if name in entries:
            raise ConfigurationError(f"{where}: {name!r} is there already")
        try:
            entries[name] = parse_hash(secret)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from None
        except ValueError as error:
            raise ConfigurationError(
                f"{where}: what stands for the password of {name!r} is {error};"
                f" `socks6 passwd {name}` makes the line"
            ) from None
    return entries


def format_entry(name: str, hashed: str) -> str:
    """Return the line for a user. Raises ConfigurationError for a name that cannot be."""
    check_name(name)
    return f"{name}:{hashed}"


def check_name(name: str) -> None:
    """Raise ConfigurationError unless users can have this name."""
    if not name.isprintable():
        raise ConfigurationError(f"user name {name!r}: has a character that cannot be printed")
    if ":" in name or name != name.strip() or name.startswith(COMMENT):
        raise ConfigurationError(
            f"user name {name!r}: has a colon, a {COMMENT} at its start or spaces around"
        )
    if not 1 <= len(name.encode()) <= MAX_NAME_LENGTH:
        raise ConfigurationError(f"user name {name!r}: has not 1 to {MAX_NAME_LENGTH} bytes")


def _check_name(name: str, where: str) -> None:
    try:
        check_name(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _warnings(path: str, mode: int, entries: dict[str, PasswordHash]) -> tuple[str, ...]:
    found: list[str] = []
    if mode & stat.S_IROTH:
        found.append(f"{path}: every user of this machine can read the hashes; try chmod o-r")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(f"{path}: others than its owner can change it; try chmod go-w")
    if not entries:
        found.append(f"{path}: holds no users, so that nobody can come in")
    return tuple(found)
