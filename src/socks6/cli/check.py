"""socks6 check: what is wrong with a configuration file."""

import itertools
import sys
from argparse import Namespace
from dataclasses import replace

from socks6.cli import WRONG, complain
from socks6.config.faults import Fault, InvalidConfiguration, Key, blaming
from socks6.config.file import ConfigurationFile, examine_configuration
from socks6.config.plan import Plan


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
    """Read a file as a server would; all that one would refuse is told at once. Raises InvalidConfiguration."""
    file, faults = examine_configuration(path)
    choices = file.choices
    if choices.tls_key is not None and choices.tls_certificate is None:
        with blaming(("tls", "key"), faults):
            Plan.of(choices)
        choices = replace(choices, tls_key=None)
    with blaming(("via",), faults):
        Plan.of(choices)
    # a listener that is no URL is left out of the choices: the others stand where they stand in the file
    wrong = {fault.key for fault in faults}
    places = (key for index in itertools.count() if (key := ("listen", index)) not in wrong)
    keys: dict[Key, Key] = {
        ("listen", index): place
        for index, place in zip(range(len(choices.listen or ())), places, strict=False)
    }
    for fault_key, why in Plan.of(replace(choices, via=None)).faults():
        faults.append(Fault(key=keys.get(fault_key, fault_key), what=why))
    if faults:
        raise file.invalid(*faults)
    return file
