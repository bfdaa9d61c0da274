"""How long a pair is out of reach when its network changes, and what becomes of what is open.

Two hosts joined by two links (tests/kit/two_links): a converter on one, servers on the other. For each change and transport: the
seconds until the next request through the converter is answered, and what becomes of a connection that was open. Then ten
downloads whose network changes, and requests under load whose first upstream of two is killed, or stopped. Needs root.
"""

import argparse
import asyncio
import ctypes
import hashlib
import itertools
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.kit.certificates import Files, write_certificate
from tests.kit.netns import OBSTACLE
from tests.kit.origins import Place, checksum, echo, web_site
from tests.kit.proxies import Proxy, converter, server
from tests.kit.two_links import (
    PROXY,
    Change,
    Network,
    another_address,
    another_link,
    another_route,
    away_for_a_moment,
    two_links,
    udp_is_dropped,
)

SUITE: Final = "networks"
TRANSPORTS: Final = ("tls", "quic", "auto")
NAME: Final = "proxy.example"
OTHER: Final = "10.67.1.2"  # where the proxy's name leads later
REQUEST_SECONDS: Final = 90.0
DOWNLOADS: Final = 10
BROKEN_SECONDS: Final = 2.0  # without an answer through a connection that was granted
DOWNLOAD_BYTES: Final = 24 << 20
PIECE: Final = 65536
PIECES_EACH_SECOND: Final = 48  # that a download takes: it lasts 8 s
LOOPS: Final = 4  # of requests, under load
LOAD_HEADS: Final = ("answered", "refused", "broken", "longest gap, s")  # see `Load.cells`
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 0x40000, 0x1000


@dataclass
class Pair:
    """A converter on the near host, and what it reaches through servers on the far one."""

    network: Network
    near: Proxy
    hosts: Path  # the converter's /etc/hosts
    place: Place  # of an echo on the far host
    site: Place

    def connect(self, place: Place) -> socket.socket:
        """Return a connection through the converter; ConnectionError where it is refused."""
        with self.network.near.entered():
            sock = socket.create_connection((self.near.place.host, self.near.place.port), REQUEST_SECONDS)
        sock.sendall(b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton(place.host) + struct.pack("!H", place.port))
        reply = b""
        while len(reply) < 12:
            if not (piece := sock.recv(12 - len(reply))):
                break
            reply += piece
        if reply[:4] != b"\5\0\5\0" or len(reply) < 12:
            sock.close()
            raise ConnectionError(f"reply {reply.hex()}")
        return sock

    def request(self) -> float:
        """Make a request that is answered; return the seconds that it took."""
        began = time.monotonic()
        with self.connect(self.place) as sock:
            ask(sock)
        return time.monotonic() - began


def ask(sock: socket.socket) -> None:
    """Have a byte come back. Raises OSError."""
    sock.sendall(b"?")
    if sock.recv(1) != b"?":
        raise ConnectionResetError("the connection has ended")


@contextmanager
def pair(transport: str, folder: Path, files: Files) -> Iterator[Pair]:
    """Run a pair whose proxy is called NAME."""
    hosts = folder / "hosts"
    hosts.write_text(f"{PROXY} {NAME}\n127.0.0.1 localhost\n")
    kinds = ("tls", "quic") if transport == "auto" else (transport,)
    listen = [
        word for kind in kinds for word in ("--listen", f"socks6+{kind}://0.0.0.0?{files.listener_query}")
    ]
    with ExitStack() as held, two_links() as network:
        with network.far.entered():
            place, site = held.enter_context(echo()), held.enter_context(web_site())
            held.enter_context(server(*listen, "--allow-private", "--open"))
        with network.near.entered():
            near = held.enter_context(converter(f"socks6+{transport}://{NAME}?ca={files.ca}"))
        made = Pair(network, near, hosts, place, Place(host=site.host, port=site.port))
        for _ in range(4):  # so that there are tickets, and spare connections
            made.request()
        if transport == "auto":
            time.sleep(1.0)  # where TLS was first, QUIC is used from now on
            made.request()
        yield made


def elsewhere(made: Pair) -> None:
    """Have the proxy's name lead to another address; the old one is gone, and nobody says so."""
    made.hosts.write_text(f"{OTHER} {NAME}\n127.0.0.1 localhost\n")
    made.network.far.configure(f"address del {PROXY}/32 dev lo", f"route add blackhole {PROXY}")


def asleep(made: Pair, seconds: float) -> None:
    """Stop the converter for a while."""
    made.near.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    made.near.process.send_signal(signal.SIGCONT)


def unplugged(made: Pair, seconds: float) -> None:
    """Take both links down for a while."""
    made.network.near.configure("link set right down", "link set second down")
    time.sleep(seconds)
    made.network.near.configure("link set right up", f"route add {PROXY} via 10.66.1.2 metric 10")


def changes(seconds: float, only: str = "") -> dict[str, Callable[[Pair], None]]:
    """Return the changes by what they are called; `seconds` is how long the long ones last."""

    def in_network(change: Change) -> Callable[[Pair], None]:
        async def carry_out(made: Pair) -> None:
            await change(made.network)

        return lambda made: asyncio.run(carry_out(made))

    every: dict[str, Callable[[Pair], None]] = {
        "another address": in_network(another_address),
        "another link": in_network(another_link),
        "another route, the old one lost silently": in_network(another_route),
        "the proxy's name leads elsewhere": elsewhere,
        "UDP dropped": in_network(udp_is_dropped),
        "no link for 0.3 s": in_network(away_for_a_moment),
        f"no link for {seconds:g} s": partial(unplugged, seconds=seconds),
        f"the converter asleep for {seconds:g} s": partial(asleep, seconds=seconds),
    }
    return {words: change for words, change in every.items() if only in words}


def measure_change(transport: str, change: Callable[[Pair], None], folder: Path, files: Files) -> list[str]:
    """Return the cells of a row: the next request, the one after it, and what became of an open connection."""
    with pair(transport, folder, files) as made, made.connect(made.place) as kept:
        ask(kept)
        change(made)
        began = time.monotonic()
        cells = []
        for _ in range(2):
            try:
                cells.append(f"{made.request():.2f}")
            except OSError as error:
                cells.append(f"failed: {error}")
        kept.settimeout(REQUEST_SECONDS)
        try:
            ask(kept)
            cells.append("goes on")
        except OSError as error:
            words = "silent" if isinstance(error, TimeoutError) else "ends"
            cells.append(f"{words} after {time.monotonic() - began:.0f} s")
    return cells


@dataclass
class Load:
    """Requests in loops: when they were answered, and how others failed."""

    answered: list[float] = field(default_factory=list)
    not_begun: list[str] = field(default_factory=list)  # that failed, before anything was granted
    broken: int = 0  # that ended after they had been granted
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, made: Pair) -> None:
        """Make requests until it is over."""
        while not self.over.is_set():
            try:
                sock = made.connect(made.place)
            except OSError as error:
                self.not_begun.append(str(error))
                continue
            with sock:
                sock.settimeout(BROKEN_SECONDS)
                try:
                    ask(sock)
                    self.answered.append(time.monotonic())
                except OSError:
                    self.broken += 1

    @contextmanager
    def running(self, made: Pair) -> Iterator[None]:
        """Make requests within the block."""
        loops = [threading.Thread(target=self.run, args=(made,)) for _ in range(LOOPS)]
        for loop in loops:
            loop.start()
        try:
            yield
        finally:
            self.over.set()
            for loop in loops:
                loop.join()

    @property
    def cells(self) -> list[str]:
        """How many requests there were, and how many of them failed; the longest pause between two answers, in seconds."""
        times = sorted(self.answered)
        gap = max((after - before for before, after in itertools.pairwise(times)), default=0.0)
        return [str(len(times)), str(len(self.not_begun)), str(self.broken), f"{gap:.2f}"]


@dataclass
class Download:
    """A file that comes as fast as its reader takes it."""

    pause: float = 0.0  # the longest one without a byte
    size: int = 0
    whole: bool = False
    failure: str = ""

    def run(self, made: Pair) -> None:
        """Fetch it."""
        digest, asked = hashlib.sha256(), time.monotonic()
        try:
            with made.connect(made.site) as sock:
                sock.sendall(b"GET /big/%d HTTP/1.0\r\n\r\n" % DOWNLOAD_BYTES)
                head, body = b"", b""
                while not body and (piece := sock.recv(PIECE)):
                    head, _, body = (head + piece).partition(b"\r\n\r\n")
                while body:
                    digest.update(body)
                    time.sleep(1 / PIECES_EACH_SECOND)
                    asked = time.monotonic()
                    body = sock.recv(PIECE)
                    self.pause = max(self.pause, time.monotonic() - asked)
                    self.size += len(body)
            self.whole = digest.hexdigest() == checksum(DOWNLOAD_BYTES)
        except OSError as error:
            self.failure = f"{error} after {time.monotonic() - asked:.0f} s"


def measure_downloads(
    transport: str, change: Callable[[Pair], None], folder: Path, files: Files
) -> list[str]:
    """Change the network under ten downloads, with requests beside them."""
    downloads, load = [Download() for _ in range(DOWNLOADS)], Load()
    with pair(transport, folder, files) as made:
        threads = [threading.Thread(target=one.run, args=(made,)) for one in downloads]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        with load.running(made):
            time.sleep(1.0)
            change(made)
            time.sleep(4.0)
        for thread in threads:
            thread.join()
    told(" ".join(f"{one.size >> 20} MiB {one.failure}" for one in downloads))
    whole = sum(one.whole for one in downloads)
    return [f"{whole} of {DOWNLOADS}", f"{max(one.pause for one in downloads):.2f}", *load.cells]


def measure_upstreams(number: signal.Signals, files: Files) -> list[str]:
    """Kill or stop the first of two upstreams under load."""
    load = Load()
    with ExitStack() as held, two_links() as network:
        with network.far.entered():
            place = held.enter_context(echo())
            listen = "--listen", f"socks6+tls://{PROXY}:0?{files.listener_query}"
            ends = {"ends_with": -signal.SIGKILL} if number == signal.SIGKILL else {}
            first, second = (
                held.enter_context(server(*listen, "--allow-private", "--open", **more))
                for more in (ends, {})
            )
        with network.near.entered():
            via = "\n".join(f"{one.url}?ca={files.ca}&sni={NAME}" for one in (first, second))
            near = held.enter_context(converter(via, "--via-check"))
        made = Pair(network, near, Path(), place, place)
        made.request()
        with load.running(made):
            time.sleep(2.0)
            first.process.send_signal(number)
            time.sleep(6.0)
        with suppress(ProcessLookupError):
            first.process.send_signal(signal.SIGCONT)
    return load.cells


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def own_hosts(path: Path) -> None:
    """Have this process, and those that it starts, read another /etc/hosts."""
    libc = ctypes.CDLL(None, use_errno=True)
    path.touch()
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        or libc.mount(os.fsencode(path), b"/etc/hosts", None, MS_BIND, None)
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def changes_table(
    transports: Sequence[str], done: dict[str, Callable[[Pair], None]], folder: Path, files: Files
) -> str:
    """Measure each change over each transport."""
    rows = []
    for (words, change), transport in itertools.product(done.items(), transports):
        if words != "UDP dropped" or transport == "auto":
            told(f"{words}, {transport}")
            rows.append([words, transport, *measure_change(transport, change, folder, files)])
    return table(["change", "over", "next request, s", "the one after, s", "an open connection"], rows)


def downloads_table(transports: Sequence[str], folder: Path, files: Files) -> str:
    """Measure what changes do to downloads."""
    rows = []
    for (words, change), transport in itertools.product(changes(0.0, "another ").items(), transports):
        told(f"downloads, {words}, {transport}")
        rows.append([words, transport, *measure_downloads(transport, change, folder, files)])
    return table([f"under {DOWNLOADS} downloads", "over", "whole", "longest pause, s", *LOAD_HEADS], rows)


def upstreams_table(files: Files) -> str:
    """Measure what the end of an upstream does to requests."""
    ends = {"killed": signal.SIGKILL, "stopped (accepts, and is silent)": signal.SIGSTOP}
    rows = [[words, *measure_upstreams(number, files)] for words, number in ends.items()]
    return table(["the first upstream of two", *LOAD_HEADS], rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {SUITE}", description=__doc__)
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="comma-separated (tls,quic,auto)")
    parser.add_argument("--only", default="", help="only changes whose name has this in it")
    parser.add_argument("--seconds", type=float, default=45.0, help="how long the long changes last (45)")
    asked = parser.parse_args(words)
    if OBSTACLE:
        print(OBSTACLE, file=sys.stderr)
        return 1
    transports = asked.transports.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own_hosts(folder / "hosts")
        files = write_certificate(folder, NAME)
        print(changes_table(transports, changes(asked.seconds, asked.only), folder, files), flush=True)
        if asked.only in "downloads":
            print(downloads_table(transports, folder, files), flush=True)
        if asked.only in "upstreams":
            print(upstreams_table(files), flush=True)
    print("load average:", " ".join(f"{load:.1f}" for load in os.getloadavg()))
    return 0


def told(text: str) -> None:
    """Tell how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
