"""What happens, as log lines for operators: fixed words first, then key=value, one line for each event.

Whatever a client can choose (names, hosts, reasons that quote them) is quoted and escaped wherever it is not
plain: it can neither begin a line, nor end one, nor look like another field. So a ban tool may rely on
`authentication failed source=<HOST> ` at the start of the message.
"""

import json
import logging
import re
import time
import traceback
from collections.abc import Callable
from typing import Final

from typing_extensions import override

from socks6.telemetry import ConnectionSummary, Ending, Observer

MESSAGES: Final = {
    Ending.UNAUTHENTICATED: "authentication failed",
    Ending.REFUSED: "refused",
}
ENDED: Final = "connection ended"

# Endings whose reason may quote an error that names the destination.
TELLTALE_ENDINGS: Final = frozenset({Ending.FAILED, Ending.RESET, Ending.ERROR})

PAUSE_SECONDS: Final = 10.0  # short of descriptors, a listener pauses hundreds of times a second

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:/@+%*\[\]-]+")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")


class LogObserver(Observer):
    """Writes to a logger of the standard library.

    INFO tells each connection once, when it has ended; DEBUG also when it begins. Where destinations are not
    to be logged, neither are the reasons that may name them. A listener's pauses are told together, in one
    line every ten seconds by `clock` at the most.
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
        self._pauses: dict[str, tuple[float, int]] = {}  # of a listener: when told last, how many since

    @override
    def listening(self, url: str) -> None:
        """Write nothing: the command says it itself, on standard error."""

    @override
    def connection_opened(self, connection_id: int, source: str) -> None:
        self._log(logging.DEBUG, "connection opened", source=source, id=connection_id)

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        shown = self._log_destinations
        self._log(
            logging.INFO,
            MESSAGES.get(summary.ending, ENDED),
            source=summary.source,
            id=summary.id,
            inbound=summary.inbound,
            user=summary.user,
            command=summary.command,
            host=summary.host if shown else "",
            port=summary.port if shown and summary.host else "",
            peer=summary.peer if shown else "",
            session=summary.session,
            token=summary.token,
            ending=summary.ending.value,
            reply=summary.reply if summary.reply >= 0 else "",
            reason=summary.reason if shown or summary.ending not in TELLTALE_ENDINGS else "",
            seconds=f"{summary.seconds:.3f}",
            up=summary.bytes_up,
            down=summary.bytes_down,
        )

    @override
    def connection_turned_away(self, source: str, reason: str) -> None:
        self._log(logging.INFO, "turned away", source=source, reason=reason)

    @override
    def accept_paused(self, url: str, reason: str) -> None:
        now = self._clock()
        told, untold = self._pauses.get(url, (now - PAUSE_SECONDS, 0))
        if now - told < PAUSE_SECONDS:
            self._pauses[url] = told, untold + 1
            return
        self._pauses[url] = now, 0
        self._log(
            logging.WARNING, "accept paused", url=url, reason=reason, times=untold + 1 if untold else ""
        )

    @override
    def certificate_read(self, path: str, fault: str) -> None:
        words = "certificate not read" if fault else "certificate read anew"
        self._log(logging.WARNING if fault else logging.INFO, words, path=path, reason=fault)

    @override
    def without_dtls(self, url: str, reason: str) -> None:
        self._log(logging.WARNING, "no datagrams over UDP", url=url, reason=reason)

    @override
    def unexpected_error(self, where: str, error: BaseException) -> None:
        # Not exc_info: an exception may quote what a client sent, line breaks and all.
        lines = "".join(traceback.format_exception(error)).splitlines()
        trace = "".join(f"\n! {_printable(line)}" for line in lines)
        self._log(logging.ERROR, "unexpected error", trace, where=where)

    @override
    def stopping(self, connections: int) -> None:
        self._log(logging.INFO, "stopping", connections=connections)

    def _log(self, level: int, words: str, trailer: str = "", /, **fields: str | int) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s%s%s", words, format_fields(fields), trailer)


def format_fields(fields: dict[str, str | int]) -> str:
    """Return " key=value" for each field that is not empty, with values that cannot break the line."""
    return "".join(f" {key}={_value(str(value))}" for key, value in fields.items() if value != "")


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)  # escapes all but printable ASCII


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
