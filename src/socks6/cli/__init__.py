"""The commands. `socks6 --help` lists them."""

import contextlib
import gc
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Final

from socks6.cli.parser import COMMANDS, parse
from socks6.cli.process_title import WARNING, hides_passwords
from socks6.cli.standard_streams import background_standard_error, open_standard_streams
from socks6.errors import ConfigurationError, Socks6Error

FAILED: Final = 1
WRONG: Final = 2  # usage or configuration
COMMAND_LOGGER: Final = "socks6.command"  # of what a command says itself
STDOUT: Final = 1  # the descriptor
COMPLETE: Final = "_complete"  # what the scripts of `socks6 completion` run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code of the process. Raises SystemExit for wrong usage."""
    own_process = arguments is None
    if own_process:
        gc.disable()  # imports leave no garbage, and looking for some between them is a fifth of a command's start
    open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    exposed = own_process and hides_passwords(words)
    if words[:1] == [COMPLETE]:
        show: Callable[[Sequence[str]], int] = import_module("socks6.cli.completion").show
        return show(words[1:])
    parsed = parse(words)
    with background_standard_error(), _log_closed():
        if exposed:
            complain(WARNING)
        # only now, and only this command's: they need a tenth of a second and more
        run: Callable[[Namespace], int] = import_module(f"socks6.cli.{COMMANDS[parsed.command].module}").run
        if own_process:
            gc.freeze()  # nor is what was imported looked at from now on, at the end of the process least of all
            gc.enable()
        return _run(run, parsed)


@contextlib.contextmanager
def _log_closed() -> Iterator[None]:
    """Write what is left of the log at the end of a block."""
    try:
        yield
    finally:
        if logging := sys.modules.get("logging"):
            for handler in logging.getLogger(COMMAND_LOGGER).handlers:
                handler.close()


def _run(run: Callable[[Namespace], int], parsed: Namespace) -> int:
    try:
        code = run(parsed)
        sys.stdout.flush()  # what is wrong with it shows here, not at the interpreter's end
        return code
    except ConfigurationError as error:
        complain(*str(error).splitlines())
        return WRONG
    except (Socks6Error, OSError) as error:
        if isinstance(error, BrokenPipeError) and not isinstance(error, Socks6Error) and not error.filename:
            # nobody reads standard output any more, as of `| head`: no words; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        else:
            complain(describe(error))
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def complain(*lines: str) -> None:
    """Say what went wrong: see `tell`."""
    for line in lines:
        tell(f"socks6: {line}", line)


def tell(printed: str, words: str, **fields: str | float) -> None:
    """Print a line on standard error, and log it, as far as the log is set up for such lines.

    It is not printed where the log itself goes there, in another form than text.
    """
    import logging  # noqa: PLC0415 - which not every command has imported

    logger = logging.getLogger(COMMAND_LOGGER)
    if logger.handlers:
        from socks6.observability.lines import LogLine  # noqa: PLC0415 - as above
        from socks6.observability.logs import COMMAND_LINES  # noqa: PLC0415

        level = COMMAND_LINES[words][0] if words in COMMAND_LINES else logging.WARNING
        logger.log(level, LogLine(words, fields))
    if not any(getattr(handler, "stream", None) is sys.stderr for handler in logger.handlers):
        print(f"{printed}\n", end="", file=sys.stderr, flush=True)  # in one piece: other threads print, too


def describe(error: Exception) -> str:
    """Return an error in words, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
