"""What the figures of pairs come to: a table, and the aims beside them; as Markdown and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.load.pairs.cells import AIMS, CELLS
from benchmarks.load.pairs.makers import PAIRS

TITLE: Final = "Pairs: a client's process and a server's"
EXPLANATION: Final = """\
A load generator speaks SOCKS 5 to the client's process. CPU and memory are of both processes; beside the sum stand
the medians of the client's part and the server's. Lower is better. Pairs take turns. On a machine that others use, the least of
a pair's samples is nearer to the truth than the median, and a ratio nearer than either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One cell of one pair: the figure of each sample, and the parts that processes have in it."""

    values: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the figures."""
        return median(self.values)

    @property
    def typical_parts(self) -> dict[str, float]:
        """The median of each part."""
        return {name: median(each[name] for each in self.parts) for name in (self.parts or [{}])[0]}


Results = Mapping[str, Mapping[str, Figures]]
"""By cell, then by pair; pairs without figures are left out."""


def aim_lines(results: Results) -> list[str]:
    """Return the aims whose figures are there, and what came of them, as a table."""
    lines = []
    for aim in AIMS:
        found = results.get(aim.cell, {})
        ours, theirs = found.get(aim.pair), found.get(aim.against)
        if ours is None or (aim.against and theirs is None):
            continue
        seen = ours.median / (theirs.median if theirs else 1.0)
        at_best = min(ours.values) / (min(theirs.values) if theirs else 1.0)
        whom = f" of {PAIRS[aim.against].label}" if aim.against else ""
        mark = "✓" if seen <= aim.most else "✗"
        lines.append(
            f"| {PAIRS[aim.pair].label}: {CELLS[aim.cell].title} | ≤ {aim.most:g}{whom} "
            f"| {number(seen)} {mark} | {number(at_best)} |"
        )
    return ["| aim | | reached | by the least of each |", "|---|---|---:|---:|", *lines, ""] if lines else []


def cell_lines(cell: str, found: Mapping[str, Figures]) -> list[str]:
    """Return the table of one cell."""
    base = found.get("xray-tls") if CELLS[cell].load else None  # it replies before it asks
    lines = [f"## {CELLS[cell].title}", ""]
    lines += ["| pair | median | least | client + server | of Xray |", "|---|---:|---:|---:|---:|"]
    for name, figures in found.items():
        shares = " + ".join(map(number, figures.typical_parts.values()))
        to_base = number(figures.median / base.median) if base and base.median else ""
        lines.append(
            f"| {PAIRS[name].label} | {number(figures.median)} | {number(min(figures.values))} | {shares} | {to_base} |"
        )
    return [*lines, ""]


def markdown(results: Results, notes: Sequence[str], about: Mapping[str, str]) -> str:
    """Return the whole report."""
    lines = [f"# {TITLE}", "", EXPLANATION, "", *aim_lines(results)]
    for cell, found in results.items():
        if found:
            lines += cell_lines(cell, found)
    lines += [*(f"- {note}" for note in notes), ""]
    lines += ["## Where", "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def write(
    directory: Path, suite: str, results: Results, notes: Sequence[str], about: Mapping[str, str]
) -> Path:
    """Write `<date>-<suite>.json` and `.md`; return the latter's path."""
    directory.mkdir(parents=True, exist_ok=True)
    base = directory / f"{about['date'].split()[0]}-{suite}"
    cells = {
        cell: {name: asdict(figures) for name, figures in found.items()} for cell, found in results.items()
    }
    whole = {"suite": suite, "machine": dict(about), "notes": list(notes), "cells": cells}
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    page = base.with_suffix(".md")
    page.write_text(markdown(results, notes, about))
    return page


def number(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
