"""Draws docs/pictures/terminal.svg: README's first recipe in two terminals, with what it really printed.

It is run as root, on machines that are network namespaces, 10 ms apart (tests/kit/documented_world.py):  make recording
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.kit.documented_world import World, documented_world  # noqa: E402
from tests.kit.documents import blocks  # noqa: E402
from tests.kit.link.cable import Cable  # noqa: E402

PICTURE: Final = ROOT / "docs/pictures/terminal.svg"
TITLE: Final = "A server on one machine, the converter on another, and curl through both"
HEADING: Final = "Three recipes"
MORE: Final = ("curl --proxy http://127.0.0.1:1080 https://example.com/",)
DELAY: Final = 0.005  # seconds each way
COLUMNS: Final = 104
CHARACTER: Final = 7.8  # pixels
LINE: Final = 19
MARGIN: Final = 18
BAR: Final = 34
FONT: Final = "font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size='13'"
COLOURS: Final = {
    "far": "#f5c26b",
    "you": "#8bd5a0",
    "typed": "#ffffff",
    "said": "#a9b4c4",
    "note": "#6f7d92",
}


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        documented_world(
            Path(folder), join=lambda near, far, _: Cable.both(delay=DELAY).laid(near, far)
        ) as world,
    ):
        lines = list(session(world))
    PICTURE.write_text(drawn(lines))
    print(f"{PICTURE.relative_to(ROOT)}: {len(lines)} lines")
    return 0


def session(world: World) -> Iterator[tuple[str, str]]:
    """Run the recipe; yield what stands in the terminals: a kind of line, and its text."""
    recipe = [
        text for block in blocks("README.md", HEADING) if block.language == "sh" for _, text in block.commands
    ]
    end = next(index for index, line in enumerate(recipe) if line.startswith("curl"))
    for line in (*recipe[: end + 1], *MORE):
        place = "far" if re.match("socks6 (passwd|server|share)", line) else "you"
        yield place, line
        said = world.run(line.replace("curl", "curl --no-progress-meter"))
        if said.code:
            raise SystemExit(f"record_terminal: {line}: {said.text}")
        if line.startswith("socks6 client"):
            time.sleep(1.0)  # it says how it goes when it has tried
        for text in (world.log() if "socks6 client" in line else said.text).splitlines():
            yield "said", text.replace(str(world.folder), "/home/me")


def drawn(lines: list[tuple[str, str]]) -> str:
    """Return the picture."""
    width = round(COLUMNS * CHARACTER + 2 * MARGIN)
    height = BAR + LINE * len(lines) + MARGIN
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' role='img'>",
        f"<title>{TITLE}</title>",
        f"<rect width='{width}' height='{height}' rx='8' fill='#1b2330'/>",
        *(f"<circle cx='{MARGIN + 18 * index}' cy='17' r='5' fill='#3a4658'/>" for index in range(3)),
    ]
    for row, (kind, text) in enumerate(lines):
        y = BAR + LINE * row + 12
        if kind == "said":
            parts.append(_text(0, y, text, "said"))
        else:
            parts += [_text(0, y, f"{kind}$", kind), _text(5, y, text, "typed")]
    return "\n".join([*parts, "</svg>", ""])


def _text(column: int, y: int, text: str, colour: str) -> str:
    room = COLUMNS - column
    text = text if len(text) <= room else f"{text[: room - 1]}…"
    return (
        f"<text x='{MARGIN + column * CHARACTER:.1f}' y='{y}' {FONT} fill='{COLOURS[colour]}' xml:space='preserve'"
        f" textLength='{len(text) * CHARACTER:.1f}'>{escape(text)}</text>"
    )


if __name__ == "__main__":
    sys.exit(main())
