"""The option table: which options we know, and which messages may carry them."""

from collections.abc import Hashable
from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.dialect import Dialect
from socks6.message.options.auth import AUTHENTICATION_OPTIONS
from socks6.message.options.base import (
    HEADER,
    MAX_OPTIONS,
    MAX_PADDING,
    HandshakeMessage,
    Option,
    UnknownOption,
)
from socks6.message.options.idempotence import IDEMPOTENCE_OPTIONS
from socks6.message.options.session import SESSION_OPTIONS, StreamId
from socks6.message.options.stack import STACK_OPTIONS, stack_key

_STACK: Final = OptionKind.STACK.value


class OptionTable:
    """An immutable set of options, each with the messages that may carry it; any other is not acted upon."""

    __slots__ = ("_by_message", "options")

    def __init__(self, *options: type[Option]) -> None:
        keys = [option.table_key() for option in options]
        if len(set(keys)) != len(keys):
            raise ValueError(f"two options of one number: {sorted(keys)}")
        self.options: Final = options
        self._by_message: Final = {
            message: {
                key: option for key, option in zip(keys, options, strict=True) if message in option.messages
            }
            for message in HandshakeMessage
        }

    def extended(self, *options: type[Option]) -> "OptionTable":
        """Return a new table that has these options too; ValueError if it has one of the same number already."""
        return OptionTable(*self.options, *options)

    def decode(self, reader: Reader, message: HandshakeMessage, dialect: Dialect) -> tuple[Option, ...]:
        """Return all options in `reader`; DecodeError if one's length cannot be, or they are too many.

        What is unknown, misplaced, a duplicate of an earlier one, or malformed becomes an UnknownOption.
        """
        known = self._by_message[message]
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
    """Return the key that an option has in the table."""
    return stack_key(int.from_bytes(body[:2])) if kind == _STACK else kind


def _decode_known(option: type[Option] | None, body: bytes, claimed: set[Hashable]) -> Option | None:
    """Return an option of its class, and note what it claims.

    None if there is no such class, the body is impossible, or an earlier option has claimed the same.
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


# § Authentication Data options: one per method; § Stack options: one per leg; all others once (`Option.claims`).
STANDARD: Final = OptionTable(
    *STACK_OPTIONS, *AUTHENTICATION_OPTIONS, *SESSION_OPTIONS, *IDEMPOTENCE_OPTIONS, StreamId
)
