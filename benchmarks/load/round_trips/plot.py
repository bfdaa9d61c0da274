"""The picture: a bar for each row, cut into what the legs take. Needs matplotlib (`pip install --group plot`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.load.round_trips.report import SUITE, Measured, Results
from benchmarks.load.round_trips.rows import COLOURS, SOCKS6

TINT: Final = 0.55  # how much white is in the colour of the part behind the proxy
BAR: Final = 0.72
GAP: Final = 0.55  # between groups, in bars
MOST: Final = 7  # round trips
INK, FAINT = "#22262b", "#d9dce0"
STYLE: Final = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": SUITE,  # the same picture of the same results
}


def draw(all_results: Sequence[Results], directory: Path) -> Iterator[Path]:
    """Draw a panel for each delay; write PNG and SVG, and yield their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = _figure(all_results)
        for kind in ("png", "svg"):
            path = directory / f"{SUITE}.{kind}"
            figure.savefig(path, dpi=150, metadata={"Date": None} if kind == "svg" else None)
            yield path


def _figure(all_results: Sequence[Results]) -> Figure:
    rows = [row for row in all_results[0].rows if all(each.find(row.name) for each in all_results)]
    places = _places(rows)
    figure = Figure(figsize=(11, 1.9 + 0.33 * places[-1]), layout="constrained")
    panels = figure.subplots(1, len(all_results), sharey=True, sharex=True, squeeze=False)[0]
    for panel, results in zip(panels, all_results, strict=True):
        _panel(panel, results, [row.name for row in rows], places)
    panels[0].set_yticks(places, [row.label for row in rows])
    panels[0].invert_yaxis()
    for group, colour in COLOURS.items():
        mine = [place for row, place in zip(rows, places, strict=True) if row.group == group]
        if mine:
            panels[0].annotate(
                group,
                (0, mine[0] - 0.66),
                xycoords=("axes fraction", "data"),
                xytext=(-6, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontweight="bold",
                color=colour,
            )
    figure.suptitle("From connect() to the first byte of the answer: median", fontsize=14, fontweight="bold")
    shades = [
        Patch(color=COLOURS[SOCKS6], label="client to proxy"),
        Patch(color=_tint(COLOURS[SOCKS6]), label="proxy to origin"),
        Line2D([], [], color=INK, linewidth=1, label=f"middle 80 % of {len(rows[0].seconds)} requests"),
    ]
    figure.legend(handles=shades, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(part + (1 - part) * TINT for part in to_rgb(colour))


def _middle(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the middle four fifths."""
    ordered = sorted(seconds)
    outside = len(ordered) // 10
    return ordered[outside], ordered[-1 - outside]


def _places(rows: Sequence[Measured]) -> list[float]:
    """Return where each bar goes: groups stand apart."""
    places: list[float] = []
    for number, row in enumerate(rows):
        new = number == 0 or rows[number - 1].group != row.group
        places.append((places[-1] if places else 0.0) + 1 + (GAP if new else 0))
    return places


def _panel(panel: Axes, results: Results, names: Sequence[str], places: Sequence[float]) -> None:
    rows = [row for row in results.rows if row.name in names]
    trip = results.round_trip
    for row, place in zip(rows, places, strict=True):
        far = results.far_part(row) / trip
        near = results.near_trips(row)
        colour = COLOURS[row.group]
        panel.barh(place, near, BAR, color=colour)
        panel.barh(place, far, BAR, left=near, color=_tint(colour))
        low, high = (seconds / trip for seconds in _middle(row.seconds))
        panel.plot((low, high), (place, place), color=INK, linewidth=1)
        panel.annotate(
            f"{row.median * 1e3:.0f} ms",
            (min(max(high, near + far), MOST - 0.5), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    panel.set_title(
        f"proxy {results.delay * 1e3:g} ms away, origin {results.far_delay * 1e3:g} ms further (one way)",
        fontsize=11,
    )
    panel.set_xlabel("round trips between client and proxy")
    panel.set_xlim(0, MOST + 0.4)
    panel.xaxis.set_ticks(range(MOST + 1))
    panel.grid(axis="x", color=FAINT)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
