"""What is measured: every suite with its cells (one load each) and its metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

DISTURBED: Final = 0.25
"""More of a core than this spent on others' work spoils a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one repetition of one cell saw with one peer."""

    seconds: float = 0.0
    count: int = 0
    bytes: int = 0
    errors: int = 0
    p50_us: int = 0
    p99_us: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    load_cpu: float = 0.0
    origin_cpu: float = 0.0
    others_cpu: float = 0.0
    """CPU seconds that the machine spent on what is no part of the benchmark."""
    connections: int = 0
    rss: int = 0
    pss: int = 0
    descriptors: int = 0
    """Growth for all the connections together."""

    @property
    def disturbance(self) -> float:
        """Cores kept busy by others."""
        return self.others_cpu / self.seconds if self.seconds else 0.0

    @property
    def proxy_cpu(self) -> float | None:
        """CPU seconds of all the proxy's processes; None where there is no proxy."""
        return sum(self.cpu.values()) if self.cpu else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure derived from a sample, and what is hoped of ours."""

    name: str
    compute: Callable[[Sample], float | None]
    higher_is_better: bool = False
    aim: float | None = None
    """What the ratio to `against` (or the figure itself when that is empty) should reach."""
    against: str = ""
    """`best` (the best peer that is not ours), the name of a peer, or nothing."""
    in_ratios: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One load."""

    name: str
    mode: str
    connections: int
    most: int = 0
    size: int = 0
    """Of a datagram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Cells measured with the same metrics."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    metrics: tuple[Metric, ...]
    only_usual: bool = True


def _share(numerator: float | None, denominator: float) -> float | None:
    return None if numerator is None or denominator == 0 else numerator / denominator


def _rate(sample: Sample) -> float | None:
    return _share(sample.count, sample.seconds)


def _gigabytes_a_second(sample: Sample) -> float | None:
    return _share(sample.bytes / 1e9, sample.seconds)


def _cpu_of_gigabyte(sample: Sample) -> float | None:
    return _share(sample.proxy_cpu, sample.bytes / 1e9)


def _cpu_milliseconds(sample: Sample) -> float | None:
    return _share(sample.proxy_cpu, sample.count / 1e3)


def _cpu_microseconds(sample: Sample) -> float | None:
    return _share(sample.proxy_cpu, sample.count / 1e6)


def _kilobytes(of: str) -> Callable[[Sample], float | None]:
    def compute(sample: Sample) -> float | None:
        return _share({"rss": sample.rss, "pss": sample.pss}[of] / 1024, sample.connections)

    return compute


BULK: Final = Suite(
    name="bulk",
    title="Bulk throughput",
    cells=(
        Cell(name="download, 1 connection", mode="down", connections=1),
        Cell(name="download, 8 connections", mode="down", connections=8),
        Cell(name="upload, 1 connection", mode="up", connections=1),
        Cell(name="upload, 8 connections", mode="up", connections=8),
    ),
    metrics=(
        Metric(name="GB/s", compute=_gigabytes_a_second, higher_is_better=True, aim=1.0, against="best"),
        Metric(name="CPU s/GB", compute=_cpu_of_gigabyte, aim=0.6, against="best"),
    ),
)
TLS: Final = Suite(
    name="tls",
    title="Bulk throughput of clients that come over TLS, or over QUIC",
    cells=BULK.cells,
    metrics=(
        Metric(name="GB/s", compute=_gigabytes_a_second, higher_is_better=True),
        Metric(name="CPU s/GB", compute=_cpu_of_gigabyte, aim=1.0, against="best"),
    ),
)
CONNECT: Final = Suite(
    name="connect",
    title="CONNECT: connect, handshake, 64 B there and back, close",
    cells=(Cell(name="16 at once", mode="connect", connections=16, most=15_000),),
    metrics=(
        Metric(name="CONNECT/s", compute=_rate, higher_is_better=True),
        Metric(name="CPU ms/CONNECT", compute=_cpu_milliseconds, aim=1.0, against="microsocks"),
        Metric(name="median ms", compute=lambda sample: sample.p50_us / 1e3, in_ratios=False),
        Metric(name="p99 ms", compute=lambda sample: sample.p99_us / 1e3, in_ratios=False),
    ),
    only_usual=False,
)
MESSAGES: Final = Suite(
    name="messages",
    title="Small messages: 64 B there and back",
    cells=(
        Cell(name="1 connection", mode="ping", connections=1),
        Cell(name="32 connections", mode="ping", connections=32),
    ),
    metrics=(
        Metric(name="exchanges/s", compute=_rate, higher_is_better=True, aim=1.0, against="best"),
        Metric(name="CPU µs/exchange", compute=_cpu_microseconds),
        Metric(name="median µs", compute=lambda sample: float(sample.p50_us), in_ratios=False),
        Metric(name="p99 µs", compute=lambda sample: float(sample.p99_us), in_ratios=False),
    ),
)
MEMORY: Final = Suite(
    name="memory",
    title="Memory of an idle relayed connection, after one byte each way",
    cells=(
        Cell(name="4000 connections", mode="idle", connections=4000),
        Cell(name="9000 connections", mode="idle", connections=9000),
    ),
    metrics=(
        Metric(name="PSS KB/connection", compute=_kilobytes("pss"), aim=6.0),
        Metric(name="RSS KB/connection", compute=_kilobytes("rss")),
        Metric(
            name="descriptors/connection",
            compute=lambda sample: _share(sample.descriptors, sample.connections),
            in_ratios=False,
        ),
    ),
)
UDP: Final = Suite(
    name="udp",
    title="Datagrams relayed, there and back through an echo",
    cells=tuple(
        Cell(
            name=f"{size} B, {associations} association{'s' * (associations > 1)}",
            mode="udp",
            connections=associations,
            size=size,
        )
        for size in (200, 1200)
        for associations in (1, 100)
    ),
    metrics=(
        Metric(name="datagrams/s", compute=_rate, higher_is_better=True, aim=2.0, against="danted-udp"),
        Metric(name="beside C", compute=_rate, higher_is_better=True, aim=0.9, against="bare-udp"),
        Metric(name="CPU µs/datagram", compute=_cpu_microseconds),
        Metric(name="lost", compute=lambda sample: float(sample.errors), in_ratios=False),
    ),
)
SUITES: Final = {suite.name: suite for suite in (BULK, TLS, CONNECT, MESSAGES, MEMORY, UDP)}
