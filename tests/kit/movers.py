"""The movers of datagrams by name, for tests that ask the same of each."""

from collections.abc import Callable
from typing import Final

import pytest

from socks6.relay.datagrams.mover import Mover, PythonMover
from socks6.relay.datagrams.plane import best_mover

LOOP_OF: Final = {"python": "asyncio", "compiled": "uvloop"}  # so that both loops are met as well
OTHERS: Final[dict[str, Callable[[], Mover]]] = {"python": PythonMover, "best": best_mover}


def mover_named(name: str) -> Callable[[], Mover]:
    """Return what makes such movers. The test skips where the one in C was not compiled."""
    if name in OTHERS:
        return OTHERS[name]
    try:
        from socks6.relay.datagrams.compiled import CompiledMover  # noqa: PLC0415 - may not be there
    except ImportError:
        pytest.skip("the mover in C was not compiled: gcc and Python's headers, then make-venv again")
    return CompiledMover
