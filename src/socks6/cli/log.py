"""Where a command's log goes, and in which form."""

import logging
import os
import sys
from typing import Final

from socks6.cli import COMMAND_LOGGER
from socks6.cli.standard_streams import FLUSH_SECONDS, BackgroundWriter, LogFile
from socks6.compat import override
from socks6.net import wire_log
from socks6.observability.lines import FORMATTERS, LogLine
from socks6.observability.logs import ACCESS_LOGGER, LOGGER

# of each logger, by the number of -v
LEVELS: Final = {
    LOGGER: (logging.INFO, logging.INFO, logging.DEBUG, logging.DEBUG),
    ACCESS_LOGGER: (logging.WARNING, logging.INFO, logging.INFO, logging.INFO),
    # what clients ask for is in every message: that takes a third -v, whatever else is logged of destinations
    wire_log.LOGGER.name: (logging.WARNING, logging.WARNING, logging.WARNING, logging.DEBUG),
}
OTHERS: Final = (
    "asyncio",
    "opentelemetry",
)  # which say what no task has caught, and what no collector has taken


def set_up_logging(verbosity: int, form: str = "auto", path: str | None = None) -> logging.Logger:
    """Make the package's loggers write to a file, or else to standard error; return the one above the others.

    `form` is one of FORMATTERS; "auto" is the journal's where that reads standard error, else text. Text on standard error
    is for people: there a command's own lines are printed (`socks6.cli.tell`), in all other cases they are logged.
    """
    if form == "auto":
        form = "journal" if path is None and _is_read_by_the_journal() else "text"
    handler = _FileHandler(path) if path is not None else logging.StreamHandler(sys.stderr)
    formatter = FORMATTERS[form]()
    handler.setFormatter(formatter)
    writer = handler.stream
    for_people = path is None and form == "text"
    if isinstance(writer, BackgroundWriter) and not for_people:
        writer.describe_loss = lambda count: formatter.format(_loss(count))
    for name in (LOGGER, *OTHERS):
        logging.getLogger(name).handlers = [handler]
    command = logging.getLogger(COMMAND_LOGGER)
    command.propagate = False
    command.handlers = [] if for_people else [handler]
    for name, levels in LEVELS.items():
        logging.getLogger(name).setLevel(levels[min(verbosity, len(levels) - 1)])
    return logging.getLogger(LOGGER)


class _FileHandler(logging.StreamHandler[BackgroundWriter]):
    """Appends to a file, in a thread of its own; what goes wrong with the file is told on standard error, once."""

    def __init__(self, path: str) -> None:
        def complain(error: OSError) -> None:
            reason = error.strerror or error
            text = f"socks6: log file {path}: {reason}; lines are lost until it can be written\n"
            print(text, end="", file=sys.stderr, flush=True)  # not by `tell`, which logs

        super().__init__(BackgroundWriter(LogFile(path), on_failure=complain))

    @override
    def close(self) -> None:
        """Wait until the lines are written, FLUSH_SECONDS at most."""
        self.stream.finish(FLUSH_SECONDS)
        super().close()


def _is_read_by_the_journal() -> bool:
    """Return whether standard error is what systemd has connected with the journal: systemd.exec(5)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _loss(count: int) -> logging.LogRecord:
    """Return the record of lines that could not be written."""
    return logging.makeLogRecord(
        {
            "name": LOGGER,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": LogLine("lines dropped", {"count": count}),
        }
    )
