"""Fails when a Python file is longer than 400 lines or a function longer than 40; docstrings do not count there."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FILE_LINES: Final = 400
FUNCTION_LINES: Final = 40
ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    faults = [fault for path in _python_files() for fault in _faults(path)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _python_files() -> Iterator[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return (path for path in map(ROOT.joinpath, listing.split("\n")) if path.is_file())


def _faults(path: Path) -> Iterator[str]:
    text = path.read_text()
    name = path.relative_to(ROOT)
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{name}: {lines} lines, {FILE_LINES} are the limit"
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := _length(node)) > FUNCTION_LINES
        ):
            yield f"{name}:{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES} are the limit"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    last = function.end_lineno or function.lineno
    first_statement = function.body[0]
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        docstring = (first_statement.end_lineno or first_statement.lineno) - first_statement.lineno + 1
    return last - function.lineno + 1 - docstring


if __name__ == "__main__":
    sys.exit(main())
