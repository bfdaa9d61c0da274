"""The commands. `socks6 --help` lists them."""

import gc
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from socks6.cli.parser import COMMANDS, parse
from socks6.cli.process_title import WARNING, hides_passwords
from socks6.cli.standard_streams import background_standard_error, open_standard_streams
from socks6.errors import ConfigurationError, Socks6Error

FAILED: Final = 1
WRONG: Final = 2  # usage or configuration
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
    with background_standard_error():
        if exposed:
            complain(WARNING)
        # only now, and only this command's: they need a tenth of a second and more
        run: Callable[[Namespace], int] = import_module(f"socks6.cli.{COMMANDS[parsed.command].module}").run
        if own_process:
            gc.freeze()  # nor is what was imported looked at from now on, at the end of the process least of all
            gc.enable()
        return _run(run, parsed)


def _run(run: Callable[[Namespace], int], parsed: Namespace) -> int:
    try:
        return run(parsed)
    except ConfigurationError as error:
        complain(*str(error).splitlines())
        return WRONG
    except (Socks6Error, OSError) as error:
        complain(describe(error))
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def complain(*lines: str) -> None:
    """Print what went wrong, on standard error."""
    for line in lines:
        print(f"socks6: {line}", file=sys.stderr, flush=True)


def describe(error: Exception) -> str:
    """Return an error in words, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
