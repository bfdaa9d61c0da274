"""README's table of figures, made from the newest results file of each suite: no figure stands there without one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "benchmarks" / "results"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- figures: written by `make docs` -->\n"
END: Final = "<!-- end of the figures -->\n"
COLUMNS: Final = ("socks6", "dante", "microsocks")


class Row(NamedTuple):
    """One line: what it is about, where it stands in a results file, and the peer of each column, if it has one."""

    words: str
    suite: str
    cell: str
    metric: str
    peers: tuple[str, str, str]
    absent: str = ""


ROWS: Final = (
    Row("bulk, one download: GB/s", "bulk", "download, 1 connection", "GB/s", ("socks6", "danted", "microsocks")),
    Row("CPU seconds a GB", "bulk", "download, 1 connection", "CPU s/GB", ("socks6", "danted", "microsocks")),
    Row("CPU ms a CONNECT", "connect", "16 at once", "CPU ms/CONNECT", ("socks6", "danted", "microsocks")),
    Row(
        "KB an idle connection, of 9 000", "memory", "9000 connections", "PSS KB/connection",
        ("socks6", "danted", "microsocks"),
    ),
    Row(
        "TLS, one download: CPU seconds a GB (dante behind haproxy)", "tls", "download, 1 connection", "CPU s/GB",
        ("socks6-tls", "haproxy-danted", ""), "no TLS",
    ),
    Row("QUIC, one download: GB/s", "tls", "download, 1 connection", "GB/s", ("socks6-quic", "", ""), "no QUIC"),
    Row("QUIC: CPU seconds a GB", "tls", "download, 1 connection", "CPU s/GB", ("socks6-quic", "", ""), "no QUIC"),
    Row(
        "CPU µs a UDP datagram, 1200 bytes, 100 associations", "udp", "1200 B, 100 associations", "CPU µs/datagram",
        ("socks6-udp", "danted-udp", ""), "no UDP",
    ),
)  # fmt: skip


def readme() -> str:
    """Return README.md with the figures of the results files."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return "".join((before, BEGIN, *table(), END, after))


def table() -> list[str]:
    """Return the lines of the table."""
    rows = [_line(row) for row in ROWS]
    return [f"| | {' | '.join(COLUMNS)} | results |\n", "|---|---:|---:|---:|---|\n", *rows]


def _line(row: Row) -> str:
    path = max(RESULTS.glob(f"*-{row.suite}.json"))  # their names begin with the date
    cells = {cell["cell"]["name"]: cell["peers"] for cell in json.loads(path.read_text())["cells"]}
    figures = [_figure(cells[row.cell], peer, row) for peer in row.peers]
    name = path.with_suffix(".md").name
    return f"| {row.words} | {' | '.join(figures)} | [{name}](benchmarks/results/{name}) |\n"


def _figure(peers: Mapping[str, Any], peer: str, row: Row) -> str:
    if not peer:
        return row.absent
    median: float = peers[peer]["metrics"][row.metric]["median"]
    return f"{median:.0f}" if median >= 10 else f"{median:.2g}"
