"""Turn samples into medians and ratios, and write them as JSON and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.load.peers import PEERS
from benchmarks.load.suites import DISTURBED, Cell, Metric, Sample, Suite

Samples = Mapping[str, Sequence[Sample]]
"""The samples of one cell by the name of the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """Everything seen of one cell."""

    cell: Cell
    samples: Samples
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A metric over the repetitions."""

    median: float
    least: float
    most: float


def figure(metric: Metric, samples: Sequence[Sample]) -> Figure | None:
    """Return the metric's median and spread, or None where it means nothing."""
    values = [value for value in map(metric.compute, samples) if value is not None]
    return Figure(median=median(values), least=min(values), most=max(values)) if values else None


def best_peer(metric: Metric, samples: Samples) -> float | None:
    """Return the best median of those that are neither ours nor the direct way."""
    figures = [
        found.median
        for name, taken in samples.items()
        if not PEERS[name].ours and PEERS[name].protocol != "direct" and (found := figure(metric, taken))
    ]
    if not figures:
        return None
    return max(figures) if metric.higher_is_better else min(figures)


def ratio(metric: Metric, name: str, samples: Samples, against: str) -> float | None:
    """Return a peer's figure divided by the best peer's (`best`) or by a named peer's."""
    own = figure(metric, samples[name])
    if against == "best":
        base = best_peer(metric, samples)
    else:
        other = figure(metric, samples.get(against, ()))
        base = other.median if other else None
    return own.median / base if own and base else None


def _verdict(metric: Metric, name: str, samples: Samples) -> str:
    """Return whether ours reaches the aim, as one mark."""
    if metric.aim is None or not PEERS[name].ours:
        return ""
    if metric.against:
        reached = ratio(metric, name, samples, metric.against)
    else:
        own = figure(metric, samples[name])
        reached = own.median if own else None
    if reached is None:
        return ""
    fine = reached >= metric.aim if metric.higher_is_better else reached <= metric.aim
    return " ✓" if fine else " ✗"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ratio_table(suite: Suite, result: CellResult) -> list[str]:
    metrics = [metric for metric in suite.metrics if metric.in_ratios]
    columns = [(metric, against) for metric in metrics for against in ("best", "microsocks")]
    titles = [f"{metric.name} ÷ {'best peer' if a == 'best' else a}" for metric, a in columns]
    lines = ["| peer | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(columns)]
    for name in result.samples:
        cells = []
        for metric, against in columns:
            mark = _verdict(metric, name, result.samples) if metric.against == against else ""
            cells.append(_number(ratio(metric, name, result.samples, against)) + mark)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _figure_table(suite: Suite, result: CellResult) -> list[str]:
    titles = [metric.name for metric in suite.metrics]
    lines = ["| peer | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name, samples in result.samples.items():
        cells = []
        for metric in suite.metrics:
            found = figure(metric, samples)
            mark = "" if metric.against else _verdict(metric, name, result.samples)
            spread = f" ({_number(found.least)} to {_number(found.most)})" if found else ""
            cells.append(_number(found.median if found else None) + spread + mark)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _notes(result: CellResult) -> list[str]:
    lines = [f"- {name} failed: {why}" for name, why in result.failures.items()]
    errors = {name: sum(sample.errors for sample in taken) for name, taken in result.samples.items()}
    lines += [f"- {name}: {count} failed connections" for name, count in errors.items() if count]
    shares = [sample.disturbance for taken in result.samples.values() for sample in taken if sample.load_cpu]
    if shares:
        noise = f"{median(shares):.0%} of a core (worst {max(shares):.0%})"
        doubt = ": rates and times are not to be relied upon, CPU figures are high" * (
            median(shares) > DISTURBED
        )
        lines.append(f"- others on this machine meanwhile: {noise}{doubt}")
    for name, taken in result.samples.items():
        if taken and len(taken[-1].cpu) > 1:
            parts = ", ".join(f"{part} {spent:.2f}" for part, spent in taken[-1].cpu.items())
            lines.append(f"- {name}: CPU seconds in the last repetition: {parts}")
    return lines


def _aims(suite: Suite) -> list[str]:
    lines = []
    for metric in suite.metrics:
        if metric.aim is not None:
            sign = "≥" if metric.higher_is_better else "≤"
            whom = "best peer" if metric.against == "best" else metric.against
            lines.append(f"{metric.name} {sign} {metric.aim:g}{f' of {whom}' if whom else ''}")
    return [f"Aims for ours: {'; '.join(lines)}.", ""] if lines else []


def markdown(suite: Suite, results: Sequence[CellResult], machine: Mapping[str, str]) -> str:
    """Return the whole report of one suite, ratios first."""
    lines = [f"# {suite.title}", "", *_aims(suite), "## Ratios", ""]
    for result in results:
        lines += [f"### {result.cell.name}", "", *_ratio_table(suite, result), ""]
    lines += ["## Figures: median (least to most)", ""]
    for result in results:
        lines += [f"### {result.cell.name}", "", *_figure_table(suite, result), "", *_notes(result), ""]
    lines += ["## Where", "", *(f"- {name}: {value}" for name, value in machine.items())]
    return "\n".join(lines) + "\n"


def write(directory: Path, suite: Suite, results: Sequence[CellResult], machine: Mapping[str, str]) -> Path:
    """Write `<date>-<suite>.json` and `.md`, and return the latter's path."""
    directory.mkdir(parents=True, exist_ok=True)
    base = directory / f"{machine['date'].split()[0]}-{suite.name}"
    whole = {
        "suite": suite.name,
        "machine": dict(machine),
        "cells": [
            {
                "cell": asdict(result.cell),
                "failures": dict(result.failures),
                "peers": {
                    name: {
                        "metrics": _metrics(suite, name, result.samples),
                        "samples": list(map(asdict, taken)),
                    }
                    for name, taken in result.samples.items()
                },
            }
            for result in results
        ],
    }
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    page = base.with_suffix(".md")
    page.write_text(markdown(suite, results, machine))
    return page


def _metrics(suite: Suite, name: str, samples: Samples) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for metric in suite.metrics:
        value = figure(metric, samples[name])
        if value is not None:
            ratios = {
                f"to {against}": ratio(metric, name, samples, against) for against in ("best", "microsocks")
            }
            found[metric.name] = {**asdict(value), **ratios}
    return found
