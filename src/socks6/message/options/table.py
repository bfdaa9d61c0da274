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
    HandshakeMessage,
    Option,
    UnknownOption,
    check_range,
)
from socks6.message.options.experimental import StreamId
from socks6.message.options.idempotence import (
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
)
from socks6.message.options.session import (
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
)
from socks6.message.options.stack import (
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    PortParity,
    StackOption,
    Tfo,
    Tos,
    Ttl,
    UdpError,
)

_STACK: Final = OptionKind.STACK.value


class OptionRule:
    """One row of the table: an option, and the messages that may carry it."""

    __slots__ = ("option", "places")

    def __init__(self, option: type[Option], *places: HandshakeMessage) -> None:
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

    def __init__(self, *rules: OptionRule) -> None:
        keys = [rule.key for rule in rules]
        if len(set(keys)) != len(keys):
            raise ValueError(f"two rules for one option: {sorted(keys)}")
        self.rules: Final = rules
        self._by_place: Final = {
            place: {rule.key: rule.option for rule in rules if place in rule.places}
            for place in HandshakeMessage
        }

    def extended(self, *rules: OptionRule) -> "OptionTable":
        """Return a new table that has these rules too; ValueError if it knows one of the options already."""
        return OptionTable(*self.rules, *rules)

    def decode(self, reader: Reader, place: HandshakeMessage, dialect: Dialect) -> tuple[Option, ...]:
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
    OptionRule(Tos,                               HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(HappyEyeballs,                     HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(Ttl,                               HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(NoFragmentation,                   HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(Tfo,                               HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(Multipath,                         HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(ListenBacklog,                     HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(UdpError,                          HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(PortParity,                        HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
    OptionRule(AuthenticationMethodAdvertisement, HandshakeMessage.REQUEST),
    OptionRule(AuthenticationMethodSelection,     HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(AuthenticationData,                HandshakeMessage.REQUEST, HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(SessionRequest,                    HandshakeMessage.REQUEST),
    OptionRule(SessionId,                         HandshakeMessage.REQUEST, HandshakeMessage.AUTHENTICATION_REPLY, HandshakeMessage.OPERATION_REPLY),
    OptionRule(SessionOk,                         HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(SessionInvalid,                    HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(SessionTeardown,                   HandshakeMessage.REQUEST),
    OptionRule(IdempotenceRequest,                HandshakeMessage.REQUEST),
    OptionRule(IdempotenceWindow,                 HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(IdempotenceExpenditure,            HandshakeMessage.REQUEST),
    OptionRule(IdempotenceAccepted,               HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(IdempotenceRejected,               HandshakeMessage.AUTHENTICATION_REPLY),
    OptionRule(StreamId,                          HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY),
)
# fmt: on
