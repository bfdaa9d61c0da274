"""The picture: a bar for each row, cut into what the legs take. Needs matplotlib (`pip install --group plot`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.load.round_trips.report import SUITE, Measured, Results
from benchmarks.load.round_trips.rows import CONVERTER, DIRECT, SOCKS5, SOCKS6

COLOURS: Final = {DIRECT: "#7a7f87", SOCKS5: "#d1762c", SOCKS6: "#1f67b3", CONVERTER: "#2a8a7c"}
FAR: Final = 0.45  # how strong the colour of the part behind the proxy is
BAR: Final = 0.72
GAP: Final = 0.55  # between groups, in bars
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
    figure.suptitle("From connect() to the first byte of the answer", fontsize=14, fontweight="bold")
    shades = [
        Patch(color=COLOURS[SOCKS6], label="client to proxy"),
        Patch(color=COLOURS[SOCKS6], alpha=FAR, label="proxy to origin"),
    ]
    figure.legend(handles=shades, loc="outside lower center", ncols=2, frameon=False)
    return figure


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
        panel.barh(place, far, BAR, left=near, color=colour, alpha=FAR, linewidth=0)
        least, most = min(row.seconds) / trip, max(row.seconds) / trip
        panel.plot((least, most), (place, place), color=INK, linewidth=1)
        panel.annotate(
            f"{row.median * 1e3:.0f} ms",
            (most, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    panel.set_title(
        f"proxy {results.delay * 1e3:g} ms away, origin {results.far_delay * 1e3:g} ms further", fontsize=11
    )
    panel.set_xlabel("round trips between client and proxy")
    panel.set_xlim(0, 7)
    panel.xaxis.set_ticks(range(8))
    panel.grid(axis="x", color=FAINT)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
