"""The movers of datagrams by name, for tests that ask the same of each."""

from collections.abc import Callable
from typing import Final

import pytest

from socks6.relay.datagrams.association_relay import best_forwarder
from socks6.relay.datagrams.forwarder import DatagramForwarder, PythonForwarder

LOOP_OF: Final = {"python": "asyncio", "compiled": "uvloop"}  # so that both loops are met as well
OTHERS: Final[dict[str, Callable[[], DatagramForwarder]]] = {
    "python": PythonForwarder,
    "best": best_forwarder,
}


def forwarder_named(name: str) -> Callable[[], DatagramForwarder]:
    """Return what makes such movers. The test skips where the one in C was not compiled."""
    if name in OTHERS:
        return OTHERS[name]
    try:
        from socks6.relay.datagrams.compiled import CompiledForwarder  # noqa: PLC0415 - may not be there
    except ImportError:
        pytest.skip("the forwarder in C was not compiled: gcc and Python's headers, then make-venv again")
    return CompiledForwarder
