"""The picture of page loads: a bar for each way, a dot for each load. Needs matplotlib (`pip install --group plot`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.load.round_trips.plot import FAINT, INK, STYLE

OURS, OTHERS = "#1f67b3", "#7a7f87"
NAME: Final = "page.svg"


def draw(taken: Mapping[str, Sequence[float]], directory: Path) -> Path:
    """Draw the seconds of each way by its label; write an SVG, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.4 + 0.42 * len(taken)), layout="constrained")
        panel = figure.subplots()
        most = max(max(seconds) for seconds in taken.values()) * 1e3
        for place, (label, seconds) in enumerate(taken.items()):
            middle = median(seconds) * 1e3
            panel.barh(place, middle, 0.68, color=OURS if label.startswith("ours") else OTHERS)
            panel.plot([each * 1e3 for each in seconds], [place] * len(seconds), "|", color=INK, markersize=9)
            panel.annotate(
                f"{middle:.0f} ms",
                (max(seconds) * 1e3, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        panel.set_yticks(range(len(taken)), list(taken))
        panel.invert_yaxis()
        panel.set_xlim(0, most * 1.12)
        panel.set_xlabel("milliseconds from navigation to the load event: median, and each load")
        panel.set_title("A page of 100 small resources in Chromium, over a link of 40 ms", fontweight="bold")
        panel.grid(axis="x", color=FAINT)
        panel.set_axisbelow(True)
        panel.tick_params(length=0)
        for side in ("top", "right", "bottom"):
            panel.spines[side].set_visible(False)
        path = directory / NAME
        figure.savefig(path, metadata={"Date": None})
    return path
