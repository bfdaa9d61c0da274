"""What happens, as log lines for operators: fixed words first, then key=value, one line for each event.

Text that a client can choose (names, hosts, reasons that quote them) is quoted and escaped wherever it is not
plain: it can neither begin a line, nor end one, nor look like another field. So a ban tool may rely on
`authentication failed source=<HOST> ` at the start of the message.
"""

import dataclasses
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Final

from socks6.compat import override
from socks6.telemetry import (
    AcceptPaused,
    CertificateRead,
    ConnectionEnded,
    DtlsUnavailable,
    Ending,
    Event,
    LimitReached,
    Listening,
    Observer,
    SourcePenalized,
    Stopping,
    UnexpectedError,
    UpstreamDown,
    UpstreamUp,
)

# The level and the words of an event; all others are for DEBUG, their words being their class's.
LINES: Final[Mapping[type[Event], tuple[int, str]]] = {
    ConnectionEnded: (logging.INFO, "connection ended"),
    LimitReached: (logging.INFO, "limit reached"),
    SourcePenalized: (logging.WARNING, "shut out"),
    UpstreamDown: (logging.WARNING, "upstream down"),
    UpstreamUp: (logging.WARNING, "upstream up"),  # again; INFO at the first time
    CertificateRead: (logging.INFO, "certificate read anew"),
    DtlsUnavailable: (logging.INFO, "no datagrams over UDP"),
    AcceptPaused: (logging.WARNING, "accept paused"),
    UnexpectedError: (logging.ERROR, "unexpected error"),
    Stopping: (logging.INFO, "stopping"),
}
WORDS_FOR_ENDING: Final = {
    Ending.UNAUTHENTICATED: "authentication failed",
    Ending.REFUSED: "refused",
}

DESTINATION_FIELDS: Final = frozenset({"host", "port", "peer"})
TELLTALE_ENDINGS: Final = frozenset(
    {Ending.FAILED, Ending.RESET, Ending.ERROR}
)  # with reasons that may name the destination

PAUSE_SECONDS: Final = 10.0  # short of descriptors, a listener pauses hundreds of times a second

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:/@+%*\[\]-]+")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_WORD: Final = re.compile(r"[A-Z][a-z]*")


class LogObserver(Observer):
    """Writes events to a logger of the standard library.

    INFO has a line for each connection, when it has ended; DEBUG has every event: the logger's level counts that it has when
    the observer is made. Where destinations are not to be
    logged, neither are the reasons that may name them. A listener's pauses are summed up in one line every ten seconds
    by `clock` at the most.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        log_destinations: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._log_destinations = log_destinations
        self._clock = clock
        if not logger.isEnabledFor(logging.DEBUG):
            self.wants = [event for event, (level, _) in LINES.items() if logger.isEnabledFor(level)]
        self._pauses: dict[str, tuple[float, int]] = {}  # of a listener: its last line's time, pauses since

    @override
    def observe(self, event: Event) -> None:
        level, words = _line_of(event)
        match event:
            case Listening():  # the command prints it itself, on standard error
                return
            case ConnectionEnded():
                words = WORDS_FOR_ENDING.get(event.ending, words)
                self._log(level, words, self._fields_of_ended(event))
            case LimitReached() if event.id:  # the connection's own line has the reason, too
                self._log(logging.DEBUG, "limit reached", self._fields(event))
            case LimitReached():
                self._log(level, words, {"source": event.source, "reason": event.reason})
            case AcceptPaused():
                self._pause(level, words, event)
            case CertificateRead() if event.reason:
                self._log(logging.WARNING, "certificate not read", self._fields(event))
            case UnexpectedError():
                # Not exc_info: an exception may quote what a client sent, line breaks and all.
                lines = "".join(traceback.format_exception(event.error)).splitlines()
                trace = "".join(f"\n! {_printable(line)}" for line in lines)
                self._log(level, words, {"where": event.where}, trace)
            case _:
                self._log(level, words, self._fields(event))

    def _fields(self, event: Event) -> dict[str, str | int]:
        return {
            field.name: getattr(event, field.name)
            for field in dataclasses.fields(event)
            if self._log_destinations or field.name not in DESTINATION_FIELDS
        }

    def _fields_of_ended(self, event: ConnectionEnded) -> dict[str, str | int]:
        shown = self._log_destinations
        fields = {"source": event.source, **self._fields(event)}
        return {
            **{name: value for name, value in fields.items() if not name.startswith("bytes_")},
            "port": event.port if shown and event.host else "",
            "ending": event.ending.value,
            "reply": event.reply if event.reply >= 0 else "",
            "reason": event.reason if shown or event.ending not in TELLTALE_ENDINGS else "",
            "seconds": f"{event.seconds:.3f}",
            "up": event.bytes_up,
            "down": event.bytes_down,
        }

    def _pause(self, level: int, words: str, event: AcceptPaused) -> None:
        now = self._clock()
        last, others = self._pauses.get(event.url, (now - PAUSE_SECONDS, 0))
        if now - last < PAUSE_SECONDS:
            self._pauses[event.url] = last, others + 1
            return
        self._pauses[event.url] = now, 0
        self._log(level, words, {**self._fields(event), "times": others + 1 if others else ""})

    def _log(self, level: int, words: str, fields: dict[str, str | int], trailer: str = "") -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s%s%s", words, format_fields(fields), trailer)


def format_fields(fields: dict[str, str | int]) -> str:
    """Return " key=value" for each field that is not empty, with values that cannot break the line."""
    return "".join(f" {key}={_value(str(value))}" for key, value in fields.items() if value != "")


def _line_of(event: Event) -> tuple[int, str]:
    """Return the level and the words of an event."""
    level, words = LINES.get(type(event)) or (logging.DEBUG, _words(type(event).__name__))
    first = isinstance(event, UpstreamUp) and not event.down_for
    return logging.INFO if first else level, words


def _words(name: str) -> str:
    """Return the words that a class's name is made of."""
    return " ".join(_WORD.findall(name)).lower()


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)  # escapes all but printable ASCII


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
