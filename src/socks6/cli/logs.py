"""Where the log of a command goes: to standard error."""

import logging
import sys
from typing import Final

from socks6.net import wire_log

LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


def set_up_logging(verbosity: int) -> logging.Logger:
    """Return the logger of all that socks6 logs: warnings, and with each -v ends, events, the messages themselves."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger = logging.getLogger("socks6")
    logger.handlers = [handler]
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    # what clients ask for is in every message: that takes a third -v, whatever else is logged of destinations
    wire_log.LOGGER.setLevel(logging.DEBUG if verbosity >= len(LEVELS) else logging.WARNING)
    return logger
