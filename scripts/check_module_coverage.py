"""Fails unless every module has a test file of its own, and those of message, protocol and policy are wholly covered by theirs.

The own test files of src/socks6/a/b.py are tests/unit/a/test_b.py and tests/unit/a/test_b_*.py. All of them run
once, and coverage's context is switched for each file, so that one run tells what each file covers alone. What
runs while modules are imported counts for everybody. A module without a function has nothing to be tested.
"""

import ast
import io
import os
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import coverage
import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "socks6"
TESTS: Final = ROOT / "tests" / "unit"
PACKAGES: Final = ("message", "protocol", "policy")
ON_IMPORT: Final = "^$"  # coverage's name for no context


class _ContextPerFile:
    """A pytest plugin: what a test runs is put down to its file."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._context = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Leave pytest's own work out: it would take twice as long."""
        self._measured.stop()
        try:
            return (yield)
        finally:
            self._measured.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        self._measured.start()
        if self._context != str(pyfuncitem.path):
            self._context = str(pyfuncitem.path)
            self._measured.switch_context(self._context)
        try:
            return (yield)
        finally:
            self._measured.stop()


def main() -> int:
    every, modules = sorted(SOURCE.rglob("*.py")), _modules()
    tested = {_subject(test, every) for test in sorted(TESTS.rglob("test_*.py"))}
    tests = {test: _subject(test, modules) for package in PACKAGES for test in _test_files(package)}
    faults = [f"{_name(test)}: is the test of no module" for test, module in tests.items() if module is None]
    os.environ.setdefault("COVERAGE_CORE", "ctrace")  # the other tracers know no contexts
    measured = coverage.Coverage(
        data_file=None, branch=True, source=[str(SOURCE / name) for name in PACKAGES]
    )
    measured.start()
    arguments = ["--quiet", "--no-header", "-p", "no:cacheprovider", *map(str, tests)]
    status = pytest.main(arguments, plugins=[_ContextPerFile(measured)]) if tests else 0
    measured.stop()
    faults += [
        f"{_name(module)}: has no test file {_name(_home(module))}"
        for module in every
        if module not in tested and _has_function(module)
    ]
    for module in modules:
        if own := [test for test, subject in tests.items() if subject == module]:
            faults.extend(_faults(module, own, measured))
    for fault in faults:
        print(fault)
    print(f"module coverage: {len(every)} modules, {len(modules)} of them wholly, {len(faults)} faults")
    return 1 if faults or status else 0


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (SOURCE / package).rglob("*.py"))


def _has_function(module: Path) -> bool:
    """Tell whether anything runs later than on import; a function with nothing but a docstring does not."""
    nodes = ast.walk(ast.parse(module.read_text()))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(not _is_empty(statement) for function in functions for statement in function.body)


def _is_empty(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _test_files(package: str) -> list[Path]:
    return sorted((TESTS / package).rglob("test_*.py"))


def _subject(test: Path, modules: list[Path]) -> Path | None:
    """Return the module that a test file is the test of: of several whose name fits, the longest."""
    folder = SOURCE / test.parent.relative_to(TESTS)
    fitting = [
        module
        for module in modules
        if module.parent == folder and f"{test.stem}_".startswith(f"{_home(module).stem}_")
    ]
    return max(fitting, key=lambda module: len(module.stem), default=None)


def _faults(module: Path, own: list[Path], measured: coverage.Coverage) -> Iterator[str]:
    contexts = [ON_IMPORT, *(f"^{re.escape(str(test))}$" for test in own)]
    report = io.StringIO()
    try:
        percent = measured.report(morfs=[str(module)], contexts=contexts, show_missing=True, file=report)
    except coverage.exceptions.NoDataError:
        yield f"{_name(module)}: is never imported"
        return
    if percent < 100:
        row = next(line for line in report.getvalue().splitlines() if "%" in line)
        files = ", ".join(test.name for test in own)
        yield f"{_name(module)}: {files} leaves out {row.partition('%')[2].strip()}"


def _home(module: Path) -> Path:
    return TESTS / module.parent.relative_to(SOURCE) / f"test_{module.stem.strip('_')}.py"


def _name(path: Path) -> Path:
    return path.relative_to(ROOT)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
