"""socks6 check: what is wrong with a configuration file."""

import sys
from argparse import Namespace

from socks6.cli import WRONG, complain
from socks6.config.faults import Fault, InvalidConfiguration
from socks6.config.file import ConfigurationFile, read_configuration
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError


def run(arguments: Namespace) -> int:
    """Tell every fault, one a line; none is told in one line, too."""
    try:
        file = examine(arguments.file)
    except InvalidConfiguration as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return WRONG
    complain(*(f"warning: {warning}" for warning in file.warnings))
    print(f"{file.path}: no faults")
    return 0


def examine(path: str) -> ConfigurationFile:
    """Read a file as a server would. Raises InvalidConfiguration."""
    file = read_configuration(path)
    try:
        plan = Plan.of(file.choices)
    except ConfigurationError as error:
        raise file.invalid(Fault(key=("via",), what=str(error))) from error
    faults = [Fault(key=("listen", index), what=why) for index, why in plan.faults()]
    if faults:
        raise file.invalid(*faults)
    return file
