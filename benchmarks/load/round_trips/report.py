"""What the measured times come to: medians, round trips, whether the aims are reached; as JSON and as tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.load.round_trips.rows import Row

SUITE: Final = "first-byte"
TITLE: Final = "Time to the first byte"
SLACK: Final = 0.05
"""What a time may be above its aim, as a share of it."""
EXPLANATION: Final = """\
From `connect()` to the first byte of the answer. A round trip is what `connect()` alone takes over the same link in
the same minutes. A row *ought* to take so many of them between client and proxy; it *took* its median less the part
between proxy and origin, which is a round trip there to connect and another to ask, or one if the request is in the
SYN."""
EXACTLY: Final = 0.1
"""What a number of round trips may be off, to count as a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A row, and the seconds that each of its repetitions took; or why there are none."""

    name: str
    label: str
    group: str
    near: int
    far: int
    seconds: tuple[float, ...] = ()
    failure: str = ""

    @classmethod
    def of(cls, row: Row, seconds: Sequence[float], failure: str = "") -> "Measured":
        """Return what was measured of a row."""
        return cls(
            name=row.name,
            label=row.label,
            group=row.group,
            near=row.near,
            far=row.far,
            seconds=tuple(seconds),
            failure=failure,
        )

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All rows over links with certain one-way delays in seconds."""

    delay: float
    far_delay: float
    ping: Measured
    far_ping: Measured
    rows: tuple[Measured, ...]

    @property
    def round_trip(self) -> float:
        """Seconds from client to proxy and back: what `connect()` alone takes."""
        return self.ping.median

    def far_part(self, row: Measured) -> float:
        """Return the seconds that a row needs between proxy and origin, of which `connect()` alone takes one."""
        return self.far_ping.median * row.far

    def near_trips(self, row: Measured) -> float:
        """Return the round trips between client and proxy: the median without the part behind the proxy."""
        return (row.median - self.far_part(row)) / self.round_trip

    def find(self, name: str) -> Measured | None:
        """Return a row that was measured, by its name."""
        return next((row for row in self.rows if row.name == name and row.seconds), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim of the issue, and what came of it."""

    text: str
    seen: str
    reached: bool


def aims(results: Results) -> Iterator[Aim]:
    """Judge what was measured; aims whose rows are missing are left out."""
    for name in ("socks6-token-tfo", "socks6-token-tfo-tfo"):
        if row := results.find(name):
            ideal = results.round_trip + results.far_part(row)
            trips = "connect and request" if row.far == 2 else "the request in the SYN"
            yield Aim(
                text=f"{row.group}, {row.label}: within {SLACK:.0%} of one round trip and the part from proxy to "
                f"origin ({trips})",
                seen=f"{_ms(row.median)} instead of {_ms(ideal)}, {row.median / ideal - 1:+.1%}",
                reached=row.median <= (1 + SLACK) * ideal,
            )
    for name, fewer in (("socks5", 1), ("socks5-password", 2)):
        if (other := results.find(name)) and (ours := results.find("socks6")):
            difference = (other.median - ours.median) / results.round_trip
            yield Aim(
                text=f"SOCKS 6, plain: {fewer} round trip{'s' * (fewer > 1)} fewer than SOCKS 5, {other.label}",
                seen=f"{difference:.2f} fewer",
                reached=abs(difference - fewer) <= EXACTLY,
            )


def markdown(all_results: Sequence[Results], about: Mapping[str, str]) -> str:
    """Return the whole report."""
    lines = [f"# {TITLE}", "", EXPLANATION, ""]
    for results in all_results:
        lines += [*_section(results), ""]
    lines += ["## Where", "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def _section(results: Results) -> list[str]:
    return [
        f"## Client to proxy {results.delay * 1e3:g} ms, proxy to origin {results.far_delay * 1e3:g} ms, one way",
        "",
        *(f"- {'✓' if aim.reached else '✗'} {aim.text}: {aim.seen}" for aim in aims(results)),
        f"- round trips: {_ms(results.ping.median)} to the proxy, {_ms(results.far_ping.median)} on to the origin",
        "",
        "| | way | ought | took | median ms (least to most) |",
        "|---|---|---:|---:|---:|",
        *(_line(results, row) for row in results.rows),
    ]


def _line(results: Results, row: Measured) -> str:
    if not row.seconds:
        return f"| {row.group} | {row.label} | {row.near} | | failed: {row.failure} |"
    least, most = min(row.seconds) * 1e3, max(row.seconds) * 1e3
    return (
        f"| {row.group} | {row.label} | {row.near} | {results.near_trips(row):.2f} "
        f"| {row.median * 1e3:.1f} ({least:.1f} to {most:.1f}) |"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def write(directory: Path, all_results: Sequence[Results], about: Mapping[str, str]) -> Path:
    """Write `<date>-first-byte.json` and `.md`; return the former's path."""
    directory.mkdir(parents=True, exist_ok=True)
    base = directory / f"{about['date'].split()[0]}-{SUITE}"
    whole = {"suite": SUITE, "machine": dict(about), "results": [asdict(results) for results in all_results]}
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    base.with_suffix(".md").write_text(markdown(all_results, about))
    return base.with_suffix(".json")


def read(path: Path) -> list[Results]:
    """Return the results in a JSON file."""
    return [
        Results(
            delay=each["delay"],
            far_delay=each["far_delay"],
            ping=_measured(each["ping"]),
            far_ping=_measured(each["far_ping"]),
            rows=tuple(map(_measured, each["rows"])),
        )
        for each in json.loads(path.read_text())["results"]
    ]


def _measured(saved: dict[str, object]) -> Measured:
    saved["seconds"] = tuple(saved["seconds"])  # type: ignore[arg-type]  # as `write` wrote it
    return Measured(**saved)  # type: ignore[arg-type]  # the same
