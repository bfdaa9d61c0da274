"""What each way between a client and a server gives over a link that takes time and loses packets.

Downloads, many small fetches, and a game's datagrams, through `socks6 client` and `socks6 server` over the project's link
(tests/kit/link): a round trip of 50 ms, 100 Mbit/s, a queue of 256 KiB. Needs root and /dev/net/tun; takes less than four minutes.
"""

import argparse
import contextlib
import functools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.load import machine
from benchmarks.load.alone import NotAloneError, alone, leave
from benchmarks.load.peers import ROOT
from tests.kit.certificates import write_certificate
from tests.kit.link.cable import LINK_OBSTACLE, Cable, chain
from tests.kit.netns import Road
from tests.kit.origins import Place, Site, web_site
from tests.kit.proxies import Proxy, converter, server
from tests.kit.socks5_client import socks5_association
from tests.kit.socks_messages import socks5_request
from tests.kit.udp_hosts import udp_echo

SUITE: Final = "links"
RESULTS: Final = ROOT / "benchmarks" / "results"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
DELAY: Final = 0.025  # one way
RATE: Final = 12.5e6
LOSSES: Final = (0.0, 0.001, 0.01)
BULK_SECONDS: Final = 5.0
BULK_BYTES: Final = 1 << 30  # more than there is time for
SMALL_BYTES: Final = 20_000
SMALL_ROUNDS: Final = 20
AT_ONCE: Final = 4
PAUSE: Final = 0.1
GAME_RATE: Final = 50.0
GAME_BYTES: Final = 100
GAME_LOSS: Final = 0.01
GAME_SECONDS: Final = 6.0
LATE: Final = 1.0  # seconds, after which an answer counts as lost
HOST: Final = "10.66.1.2"  # the server's, at the link's end


@dataclass(frozen=True, slots=True)
class Way:
    """How a converter reaches a server."""

    name: str
    transport: str = ""
    query: str = ""  # of the converter's URL
    backend: str = ""  # QUIC's library, of both
    congestion: str = ""  # TCP's congestion control

    @property
    def listeners(self) -> tuple[str, ...]:
        """The transports that the server listens with."""
        return ("quic", "tls") if self.transport == "auto" else (self.transport,)


TLS_CUBIC: Final = Way("TLS, cubic", "tls", congestion="cubic")
TLS_BBR: Final = Way("TLS, bbr", "tls", congestion="bbr")
QH3: Final = Way("QUIC, qh3", "quic", backend="qh3")
AIOQUIC: Final = Way("QUIC, aioquic", "quic", backend="aioquic")
STREAMS: Final = (TLS_CUBIC, TLS_BBR, QH3, AIOQUIC)
AUTO_BBR: Final = Way("auto, the second download (bbr)", "auto", backend="qh3", congestion="bbr")
DATAGRAMS: Final = (
    Way("UDP"),
    Way("DTLS", "tls"),
    QH3,
    AIOQUIC,
    Way("TLS, on the stream", "tls", "&udp=stream", congestion="cubic"),
)


@contextlib.contextmanager
def pair(way: Way, road: Road, folder: Path) -> Iterator[Proxy]:
    """Run a server at the link's end and a converter at its beginning; yield the converter."""
    files = write_certificate(folder, HOST)
    port = 8389
    listens: list[str] = []
    for transport in way.listeners:
        backend = f"&backend={way.backend}" if transport == "quic" else ""
        query = f"?{files.listener_query}{backend}" if transport else ""
        listens += ["--listen", f"socks6{'+' * bool(transport)}{transport}://{HOST}:{port}{query}"]
    congestion = ("--tcp-congestion", way.congestion) if way.congestion else ()
    query = f"?ca={files.ca}{way.query}" if way.transport else ""
    if way.backend:
        query += f"&backend={way.backend}"
    via = f"socks6{'+' * bool(way.transport)}{way.transport}://{HOST}:{port}{query}"
    with contextlib.ExitStack() as held:
        with road.last.entered():
            held.enter_context(server(*listens, "--allow-private", "--open", *congestion))
        with road.first.entered():
            yield held.enter_context(converter(via))


def fetch(near: Place, site: Site, size: int, seconds: float = 60.0) -> tuple[int, float, float]:
    """Fetch a file through a SOCKS 5 proxy; return its bytes, and seconds to the first one and to the last.

    What is not there after `seconds` of body is given up.
    """
    began = time.monotonic()
    with near.connected() as sock:
        sock.sendall(b"\5\1\0")
        sock.recv(2)
        sock.sendall(socks5_request(1, site.host, site.port))
        answer = b""
        while len(answer) < 10:
            answer += sock.recv(10 - len(answer))
        sock.sendall(f"GET /big/{size} HTTP/1.0\r\n\r\n".encode())
        first = 0.0
        came = 0
        while data := sock.recv(1 << 18):
            now = time.monotonic()
            first = first or now - began
            came += len(data)
            if now - began - first > seconds:
                break
        return came, first, time.monotonic() - began


def download(way: Way, seconds: float, near: Place, site: Site, _: Place) -> tuple[float, ...]:
    """Return Mbit/s."""
    if way.transport == "auto":
        fetch(near, site, BULK_BYTES, seconds)
    came, first, whole = fetch(near, site, BULK_BYTES, seconds)
    return (came * 8 / (whole - first) / 1e6,)


def small_fetches(rounds: int, near: Place, site: Site, _: Place) -> tuple[float, ...]:
    """Return `quantiles` of what each of many small files took, some at a time."""
    fetch(near, site, 100)
    took: list[float] = []
    for _round in range(rounds):
        threads = [
            threading.Thread(target=lambda: took.append(fetch(near, site, SMALL_BYTES)[2]))
            for _thread in range(AT_ONCE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(PAUSE)
    return quantiles(took)


def play(seconds: float, near: Place, _: Site, echo: Place) -> tuple[float, ...]:
    """Send as a game does; return `quantiles` of the time to each answer."""
    with socks5_association(near) as client:
        client.ask(echo.host, echo.port, b"first")
        sent: list[float] = []
        came: dict[int, float] = {}

        def receive() -> None:
            client.udp.settimeout(LATE)
            with contextlib.suppress(TimeoutError, OSError):
                while len(came) < GAME_RATE * seconds:
                    number = int.from_bytes(client.receive().data[:4], "big")
                    came[number] = time.monotonic() - sent[number]

        receiver = threading.Thread(target=receive)
        receiver.start()
        began = time.monotonic()
        for number in range(int(GAME_RATE * seconds)):
            time.sleep(max(0.0, began + number / GAME_RATE - time.monotonic()))
            sent.append(time.monotonic())
            client.send(echo.host, echo.port, number.to_bytes(4, "big") * (GAME_BYTES // 4))
        receiver.join()
        return quantiles([min(LATE, came.get(number, LATE)) for number in range(len(sent))])


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one way."""

    table: str
    way: str
    loss: float
    figures: tuple[float, ...]
    failure: str = ""


Measure: TypeAlias = Callable[[Place, Site, Place], tuple[float, ...]]


def quantiles(seconds: Sequence[float]) -> tuple[float, ...]:
    """Return the 50th, 90th and 99th percentile, and the most, in ms; and the share that took LATE or more, in %."""
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.9, 0.99, 1.0)]
    lost = sum(each >= LATE for each in ordered)
    return (*(each * 1e3 for each in at), 100 * lost / len(ordered))


def _measured(table: str, way: Way, loss: float, measure: Measure) -> Row:
    """Measure one way on a link of its own, whose lost packets are always the same."""
    print(f"  {table}: {way.name}, {loss:.1%} lost", file=sys.stderr, flush=True)
    cable = Cable.both(delay=DELAY, loss=loss, rate=RATE, seed=5)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="socks6-") as folder,
            chain(cable) as road,
            contextlib.ExitStack() as held,
        ):
            with road.last.entered():
                site, echo = held.enter_context(web_site(HOST)), held.enter_context(udp_echo(HOST))
            near = held.enter_context(pair(way, road, Path(folder)))
            with road.first.entered():
                return Row(table, way.name, loss, measure(near.place, site, echo))
    except (OSError, AssertionError) as error:
        return Row(table, way.name, loss, (), str(error).splitlines()[0])


def cells(part: int) -> Iterator[tuple[str, Way, float, Measure]]:
    """Yield what is to be measured: the table, the way, the share of packets that get lost, and how; each takes a `part` of its time."""
    for loss in LOSSES:
        for way in (*STREAMS, AUTO_BBR):
            yield "bulk", way, loss, functools.partial(download, way, BULK_SECONDS / part)
    for loss in (LOSSES[0], LOSSES[-1]):
        for way in STREAMS:
            yield "small", way, loss, functools.partial(small_fetches, SMALL_ROUNDS // part)
    for way in DATAGRAMS:
        yield "game", way, GAME_LOSS, functools.partial(play, GAME_SECONDS / part)


TABLES: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "bulk": ("One download, Mbit/s of 100", ("Mbit/s",)),
    "small": (f"{SMALL_BYTES} bytes fetched, {AT_ONCE} at a time, ms", ("median", "90 %", "99 %", "most")),
    "game": (
        f"{GAME_RATE:.0f} datagrams of {GAME_BYTES} bytes a second and their echo, ms",
        ("median", "90 %", "99 %", "most", f"lost or later than {LATE:g} s, %"),
    ),
}


def markdown(measured: Sequence[Row], about: Mapping[str, str]) -> str:
    """Return the report."""
    assert __doc__ is not None
    lines = ["# Over a link that loses packets", "", __doc__.partition("\n\n")[2].strip(), ""]
    for table, (title, columns) in TABLES.items():
        lines += [
            f"## {title}",
            "",
            f"| way | lost | {' | '.join(columns)} |",
            f"|---|---:|{'---:|' * len(columns)}",
        ]
        for row in measured:
            if row.table == table:
                figures = " | ".join(f"{figure:.1f}" for figure in row.figures[: len(columns)])
                lines.append(f"| {row.way} | {row.loss:.1%} | {row.failure or figures} |")
        lines.append("")
    return (
        "\n".join([*lines, "## Where", "", *(f"- {name}: {value}" for name, value in about.items())]) + "\n"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write, alone on this machine."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {SUITE}", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, not kept among the results")
    parser.add_argument("--rows", default="", help="only rows whose table and way have this in it")
    parser.add_argument("--output", type=Path, help="directory for the results")
    asked = parser.parse_args(words)
    if LINK_OBSTACLE:
        print(LINK_OBSTACLE, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, leave)
    about = machine.describe()
    output: Path = asked.output or (QUICK_RESULTS if asked.quick else RESULTS)
    try:
        with alone():
            part = 3 if asked.quick else 1
            measured = [_measured(*cell) for cell in cells(part) if asked.rows in f"{cell[0]} {cell[1].name}"]
    except NotAloneError as error:
        print(error, file=sys.stderr)
        return 1
    about["load average at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{about['date'].partition(' ')[0]}-{SUITE}.json"
    path.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in measured]}, indent=1) + "\n")
    text = markdown(measured, about)
    path.with_suffix(".md").write_text(text)
    print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
