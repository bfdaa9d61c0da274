"""socks6 check: what is wrong with a configuration file; or the JSON Schema of such files."""

import itertools
import sys
from argparse import Namespace

from socks6.cli import WRONG, complain
from socks6.config.build import find_faults
from socks6.config.faults import Fault, InvalidConfiguration, Key
from socks6.config.reading import ConfigurationFile, examine_configuration
from socks6.config.schema import schema_text
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.setting import build


def run(arguments: Namespace) -> int:
    """Print every fault, one a line, or that there is none; or print the schema."""
    if arguments.schema:
        print(schema_text(), end="")
        return 0
    if arguments.file is None:
        raise ConfigurationError("name a FILE, or use --schema")
    try:
        file = examine(arguments.file)
    except InvalidConfiguration as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return WRONG
    complain(*(f"warning: {warning}" for warning in file.warnings))
    print(f"{file.path}: no faults")
    return 0


def examine(path: str) -> ConfigurationFile:
    """Read a file as a server would. Raises InvalidConfiguration for all that one would refuse, at once."""
    file, faults = examine_configuration(path)
    # a listener that is no URL is left out of the values: the others stand where they stand in the file
    wrong = {fault.key for fault in faults}
    places = (key for index in itertools.count() if (key := ("listen", index)) not in wrong)
    config = build(ServerConfig, file.values)
    keys: dict[Key, Key] = {
        ("listen", index): place for index, place in zip(range(len(config.listen)), places, strict=False)
    }
    faults.extend(Fault(key=keys.get(fault.key, fault.key), what=fault.what) for fault in find_faults(config))
    if faults:
        raise file.invalid(*faults)
    return file
