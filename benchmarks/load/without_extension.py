"""Run a module as if the package had been installed without a compiler.

usage: python -m benchmarks.load.without_extension MODULE [ARGUMENT]...
"""

import runpy
import sys
from typing import Final

EXTENSION: Final = "socks6.relay.datagrams._forwarder"


def main() -> None:
    """Hide the extension and run the module."""
    sys.modules[EXTENSION] = None  # type: ignore[assignment] # how an import is made to fail
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
