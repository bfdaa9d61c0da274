"""The log of every message, decoded: logger `socks6.wire` at DEBUG, "<" before what the peer sent, ">" before our own.

Secrets are masked: passwords and all other data of authentication methods, session ids, tokens, the ids of associations,
and what datagrams carry. Where the logger is off, conversations get no trace and nothing is done.
"""

import dataclasses
import functools
import logging
from typing import Final

from socks6.protocol.machine import Trace

LOGGER: Final = logging.getLogger("socks6.wire")
# beside the fields that are not in a message's own repr
MASKED: Final = frozenset(("association_id", "base", "body", "data", "token"))


def wire_trace(peer: object) -> Trace | None:
    """Return what logs the messages of a conversation with `peer`; None while the logger is off."""
    return functools.partial(_log, peer) if LOGGER.isEnabledFor(logging.DEBUG) else None


def _log(peer: object, direction: str, message: object) -> None:
    LOGGER.debug("%s %s %s", direction, peer or "unix", message_text(message))


def message_text(message: object) -> str:
    """Return a message as printable ASCII in one line, its secrets masked."""
    if dataclasses.is_dataclass(message) and not isinstance(message, type):
        fields = [
            f"{field.name}={_value_text(field, getattr(message, field.name))}"
            for field in dataclasses.fields(message)
        ]
        return f"{type(message).__name__}({', '.join(fields)})"
    if isinstance(message, tuple):
        return f"({', '.join(map(message_text, message))})"
    return str(int(message)) if isinstance(message, int) else ascii(message)


def _value_text(field: "dataclasses.Field[object]", value: object) -> str:
    if field.repr and field.name not in MASKED:
        return message_text(value)
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else "***"
