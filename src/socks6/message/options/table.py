"""The option table: which options we know, and which messages may carry them."""

from collections.abc import Hashable
from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.dialect import Dialect
from socks6.message.options.auth import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
)
from socks6.message.options.base import (
    HEADER,
    MAX_OPTIONS,
    MAX_PADDING,
    Option,
    Place,
    UnknownOption,
    check_range,
)
from socks6.message.options.experimental import StreamID
from socks6.message.options.idempotence import (
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
)
from socks6.message.options.session import (
    SessionID,
    SessionInvalid,
    SessionOK,
    SessionRequest,
    SessionTeardown,
)
from socks6.message.options.stack import (
    TFO,
    TOS,
    TTL,
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    PortParity,
    StackOption,
    UDPError,
)

_STACK: Final = OptionKind.STACK.value


class Rule:
    """One row of the table: an option, and the messages that may carry it."""

    __slots__ = ("option", "places")

    def __init__(self, option: type[Option], *places: Place) -> None:
        check_range("option kind", option.kind, 0xFFFF)
        self.option: Final = option
        self.places: Final = frozenset(places)

    @property
    def key(self) -> int:
        """What tells the option from others: its kind; a stack option's level and code too."""
        if issubclass(self.option, StackOption):
            return _stack_key(self.option.level << 8 | self.option.code)
        return self.option.kind


class OptionTable:
    """An immutable set of rules; what they do not allow is not acted upon."""

    __slots__ = ("_by_place", "rules")

    def __init__(self, *rules: Rule) -> None:
        keys = [rule.key for rule in rules]
        if len(set(keys)) != len(keys):
            raise ValueError(f"two rules for one option: {sorted(keys)}")
        self.rules: Final = rules
        self._by_place: Final = {
            place: {rule.key: rule.option for rule in rules if place in rule.places} for place in Place
        }

    def extended(self, *rules: Rule) -> "OptionTable":
        """Return a new table that has these rules too; ValueError if it knows one of the options already."""
        return OptionTable(*self.rules, *rules)

    def decode(self, reader: Reader, place: Place, dialect: Dialect) -> tuple[Option, ...]:
        """Return all options in `reader`; DecodeError if one's length cannot be, or they are too many.

        What is unknown, misplaced, a duplicate of an earlier one, or malformed becomes an UnknownOption.
        """
        known = self._by_place[place]
        claimed: set[Hashable] = set()
        options: list[Option] = []
        while reader.remaining:
            kind, length = reader.unpack(HEADER)
            if length < HEADER.size or (length % 4 and dialect.aligned_options):
                raise DecodeError(f"option {kind}: bad length {length}")
            body = reader.take(length - HEADER.size)
            if len(options) == MAX_OPTIONS:
                raise DecodeError(f"more than {MAX_OPTIONS} options")
            option = _decode_known(known.get(_key(kind, body)), body, claimed)
            options.append(UnknownOption(kind=kind, body=body) if option is None else option)
        return tuple(options)


def _key(kind: int, body: bytes) -> int:
    """Return the key of an option's rule."""
    return _stack_key(int.from_bytes(body[:2])) if kind == _STACK else kind


def _stack_key(start: int) -> int:
    """Return the key for the first two bytes of a stack option's body: leg, which counts not, level, code."""
    return 0x10000 | start & 0x3FFF  # above all kinds


def _decode_known(option: type[Option] | None, body: bytes, claimed: set[Hashable]) -> Option | None:
    """Return an option of the class that its rule names, and note what it claims.

    None if there is no rule, the body is impossible, or an earlier option has claimed the same.
    """
    if option is None:
        return None
    reader = Reader(body)
    try:
        decoded = option.decode_body(reader)
    except ValueError:  # DecodeError is one
        return None
    claims = decoded.claims()
    if reader.remaining > MAX_PADDING or not claimed.isdisjoint(claims):
        return None
    claimed.update(claims)
    return decoded


# fmt: off
# One row per option: the messages that may carry it. Each may be there once; Authentication Data once per
# method, stack options once per leg (see their `claims`).
STANDARD: Final = OptionTable(
    Rule(TOS,                               Place.REQUEST, Place.OPERATION_REPLY),
    Rule(HappyEyeballs,                     Place.REQUEST, Place.OPERATION_REPLY),
    Rule(TTL,                               Place.REQUEST, Place.OPERATION_REPLY),
    Rule(NoFragmentation,                   Place.REQUEST, Place.OPERATION_REPLY),
    Rule(TFO,                               Place.REQUEST, Place.OPERATION_REPLY),
    Rule(Multipath,                         Place.REQUEST, Place.OPERATION_REPLY),
    Rule(ListenBacklog,                     Place.REQUEST, Place.OPERATION_REPLY),
    Rule(UDPError,                          Place.REQUEST, Place.OPERATION_REPLY),
    Rule(PortParity,                        Place.REQUEST, Place.OPERATION_REPLY),
    Rule(AuthenticationMethodAdvertisement, Place.REQUEST),
    Rule(AuthenticationMethodSelection,     Place.AUTHENTICATION_REPLY),
    Rule(AuthenticationData,                Place.REQUEST, Place.AUTHENTICATION_REPLY),
    Rule(SessionRequest,                    Place.REQUEST),
    Rule(SessionID,                         Place.REQUEST, Place.AUTHENTICATION_REPLY, Place.OPERATION_REPLY),
    Rule(SessionOK,                         Place.AUTHENTICATION_REPLY),
    Rule(SessionInvalid,                    Place.AUTHENTICATION_REPLY),
    Rule(SessionTeardown,                   Place.REQUEST),
    Rule(IdempotenceRequest,                Place.REQUEST),
    Rule(IdempotenceWindow,                 Place.AUTHENTICATION_REPLY),
    Rule(IdempotenceExpenditure,            Place.REQUEST),
    Rule(IdempotenceAccepted,               Place.AUTHENTICATION_REPLY),
    Rule(IdempotenceRejected,               Place.AUTHENTICATION_REPLY),
    Rule(StreamID,                          Place.REQUEST, Place.OPERATION_REPLY),
)
# fmt: on
