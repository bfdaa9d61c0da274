"""The users file: one `name:hash` a line, as `socks6 passwd` and htpasswd -B make them."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.net.files import locked_directory, read_stable, write_atomically
from socks6.proxy.authentication.hashes import PasswordHash, parse_hash

COMMENT: Final = "#"
MAX_NAME_LENGTH: Final = 255  # RFC 1929, section 2


class HashedUsers(Mapping[str, PasswordHash]):
    """Names and hashes that were found to be right; each hash is read again when it is wanted.

    As text, 100 000 of them cost the garbage collector nothing: as objects, each of its full runs would stop the
    event loop for 0.2 s.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts: Final = texts

    @override
    def __getitem__(self, name: str) -> PasswordHash:
        return parse_hash(self._texts[name])

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    @override
    def __len__(self) -> int:
        return len(self._texts)

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} users>"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersFile:
    """The users of a file, and warnings for its owner."""

    entries: Mapping[str, PasswordHash]
    warnings: tuple[str, ...] = ()


def read_users_file(path: str | Path) -> UsersFile:
    """Read a users file, once no other process writes it. Raises ConfigurationError, which names file and line and quotes no secret."""
    try:
        data, mode = read_stable(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if data and not data.endswith(b"\n"):
        raise ConfigurationError(
            f"{path}: its last line has no end: it may have been cut off; add a line feed"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: not UTF-8") from None
    entries = parse_users(text, str(path))
    return UsersFile(entries=entries, warnings=_warnings(str(path), mode, entries))


def parse_users(text: str, source: str) -> HashedUsers:
    """Read the text of a users file; `source` is what errors call it. Raises ConfigurationError."""
    entries: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry.startswith(COMMENT):
            continue
        try:
            name, secret = _parse_entry(entry)
            if name in entries:
                raise ConfigurationError(f"{name!r} is there already")
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}:{number}: {error}") from None
        entries[name] = secret
    return HashedUsers(entries)


def _parse_entry(entry: str) -> tuple[str, str]:
    name, colon, secret = entry.partition(":")
    if not colon:
        raise ConfigurationError("not of the form name:hash")
    check_name(name)
    try:
        parse_hash(secret)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(
            f"what stands for the password of {name!r} is {error}; `socks6 passwd {name}` makes the line"
        ) from None
    return name, secret


def set_entry(path: str | Path, name: str, hashed: str) -> bool:
    """Write the line of a user into a users file, whole or not at all; return whether the user was there before.

    All other lines stay as they are, the user's becomes the last; a file that is not there is made, readable by its
    owner alone. Raises
    ConfigurationError for a file that is wrong, or cannot be written.
    """
    line = format_entry(name, hashed)
    try:
        with locked_directory(path):
            lines: list[str] = []
            known = False
            if Path(path).exists():
                known = name in read_users_file(path).entries
                lines = read_stable(path).data.decode("utf-8-sig").split("\n")[:-1]
            kept = [old for old in lines if not known or old.strip().partition(":")[0] != name]
            write_atomically(path, "".join(f"{entry}\n" for entry in (*kept, line)).encode())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return known


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


def _warnings(path: str, mode: int, entries: Mapping[str, PasswordHash]) -> tuple[str, ...]:
    found: list[str] = []
    if mode & stat.S_IROTH:
        found.append(f"{path}: every user of this machine can read the hashes; try chmod o-r")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(f"{path}: others than its owner can change it; try chmod go-w")
    if not entries:
        found.append(f"{path}: holds no users, so that no client can log in")
    return tuple(found)
