"""Where the log of a command goes: to standard error."""

import logging
import sys
from typing import Final

LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


def set_up_logging(verbosity: int) -> logging.Logger:
    """Return the logger of all that socks6 has to tell, more of it with each -v."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger = logging.getLogger("socks6")
    logger.handlers = [handler]
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    return logger
