"""The tables of a configuration file: which keys there are, and what may be their values."""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from socks6.config.faults import Fault, Key
from socks6.protocol.tokens import MAX_GRANTED

LONGEST: Final = 10**9  # seconds, some thirty years
MOST_WAITING: Final = 65535  # clients whose SYN carried data, or peers at a port; more than any kernel queues

Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]
SecondsOrNever = Annotated[float, Meta(ge=0, le=LONGEST)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Texts = str | list[str]

TableT = TypeVar("TableT", bound=Struct)

_AT: Final = re.compile(r"(?P<what>.*) - at `\$\.(?P<name>[^.\[]+)(?:\[(?P<index>\d+)\])?.*`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_TYPES: Final = re.compile(r"`([a-z |]+)`")
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "date": "a date",
    "time": "a time",
    "datetime": "a time",
}


class Table(Struct, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A table whose keys are all optional."""


class Top(Table):
    """The keys above all tables."""

    listen: Texts | None = None
    via: str | None = None
    via_file: str | None = None
    direct: bool | None = None
    open: bool | None = None
    dialect_212: bool | None = None
    via_fast_open: bool | None = None
    via_session: bool | None = None
    copy_tos: bool | None = None
    fast_open: Annotated[int, Meta(ge=0, le=MOST_WAITING)] | None = None
    tfo_without_token: str | None = None
    quiet_failures: bool | None = None
    ignore_fragmented: bool | None = None
    optimistic: bool | None = None
    verbose: Annotated[int, Meta(ge=0, le=3)] | None = None
    log_destinations: bool | None = None
    loop: str | None = None
    stack: list[object] | None = None


class Users(Table):
    """[users]"""

    file: str | None = None
    plain: dict[str, object] | None = None


class Policy(Table):
    """[policy]"""

    allow_private: bool | None = None
    rules: list[object] | None = None


class Rule(Table):
    """[[policy.rules]]"""

    action: str | None = None
    users: Texts | None = None
    hosts: Texts | None = None
    ports: int | str | list[int | str] | None = None
    commands: Texts | None = None


class Stack(Table):
    """[[stack]]"""

    users: Texts | None = None
    forbid: Texts | None = None
    lowest_ttl: Annotated[int, Meta(ge=1, le=255)] | None = None
    dscp: int | str | list[int | str] | None = None


class HappyEyeballs(Table):
    """[happy-eyeballs]"""

    race: bool | None = None
    first_family: str | None = None
    delay: Seconds | None = None


class Quic(Table):
    """[quic]"""

    backend: str | None = None


class Tls(Table):
    """[tls]"""

    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    min_version: str | None = None


class Limits(Table):
    """[limits]"""

    connections: Count | None = None
    connections_per_source: Count | None = None
    connections_per_user: Count | None = None


class Sessions(Table):
    """[sessions]"""

    enabled: bool | None = None
    total: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    per_user: Count | None = None
    per_source: Count | None = None
    idle: Seconds | None = None
    window: Annotated[int, Meta(ge=0, le=MAX_GRANTED)] | None = None
    anonymous: bool | None = None
    close_connections: bool | None = None


class Bind(Table):
    """[bind]"""

    advertise: Texts | None = None
    ports: str | int | None = None
    accept_timeout: Seconds | None = None
    listeners: Count | None = None
    listeners_per_user: Count | None = None
    backlog: Annotated[int, Meta(ge=0, le=MOST_WAITING)] | None = None
    backlog_without_session: bool | None = None
    announce: bool | None = None


class Udp(Table):
    """[udp]"""

    enabled: bool | None = None
    associations: Count | None = None
    associations_per_user: Count | None = None
    first_timeout: Seconds | None = None
    idle_timeout: SecondsOrNever | None = None
    filtering: str | None = None
    remote_timeout: Seconds | None = None
    multicast_interface: str | None = None


class Timeouts(Table):
    """[timeouts], in seconds"""

    handshake: Seconds | None = None
    lookup: Seconds | None = None
    connect: Seconds | None = None
    idle: SecondsOrNever | None = None
    fin: SecondsOrNever | None = None
    drain: SecondsOrNever | None = None


def decode_table(
    raw: object, kind: type[TableT], key: Key, faults: list[Fault], *, others: Iterable[str] = ()
) -> TableT:
    """Return a table without what is wrong in it, each such thing being told to `faults`.

    `others` are keys that might have been meant, too, by one that is unknown.
    """
    if not isinstance(raw, dict):
        faults.append(Fault(key=key, what=_in_words(f"expected `object`, got `{_type_of(raw)}`")))
        return kind()
    left = {name: value for name, value in raw.items() if not _endless(value)}
    faults.extend(
        Fault(key=(*key, name), what="expected a finite number") for name in raw if name not in left
    )
    while True:
        try:
            return msgspec.convert(left, kind)
        except msgspec.ValidationError as error:
            fault = _read_error(str(error), (*kind.__struct_encode_fields__, *others))
            faults.append(Fault(key=key + fault.key, what=fault.what))
            del left[fault.key[0]]


def texts(value: "str | int | Sequence[str | int] | None") -> tuple[str, ...]:
    """Return a list's items; a value that stands alone is a list of one."""
    match value:
        case None:
            return ()
        case str() | int():
            return (str(value),)
        case _:
            return tuple(map(str, value))


def _read_error(text: str, known: tuple[str, ...]) -> Fault:
    """Return what msgspec complains about; the key is relative to the table."""
    if unknown := _UNKNOWN.fullmatch(text):
        return Fault(key=(unknown["name"],), what=_unknown(unknown["name"], known))
    at = _AT.fullmatch(text)
    assert at is not None, text  # noqa: S101 - every other complaint is about a key
    key: Key = (at["name"],) if at["index"] is None else (at["name"], int(at["index"]))
    return Fault(key=key, what=_in_words(at["what"]))


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown key, did you mean {close[0]}?" if close else f"unknown key; there are {', '.join(known)}"


def _in_words(text: str) -> str:
    """Return a complaint in words of TOML."""

    def words(match: re.Match[str]) -> str:
        kinds = [kind for kind in match[1].split(" | ") if kind != "null"]
        return " or ".join(_WORDS.get(kind, kind) for kind in kinds)

    return _TYPES.sub(words, text[:1].lower() + text[1:])


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _type_of(value: object) -> str:
    return "array" if isinstance(value, list) else type(value).__name__
