"""`make release`: makes a version, and publishes nothing.

release.py VERSION [--cut] [--without-checks]

The version's number, the section of CHANGELOG.md that the notes of changes.d make, a commit; then `make check`, `make site`
and `make dist`; at last a tag vVERSION that holds the section. All this happens in a clone, build/release, which can be thrown
away. With --cut, on a clean main, commit, tag and dist come from there when all has gone well: a version that fails leaves
nothing behind. Pushing and uploading is for a person to do.
"""

import argparse
import datetime as dt
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLONE: Final = ROOT / "build/release"
VERSION_FILE: Final = "src/socks6/distribution.py"
VERSION_LINE: Final = re.compile(r'^(VERSION: Final = )"([^"]+)"$', re.MULTILINE)
BRANCH: Final = "main"


def main() -> int:
    parser = argparse.ArgumentParser(description="make a version, and publish nothing")
    parser.add_argument("version", type=_version)
    parser.add_argument("--cut", action="store_true", help="here, not in a clone")
    parser.add_argument("--without-checks", action="store_true", help="only in a clone")
    arguments = parser.parse_args()
    if arguments.cut:
        if arguments.without_checks:
            raise SystemExit("release: a version that is cut is checked")
        if _output(ROOT, "git", "status", "--porcelain"):
            raise SystemExit("release: commit first")
        if _output(ROOT, "git", "branch", "--show-current") != BRANCH:
            raise SystemExit(f"release: only on {BRANCH}")
    shutil.rmtree(CLONE, ignore_errors=True)
    _run(ROOT, "git", "clone", "--quiet", str(ROOT), str(CLONE))
    tag = make_version(CLONE, arguments.version, checked=not arguments.without_checks)
    made = CLONE
    if arguments.cut:
        _run(ROOT, "git", "pull", "--quiet", "--ff-only", str(CLONE), BRANCH)
        _run(ROOT, "git", "fetch", "--quiet", str(CLONE), "tag", tag)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        shutil.copytree(CLONE / "dist", ROOT / "dist")
        made = ROOT
    print(f"\n{_output(made, 'git', 'show', '--stat', '--format=%s', tag)}\n")
    print(*sorted(path.name for path in (made / "dist").iterdir()), sep="\n")
    print(f"{tag} is made in {made}; nothing is published. What is left for you:")
    print(f"  git push origin {BRANCH} {tag}\n  .venv/bin/twine upload dist/*.whl dist/*.tar.gz")
    return 0


def make_version(tree: Path, version: str, *, checked: bool) -> str:
    """Make a version of a tree and return its tag. Raises SystemExit at the first thing that is not right."""
    path = tree / VERSION_FILE
    text = path.read_text()
    before = VERSION_LINE.search(text)
    if before is None or _numbers(before[2]) > _numbers(version):
        raise SystemExit(f"release: {version} does not follow what {VERSION_FILE} has")
    tag = f"v{version}"
    if _output(tree, "git", "tag", "--list", tag):
        raise SystemExit(f"release: {tag} is there already")
    path.write_text(VERSION_LINE.sub(rf'\g<1>"{version}"', text))
    date = dt.datetime.now(dt.UTC).date().isoformat()
    _run(tree, sys.executable, "scripts/release_notes.py", version, date)
    _run(tree, "git", "add", "--all", VERSION_FILE, "CHANGELOG.md", "changes.d")
    _run(tree, "git", "commit", "--quiet", "--message", f"release: {version}")
    if checked:
        _run(tree, "make", "check")
        _run(tree, "make", "site")
    _run(tree, "make", "dist", "ARGS=")  # those of `make release` are not for it
    # what git takes for comments, headings among them, stays
    _run(tree, "git", "tag", "--annotate", "--cleanup=whitespace", "--message", section(tree, version), tag)
    return tag


def section(tree: Path, version: str) -> str:
    """Return what CHANGELOG.md says of a version."""
    text = (tree / "CHANGELOG.md").read_text()
    found = re.search(rf"^## {re.escape(version)} .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"release: CHANGELOG.md says nothing of {version}")
    return found[0].strip()


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise argparse.ArgumentTypeError("three numbers, such as 0.2.0")
    return text


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _run(tree: Path, *command: str) -> None:
    print(f"$ {' '.join(command[:6])}", flush=True)
    if code := subprocess.run(command, cwd=tree, check=False, stdin=subprocess.DEVNULL).returncode:
        raise SystemExit(f"release: {command[0]} {command[1]} ended with {code}")


def _output(tree: Path, *command: str) -> str:
    return subprocess.run(command, cwd=tree, check=True, text=True, capture_output=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
