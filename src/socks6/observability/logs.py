"""What happens, as log lines for operators: fixed words first, then the source of the client, then the other fields.

LINES says which events have a line above DEBUG; docs/reference/log.md is made from it. Ban tools rely on
`authentication failed source=ADDRESS ` at the start of the message (packaging/fail2ban).
"""

import asyncio
import dataclasses
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from socks6.compat import override
from socks6.observability.lines import Fields, LogLine, trace_of
from socks6.telemetry import (
    AcceptPaused,
    AuthenticatorDown,
    AuthenticatorUp,
    CertificateRead,
    ConnectionEnded,
    DtlsUnavailable,
    Ending,
    Event,
    LimitReached,
    Listening,
    Observer,
    QuotaReached,
    Reloaded,
    SourcePenalized,
    Stopping,
    UnexpectedError,
    UpstreamDown,
    UpstreamUp,
    UserRefused,
)

LOGGER: Final = "socks6"
ACCESS_LOGGER: Final = "socks6.access"  # of one line for each connection


class Line(NamedTuple):
    """How an event is logged, and how many such lines there may be in FLOOD_SECONDS, since strangers can cause them."""

    level: int
    words: str
    origin: str = ""  # the field that tells who causes it
    per_origin: int = 10
    total: int = 100


LINES: Final[Mapping[type[Event], Line]] = {
    Stopping: Line(logging.INFO, "stopping"),
    UserRefused: Line(logging.WARNING, "authentication failed", "source"),
    SourcePenalized: Line(logging.WARNING, "shut out", "source"),
    LimitReached: Line(logging.WARNING, "limit reached", "source"),
    QuotaReached: Line(logging.WARNING, "quota reached"),
    UpstreamDown: Line(logging.WARNING, "upstream down"),
    UpstreamUp: Line(logging.WARNING, "upstream up"),
    AuthenticatorDown: Line(logging.WARNING, "authenticator down", "authenticator"),
    AuthenticatorUp: Line(logging.WARNING, "authenticator up", "authenticator"),
    CertificateRead: Line(logging.INFO, "certificate read anew"),
    DtlsUnavailable: Line(logging.DEBUG, "no datagrams over UDP"),
    # short of descriptors, a listener pauses hundreds of times a second
    AcceptPaused: Line(logging.WARNING, "accept paused", "url", per_origin=1),
    UnexpectedError: Line(logging.ERROR, "unexpected error", "where", total=10),
    ConnectionEnded: Line(logging.INFO, "connection ended"),
}
"""The lines of events; all others are for DEBUG, their words being their class's."""

COMMAND_LINES: Final[Mapping[str, tuple[int, tuple[str, ...], str]]] = {
    "listening": (logging.INFO, ("url",), "A listener accepts connections."),
    "through": (
        logging.INFO,
        ("url", "encryption", "seconds"),
        "The proxy to go through answers, after so long.",
    ),
    "certificate": (
        logging.INFO,
        ("path", "pin", "made"),
        "The certificate that the server made itself, now or before.",
    ),
    "metrics": (logging.INFO, ("url",), "Prometheus may read metrics there."),
    "admin": (logging.INFO, ("url",), "The admin interface listens, where it was asked to."),
    "reloaded": (logging.INFO, (), "Users and policy were replaced, after SIGHUP."),
    "not reloaded": (logging.WARNING, ("reason",), "What was to be loaded has a fault; nothing has changed."),
    "restart needed": (
        logging.WARNING,
        ("settings",),
        "These settings have changed; only a restart puts them in force.",
    ),
    "log database failed": (
        logging.WARNING,
        ("path", "reason"),
        "The database of the access log cannot be written; connections wait, and are lost if that takes long.",
    ),
    "log rows dropped": (
        logging.WARNING,
        ("path", "count"),
        "Connections that are not in the database: it could not be written in time.",
    ),
    "lines dropped": (
        logging.WARNING,
        ("count",),
        "Lines of the log could not be written in time: they are lost.",
    ),
}
"""The lines that a command logs itself, with their levels, fields and meaning."""
SUPPRESSED: Final = "lines suppressed"

DESTINATION_FIELDS: Final = frozenset({"host", "port", "peer"})
# of ConnectionEnded: those that have another name in the log, and those that are for metrics and traces alone
UNLOGGED_FIELDS: Final = (
    "bytes_up", "bytes_down", "outbound", "handshake_seconds", "lookup_seconds", "connect_seconds",
)  # fmt: skip
TELLTALE_ENDINGS: Final = frozenset(
    {Ending.FAILED, Ending.RESET, Ending.ERROR}
)  # with reasons that may name the destination
FLOOD_SECONDS: Final = 10.0

_WORD: Final = re.compile(r"[A-Z][a-z]*")


class LogObserver(Observer):
    """Writes events to loggers of the standard library.

    Connections have a line each at INFO, when they have ended, by the logger `access`, which is `logger` unless it is
    named. `logger` has what LINES says; at DEBUG it has every event. The levels of both count that they have when the
    observer is made. Where destinations are not to be logged, neither are the reasons that may name them.

    Lines that strangers can cause are limited, as LINES says; what is left out is counted, and told after FLOOD_SECONDS.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        access: logging.Logger | None = None,
        log_destinations: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._access = access or logger
        self._log_destinations = log_destinations
        self._floods: dict[str, _Flood] = {}
        self._names: dict[
            tuple[type[Event], tuple[str, ...]], tuple[str, ...]
        ] = {}  # of fields that are logged
        self._clock = clock
        if not logger.isEnabledFor(logging.DEBUG):
            self.wants = [event for event, line in LINES.items() if self._of(event).isEnabledFor(line.level)]

    @override
    def observe(self, event: Event) -> None:
        kind = type(event)
        line = LINES.get(kind) or Line(logging.DEBUG, event_words(kind))
        trace: tuple[str, ...] = ()
        match event:
            case ConnectionEnded():  # most are
                pass
            case Listening() | Reloaded():  # the command logs these itself
                return
            case LimitReached() if event.id:  # the connection's own line has the reason, too
                line = Line(logging.DEBUG, line.words)
            case UpstreamUp() if not event.down_for:  # the first time, which the command logs
                line = Line(logging.DEBUG, line.words)
            case CertificateRead() if event.reason:
                line = Line(logging.WARNING, "certificate not read")
            case UnexpectedError():
                trace = trace_of(event.error)
            case _:
                pass
        logger = self._of(kind)
        if logger.isEnabledFor(line.level) and self._admits(line, event):
            said = LogLine(line.words, self.fields_of(event), trace)
            # `Logger.log` would look for its caller, which takes a third of a line's time and is in no form of the log
            logger.handle(logger.makeRecord(logger.name, line.level, "", 0, said, (), None))

    def fields_of(self, event: Event) -> Fields:
        """Return the fields of an event that are not to be hidden, the source first."""
        if isinstance(event, ConnectionEnded):
            return self._fields_of_ended(event)
        return self._fields(
            event, but=("id",) if isinstance(event, LimitReached) and not event.id else ("error",)
        )

    def _of(self, event: type[Event]) -> logging.Logger:
        return self._access if event is ConnectionEnded else self._logger

    def _fields(self, event: Event, but: tuple[str, ...] = ()) -> Fields:
        names = self._names.get((type(event), but)) or self._names_of(event, but)
        return {name: getattr(event, name) for name in names}

    def _names_of(self, event: Event, but: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the fields that an event is logged with, the source first."""
        hidden = but if self._log_destinations else {*but, *DESTINATION_FIELDS}
        names = [field.name for field in dataclasses.fields(event) if field.name not in hidden]
        found = self._names[type(event), but] = tuple(sorted(names, key=lambda name: name != "source"))
        return found

    def _fields_of_ended(self, event: ConnectionEnded) -> Fields:
        shown = self._log_destinations
        return {
            **self._fields(event, but=UNLOGGED_FIELDS),
            "port": event.port if shown and event.host else "",
            "ending": event.ending.value,
            "reply": event.reply if event.reply >= 0 else "",
            "reason": event.reason if shown or event.ending not in TELLTALE_ENDINGS else "",
            "seconds": round(event.seconds, 3),
            "up": event.bytes_up,
            "down": event.bytes_down,
        }

    def _admits(self, line: Line, event: Event) -> bool:
        """Return whether there is room for a line; count it if there is none."""
        if not line.origin:
            return True
        flood = self._floods.get(line.words)
        if flood is None or self._clock() >= flood.ends:
            if flood is not None:
                self._report(line, flood)
            flood = self._floods[line.words] = _Flood(self._clock() + FLOOD_SECONDS)
        origin = str(getattr(event, line.origin))
        if flood.lines[origin] < line.per_origin and flood.lines.total() < line.total:
            flood.lines[origin] += 1
            return True
        if not flood.suppressed:
            _call_later(flood.ends - self._clock(), lambda: self._report(line, flood))
        flood.suppressed += 1
        return False

    def _report(self, line: Line, flood: "_Flood") -> None:
        """Log how many lines were left out in a period that is over."""
        if flood.suppressed:
            fields: Fields = {"lines": line.words, "count": flood.suppressed, "seconds": FLOOD_SECONDS}
            self._logger.log(line.level, LogLine(SUPPRESSED, fields))
            flood.suppressed = 0


class _Flood:
    """The lines of a kind that there were in one period."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.lines: Counter[str] = Counter()  # by origin
        self.suppressed = 0


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    """Call it in the running loop's time; without a loop not at all, the next line comes with what was left out."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    loop.call_later(seconds, call)


def event_words(event: type[Event]) -> str:
    """Return the words for an event that has no line in LINES: those that its class's name is made of."""
    return " ".join(_WORD.findall(event.__name__)).lower()
