"""A release that fails on its way leaves nothing behind; one that succeeds is a commit, a tag and files."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow  # each makes clones

ROOT: Final = Path(__file__).parents[3]
MAKEFILE: Final = "check site:\n\t@test -e CHANGELOG.md\ndist:\n\t@mkdir dist && touch dist/made.whl\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository with what a release needs, and no more; its `make` does next to nothing."""
    for name in ("release.py", "release_notes.py"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    for name, text in {
        "src/socks6/distribution.py": 'VERSION: Final = "0.1.0"\n',
        "changes.d/README.md": "How notes are written.\n",
        "changes.d/about.md": "What it is.\n",
        "changes.d/news.added.md": "- Something new.\n",
        "CHANGELOG.md": "# Changelog\n\n## Unreleased\n",
        ".gitignore": "build\ndist\n",
        "Makefile": MAKEFILE,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "config", "user.name", "Somebody")
    git(tmp_path, "config", "user.email", "somebody@example.org")
    commit(tmp_path)
    return tmp_path


def commit(tree: Path) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "what is")


def git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, text=True, capture_output=True, check=True)
    return done.stdout.strip()


def release(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/release.py", *arguments]
    return subprocess.run(command, cwd=tree, text=True, capture_output=True, check=False)


def state(tree: Path) -> tuple[str, ...]:
    return (
        git(tree, "rev-parse", "HEAD"),
        git(tree, "tag"),
        git(tree, "status", "--porcelain"),
        git(tree, "stash", "list"),
    )


@pytest.mark.parametrize("arguments", [["--cut"], []])
@pytest.mark.parametrize("failing", ["check", "site", "dist"])
def test_a_release_that_fails_leaves_nothing_behind(tree: Path, failing: str, arguments: list[str]) -> None:
    (tree / "Makefile").write_text(MAKEFILE.replace(failing, "others") + f"{failing}:\n\t@false\n")
    commit(tree)
    before = state(tree)
    done = release(tree, "0.2.0", *arguments)
    assert done.returncode == 1
    assert done.stderr.endswith(f": {failing}] Error 1\nrelease: make {failing} ended with 2\n")
    assert state(tree) == before
    assert not (tree / "dist").exists()


def test_what_is_cut_is_a_commit_a_tag_and_files(tree: Path) -> None:
    done = release(tree, "0.2.0", "--cut")
    assert done.returncode == 0, done.stderr
    assert git(tree, "log", "--format=%s") == "release: 0.2.0\nwhat is"
    assert git(tree, "rev-parse", "v0.2.0^{commit}") == git(tree, "rev-parse", "HEAD")
    assert git(tree, "status", "--porcelain") == ""
    message = git(tree, "for-each-ref", "refs/tags/v0.2.0", "--format=%(contents)")
    assert message.endswith("\n\nWhat it is.\n\n### Added\n- Something new.")
    assert message in (tree / "CHANGELOG.md").read_text()
    assert [path.name for path in (tree / "changes.d").iterdir()] == ["README.md"]
    assert [path.name for path in (tree / "dist").iterdir()] == ["made.whl"]
    assert "nothing is published" in done.stdout


@pytest.mark.parametrize(
    ("version", "why"),
    [("0.0.9", "does not follow"), ("0.1.0", "is there already"), ("0.2", "three numbers, such as 0.2.0")],
)
def test_a_version_follows_the_last(tree: Path, version: str, why: str) -> None:
    git(tree, "tag", "v0.1.0")
    before = state(tree)
    done = release(tree, version, "--cut")
    assert done.returncode
    assert why in done.stderr
    assert state(tree) == before


def test_only_a_clean_main_is_cut(tree: Path) -> None:
    (tree / "Makefile").write_text("")
    assert release(tree, "0.2.0", "--cut").stderr == "release: commit first\n"
    git(tree, "checkout", "--quiet", "--", "Makefile")
    git(tree, "switch", "--quiet", "--create", "other")
    assert release(tree, "0.2.0", "--cut").stderr == "release: only on main\n"
