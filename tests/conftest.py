"""Fixtures that every test may use."""

import pytest

from tests.kit.loops import LOOP_FACTORIES, Run


@pytest.fixture(params=sorted(LOOP_FACTORIES))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on asyncio and on uvloop."""
    return Run(request.param)
