"""Fuzz runs: spoiled bytes at every inbound of a server, and at clients. A few seconds here, minutes under `deep`.

SOCKS6_FUZZ_SECONDS is how long the deep runs take in all, SOCKS6_FUZZ_SEED repeats one that failed.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from tests.kit.fuzz_targets import fuzz_client, fuzz_server
from tests.kit.fuzzing import Figures, no_task_left
from tests.kit.loops import LOOP_FACTORIES

Fuzz = Callable[[int, float], Coroutine[Any, Any, Figures]]

SMOKE_SECONDS: Final = 1.5
DEEP_SECONDS: Final = float(os.environ.get("SOCKS6_FUZZ_SECONDS", "600"))
SHARES: Final[tuple[tuple[Fuzz, float], ...]] = ((fuzz_server, 0.8), (fuzz_client, 0.2))
SEED: Final = int(os.environ.get("SOCKS6_FUZZ_SEED", str(time.time_ns())))

pytestmark = pytest.mark.e2e


def go(loop_name: str, fuzz: Fuzz, seed: int, seconds: float) -> Figures:
    """Run one; what the loop reports as unhandled is a failure."""
    complaints: list[dict[str, Any]] = []

    async def scene() -> Figures:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with no_task_left():
            return await fuzz(seed, seconds)

    print(f"repeat it with SOCKS6_FUZZ_SEED={seed}")
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        figures = runner.run(scene())
    assert all(map(is_uvloops_own, complaints)), complaints[:3]
    figures.check()
    return figures


def is_uvloops_own(complaint: dict[str, Any]) -> bool:
    """Tell whether it is about the future with which uvloop's create_connection waits for TLS.

    Nobody asks that future once the call was cancelled.
    """
    return "never retrieved" in complaint["message"] and isinstance(complaint["exception"], OSError)


@pytest.mark.parametrize("loop_name", sorted(LOOP_FACTORIES))
@pytest.mark.parametrize("fuzz", [fuzz for fuzz, _ in SHARES])
def test_spoiled_bytes_do_no_harm(fuzz: Fuzz, loop_name: str) -> None:
    assert go(loop_name, fuzz, 6, SMOKE_SECONDS).visits > 0  # how many is the machine's affair


@pytest.mark.deep
@pytest.mark.parametrize("loop_name", sorted(LOOP_FACTORIES))
@pytest.mark.parametrize(("fuzz", "share"), SHARES)
def test_spoiled_bytes_do_no_harm_for_long(fuzz: Fuzz, share: float, loop_name: str) -> None:
    figures = go(loop_name, fuzz, SEED, DEEP_SECONDS * share / len(LOOP_FACTORIES))
    print(figures)
    assert figures.visits > 1000
