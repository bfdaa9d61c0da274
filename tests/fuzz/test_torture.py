"""Relays under torture: both ends send, pause, end and break off as they like. Longer under `deep`."""

import asyncio
import os
from pathlib import Path
from typing import Final

import pytest

from tests.kit.fuzzing import no_task_left
from tests.kit.loops import LOOP_FACTORIES
from tests.kit.torture import torture_relays

SECONDS: Final = float(os.environ.get("SOCKS6_TORTURE_SECONDS", "60"))
DURATIONS: Final = [1.5, pytest.param(SECONDS, marks=pytest.mark.deep)]

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("seconds", DURATIONS)
@pytest.mark.parametrize("loop_name", sorted(LOOP_FACTORIES))
def test_what_arrives_is_what_was_sent(loop_name: str, seconds: float, tmp_path: Path) -> None:
    complaints: list[object] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with no_task_left():
            figures = await torture_relays(6, seconds, str(tmp_path))
        print(figures)
        figures.check()
        assert figures.outcomes["whole"] > 20

    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(scene())
    assert not complaints, complaints[:3]
