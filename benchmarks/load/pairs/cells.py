"""What is measured of pairs: the cells, with one figure each, and the aims."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.load.suites import Cell, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCell:
    """One figure of each pair; lower is better. `load` is what makes it; the delayed link's cells have none."""

    name: str
    title: str
    load: Cell | None
    count: Callable[[Sample], float] = lambda sample: sample.count / 1e6
    """What the CPU seconds of both processes are divided by."""
    samples: int | None = None
    """How often; as often as asked for if None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a pair's figure is to be: at most so much, or at most so many times another pair's."""

    cell: str
    pair: str
    most: float
    against: str = ""


CELLS: Final = {
    cell.name: cell
    for cell in (
        PairCell(
            name="connect",
            title="CPU µs a connection (connect, 64 B there and back, close), 16 at once",
            load=Cell(name="connect", mode="connect", connections=16, most=15_000),
        ),
        PairCell(
            name="round-trips",
            title="CPU µs a round trip of 64 B, 1 connection",
            load=Cell(name="round-trips", mode="ping", connections=1),
        ),
        PairCell(
            name="bulk",
            title="CPU s a GB downloaded, 1 connection",
            load=Cell(name="bulk", mode="down", connections=1),
            count=lambda sample: sample.bytes / 1e9,
        ),
        PairCell(
            name="udp",
            title="CPU µs a datagram of 1200 B, 32 associations",
            load=Cell(name="udp", mode="udp", connections=32, size=1200),
        ),
        PairCell(
            name="memory",
            title="memory (PSS), KB an idle connection, of 1000",
            load=Cell(name="memory", mode="idle", connections=1000),
            samples=1,
        ),
        PairCell(name="reply", title="round trips to the SOCKS 5 reply, delayed link", load=None),
        PairCell(name="first-byte", title="round trips to the origin's first byte, delayed link", load=None),
    )
}
AIMS: Final = (
    Aim(cell="connect", pair="ours-tls", most=0.65, against="xray-tls"),
    Aim(cell="connect", pair="ours-quic", most=0.4, against="xray-tls"),
    Aim(cell="connect", pair="ours-plain", most=1.8, against="shadowsocks"),
    Aim(cell="round-trips", pair="ours-tls", most=90),
    Aim(cell="bulk", pair="ours-tls", most=1.2, against="shadowsocks"),
    Aim(cell="reply", pair="ours-tls", most=1.05),
    Aim(cell="reply", pair="ours-quic", most=1.05),
    Aim(cell="first-byte", pair="ours-tls-optimistic", most=1.05),
    Aim(cell="first-byte", pair="ours-quic-optimistic", most=1.05),
)


def figure(cell: PairCell, sample: Sample) -> float:
    """Return a cell's figure. Raises ZeroDivisionError where nothing came through."""
    if cell.load is not None and cell.load.mode == "idle":
        return sample.pss / 1024 / sample.connections
    return sum(parts(cell, sample).values())


def parts(cell: PairCell, sample: Sample) -> dict[str, float]:
    """Return what each process has of a CPU figure."""
    return {name: spent / cell.count(sample) for name, spent in sample.cpu.items()}
