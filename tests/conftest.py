"""Fixtures and rules for every test."""

import faulthandler
import gc
import logging
import os
import re
import sys
import zlib
from collections.abc import Generator, Iterator
from typing import Final

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.kit")  # what was compared stands in the message, there too

from tests.kit.loops import LOOP_FACTORIES, Run  # noqa: E402

# The same examples everywhere: one failure for everybody. `make deep` tries more of them, `--quick` fewer.
hypothesis.settings.register_profile(
    "default", derandomize=True, database=None, deadline=None, max_examples=100
)
_DEFAULT: Final = hypothesis.settings.get_profile("default")
hypothesis.settings.register_profile("quick", parent=_DEFAULT, max_examples=10)
hypothesis.settings.register_profile("deep", parent=_DEFAULT, derandomize=False, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Where everything can be had, a skip hides something: it counts as a failure.
NOTHING_SKIPS: Final = os.environ.get("CI") == "true" or (sys.platform == "linux" and os.geteuid() == 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="fewer examples, and each test on one event loop")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.quick:
        hypothesis.settings.load_profile("quick")


@pytest.hookimpl(trylast=True)  # once the marks have been heeded
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--quick`, leave out one of two tests that differ in the loop alone; half of them stay on either."""
    if config.option.quick:
        names = {item.nodeid for item in items}
        config.hook.pytest_deselected(items=[item for item in items if not _is_quick(item.nodeid, names)])
        items[:] = [item for item in items if _is_quick(item.nodeid, names)]


def _is_quick(name: str, names: set[str]) -> bool:
    other = re.sub("asyncio|uvloop", lambda loop: "uvloop" if loop[0] == "asyncio" else "asyncio", name)
    return other == name or other not in names or zlib.crc32(min(name, other).encode()) % 2 == (name < other)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: looking for garbage in it would take longer than some tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(params=sorted(LOOP_FACTORIES))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on asyncio and on uvloop."""
    return Run(request.param)


@pytest.fixture(autouse=True)
def _log_levels_stay() -> Iterator[None]:
    """Undo what a command did to the log that was run within the test's process."""
    logger = logging.getLogger("socks6")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _deep_tests_take_their_time(request: pytest.FixtureRequest) -> None:
    """End the limit for a single test where it is a deep one."""
    if request.node.get_closest_marker("deep"):
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NOTHING_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"nothing may skip here, but this did: {reason}"
