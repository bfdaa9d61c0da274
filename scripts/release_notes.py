"""Moves the lines of changes.d into CHANGELOG.md:  release_notes.py VERSION DATE  or  release_notes.py --check

See changes.d/README.md for what a note looks like. What about.md says stands above all notes.
"""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
NOTES: Final = ROOT / "changes.d"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
HEADINGS: Final = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
ABOUT: Final = NOTES / "about.md"
UNRELEASED: Final = "## Unreleased\n"


def main(arguments: list[str]) -> int:
    notes = sorted(path for path in NOTES.iterdir() if path.name not in {"README.md", ABOUT.name})
    faults = [fault for path in notes if (fault := _fault(path))]
    for fault in faults:
        print(fault)
    if faults or arguments == ["--check"]:
        return 1 if faults else 0
    version, date = arguments
    section = [f"## {version} ({date})", ""]
    if ABOUT.exists():
        section += [ABOUT.read_text().strip(), ""]
        notes.append(ABOUT)
    for kind, heading in HEADINGS.items():
        lines = [path.read_text().strip() for path in notes if path != ABOUT and _kind(path) == kind]
        if lines:
            section += [f"### {heading}", *lines, ""]
    text = CHANGELOG.read_text().replace(UNRELEASED, UNRELEASED + "\n" + "\n".join(section), 1)
    CHANGELOG.write_text(text)
    for path in notes:
        path.unlink()
    return 0


def _kind(note: Path) -> str:
    return note.stem.rpartition(".")[2]


def _fault(note: Path) -> str | None:
    """Return what is wrong with a note; None if nothing is."""
    if note.suffix != ".md" or "." not in note.stem or _kind(note) not in HEADINGS:
        return f"changes.d/{note.name}: the name should end in one of {', '.join(HEADINGS)}, and .md"
    if not all(line.startswith(("- ", "  ")) for line in note.read_text().splitlines()):
        return f"changes.d/{note.name}: every line should begin with `- ` or be indented"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
