"""The site is built without a warning, its links lead somewhere, and it needs no other host."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.deep]


def test_the_site_is_built_and_whole() -> None:
    done = subprocess.run(
        ["make", "site"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every link leads somewhere" in done.stdout


def test_what_is_wrong_with_a_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html">no</a><a href="#there">no</a><h1 id="here"><a href="#here">yes</a></h1>'
        '<script src="https://elsewhere.example/x.js"></script>'
    )
    check = [sys.executable, "scripts/check_site.py", str(tmp_path)]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "a.html: fetches https://elsewhere.example/x.js",
        "a.html: #there has no such anchor",
        "a.html: b.html leads nowhere",
    ]
