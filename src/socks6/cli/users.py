"""socks6 users: the users of a database, and their limits."""

import itertools
import json
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from socks6.cli.parser import LIMIT_FLAGS
from socks6.cli.passwd import read_password
from socks6.compat import override
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.users_database import UserRecord, UsersDatabase
from socks6.proxy.authentication.users_file import COMMENT
from socks6.proxy.live import byte_words

if TYPE_CHECKING:
    from socks6.admin.client import AdminClient

PASSWORD_BYTES: Final = 15  # of chance in a password that is made here


class Users(Protocol):
    """Where users are: as `UsersDatabase`, which says more."""

    def add(self, name: str, values: Mapping[str, object]) -> UserRecord:
        """Add a user and return it."""

    def set(self, name: str, values: Mapping[str, object]) -> UserRecord:
        """Change a user and return it."""

    def get(self, name: str) -> UserRecord:
        """Return a user."""

    def remove(self, name: str) -> None:
        """Remove a user."""

    def list(self) -> Iterator[UserRecord]:
        """Return an iterator over all users."""


def run(arguments: Namespace) -> int:
    """Carry out one action."""
    users = _users(arguments)
    try:
        ACTIONS[arguments.action](users, arguments)
    finally:
        if isinstance(users, UsersDatabase):
            users.close()
    return 0


class RemoteUsers(Users):
    """The users of a running proxy's database, by its admin interface. Every call raises AdminFailed."""

    def __init__(self, proxy: "AdminClient") -> None:
        self._proxy = proxy

    @override
    def add(self, name: str, values: Mapping[str, object]) -> UserRecord:
        return UserRecord.of_described(self._proxy.post("/users", {"name": name, **values}))

    @override
    def set(self, name: str, values: Mapping[str, object]) -> UserRecord:
        return UserRecord.of_described(self._proxy.patch(f"/users/{name}", values))

    @override
    def get(self, name: str) -> UserRecord:
        return UserRecord.of_described(self._proxy.get(f"/users/{name}"))

    @override
    def remove(self, name: str) -> None:
        self._proxy.delete(f"/users/{name}")

    @override
    def list(self) -> Iterator[UserRecord]:
        after = ""
        while page := self._proxy.get("/users", after=after)["users"]:
            yield from map(UserRecord.of_described, page)
            after = page[-1]["name"]


def _users(arguments: Namespace) -> Users:
    if arguments.users_db is None:
        from socks6.admin.client import find_proxy  # noqa: PLC0415 - which a file does not need

        return RemoteUsers(find_proxy(arguments.admin, os.environ))
    return UsersDatabase(arguments.users_db, create=arguments.action in {"add", "import"})


def _add(users: Users, arguments: Namespace) -> None:
    generated = _generated(arguments)
    values = _values(arguments)
    password = generated or read_password("password: ", again="the same again: ")
    _tell(users.add(arguments.name, {**values, "password": password}), generated, arguments)


def _set(users: Users, arguments: Namespace) -> None:
    generated = _generated(arguments)
    values = _values(arguments)
    if generated or arguments.password:
        values["password"] = generated or read_password("password: ", again="the same again: ")
    if arguments.enable:
        values["enabled"] = True
    if not values:
        raise ConfigurationError("nothing to change: see socks6 users set --help")
    _tell(users.set(arguments.name, values), generated, arguments)


def _show(users: Users, arguments: Namespace) -> None:
    record = users.get(arguments.name)
    if arguments.json:
        print(_json(record))
        return
    for name, value in record.described().items():
        if isinstance(value, bool):
            print(f"{name:<14} {'yes' if value else 'no'}")
        elif value or (value == 0 and name == "remaining"):
            print(f"{name:<14} {', '.join(value) if isinstance(value, list) else value}")


def _list(users: Users, arguments: Namespace) -> None:
    if arguments.json:
        for record in users.list():
            print(_json(record))
        return
    records, now = users.list(), datetime.now(UTC)
    first = next(records, None)  # before the head: what is wrong shows here
    print(
        f"{'NAME':<24} {'STATE':<9} {'EXPIRES':<20} {'USED':>8} {'LEFT':>8} {'QUOTA':<14} {'UP/S':>8} {'DOWN/S':>8}  NOTE"
    )
    for record in () if first is None else itertools.chain((first,), records):
        print(_line(record, now))


def _line(record: UserRecord, now: datetime) -> str:
    limits, left = record.limits, record.remaining
    state = "disabled" if not record.enabled else "expired" if limits.has_expired(now) else "enabled"
    quota = f"{byte_words(limits.quota)}/{limits.quota_period.value}" if limits.quota else "-"
    columns = (
        f"{record.name:<24}",
        f"{state:<9}",
        f"{limits.expires:%Y-%m-%dT%H:%M:%SZ}" if limits.expires else f"{'-':<20}",
        f"{byte_words(record.used_up + record.used_down):>8}",
        f"{'-' if left is None else byte_words(left):>8}",
        f"{quota:<14}",
        f"{byte_words(limits.up) if limits.up else '-':>8}",
        f"{byte_words(limits.down) if limits.down else '-':>8}",
        f" {record.note}",
    )
    return " ".join(columns).rstrip()


def _remove(users: Users, arguments: Namespace) -> None:
    users.remove(arguments.name)
    print(f"removed {arguments.name}")


def _import(users: Users, arguments: Namespace) -> None:
    if not isinstance(users, UsersDatabase):
        raise ConfigurationError("users are imported into a file: name it by --users-db")
    if arguments.file == "-":
        count = users.load_all(_entries(sys.stdin.buffer, "standard input"), replace=arguments.replace)
    else:
        with Path(arguments.file).open("rb") as file:
            count = users.load_all(_entries(file, arguments.file), replace=arguments.replace)
    print(f"{users.path}: {count} users imported")


def _export(users: Users, _: Namespace) -> None:
    if not isinstance(users, UsersDatabase):
        raise ConfigurationError("hashes are exported from a file: name it by --users-db")
    for record in users.list():
        print(json.dumps(record.values(with_hash=True), ensure_ascii=False))


ACTIONS: Final[Mapping[str, Callable[[Users, Namespace], None]]] = {
    "add": _add,
    "set": _set,
    "show": _show,
    "list": _list,
    "remove": _remove,
    "import": _import,
    "export": _export,
}


def _values(arguments: Namespace) -> dict[str, object]:
    """Return what the flags say that is to be set."""
    names = (name.replace("-", "_") for name in (*LIMIT_FLAGS, "note"))
    values: dict[str, object] = {
        name: value for name in names if (value := getattr(arguments, name)) is not None
    }
    if values.get("expires") == "never":
        values["expires"] = None
    if arguments.disable:
        values["enabled"] = False
    return values


def _generated(arguments: Namespace) -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES) if arguments.generate else ""


def _tell(record: UserRecord, generated: str, arguments: Namespace) -> None:
    """Print what became of a user, and the password if it was made here."""
    if arguments.json:
        print(_json(record, **({"password": generated} if generated else {})))
        return
    print(f"{'added' if arguments.action == 'add' else 'changed'} {record.name}")
    if generated:
        print(f"password: {generated}")


def _json(record: UserRecord, **more: str) -> str:
    return json.dumps({**record.described(), **more}, ensure_ascii=False)


def _entries(lines: Iterable[bytes] | IO[bytes], source: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Return names and values of the lines of a file. Raises ConfigurationError, which names the line and quotes no secret."""
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig").strip()
            if not text or text.startswith(COMMENT):
                continue
            entry = _json_entry(text) if text.startswith("{") else _users_file_entry(text)
        except ValueError as error:
            what = (
                error
                if isinstance(error, ConfigurationError)
                else "is neither JSON nor of the form name:hash"
            )
            raise ConfigurationError(f"{source}:{number}: {what}") from None
        yield entry


def _users_file_entry(text: str) -> tuple[str, Mapping[str, object]]:
    name, colon, hashed = text.partition(":")
    if not colon:
        raise ConfigurationError("is neither JSON nor of the form name:hash")
    return name, {"hash": hashed}


def _json_entry(text: str) -> tuple[str, Mapping[str, object]]:
    values = json.loads(text)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ConfigurationError("has no name")
    return name, {key: value for key, value in values.items() if key not in COUNTED}


COUNTED: Final = frozenset({"used_up", "used_down", "remaining"})  # what `list` writes, and nobody sets
