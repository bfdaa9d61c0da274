"""Time through a warm pair over a link with delay: from `connect()` at its client to the reply, and to the first byte."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.load.encrypted import certify
from benchmarks.load.pairs.makers import Pair, Place
from benchmarks.load.peers import ROOT
from benchmarks.load.processes import Process, ProcessError
from tests.kit.link.cable import link
from tests.kit.netns import Road

DELAY: Final = 0.010
"""Seconds, one way."""
PAUSE: Final = 0.15
"""Seconds between requests: in them, spare connections are opened again."""
WARM_UP: Final = 3
PATIENCE: Final = 10.0
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds of each request until the SOCKS 5 reply, and until the origin's first byte."""

    reply: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A client's machine and a server's, joined by a link with delay, and the clients' ports by pair."""

    road: Road
    ports: dict[str, int]
    failures: dict[str, str]


@contextmanager
def scene(pairs: Sequence[Pair], *, delay: float) -> Iterator[Scene]:
    """Start pairs, servers at one end of a link with this one-way delay in seconds, clients at the other."""
    cores = frozenset(os.sched_getaffinity(0))
    with ExitStack() as stack:
        road = stack.enter_context(link(delay=delay))
        made = Scene(road=road, ports={}, failures={})
        for pair in pairs:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="pair-")))
            certify(directory, road.last_address())
            place = Place(host=road.last_address(), directory=directory, cores=cores)
            try:
                with road.last.entered():
                    server = stack.enter_context(pair.serve(place))
                with road.first.entered():
                    made.ports[pair.name] = stack.enter_context(pair.convert(place, server.port)).port
            except ProcessError as error:
                made.failures[pair.name] = str(error).strip().splitlines()[-1]
        yield made


def measure(
    pairs: Sequence[Pair], *, repeat: int, delay: float = DELAY
) -> tuple[dict[str, Waits], float, dict[str, str]]:
    """Ask through every pair by turns; return what each waited, the link's round trip in seconds, and failures."""
    waits = {pair.name: Waits() for pair in pairs}
    pings: list[float] = []
    with ExitStack() as stack, scene(pairs, delay=delay) as made:
        origin = (made.road.last_address(), origin_port(stack, made.road))
        with made.road.first.entered():
            for turn in range(-WARM_UP, repeat):
                pings.append(_ping(origin))
                for name, port in made.ports.items():
                    if name in made.failures:
                        continue
                    try:
                        reply, first_byte = ask(port, origin)
                    except OSError as error:
                        made.failures[name] = str(error)
                        continue
                    if turn >= 0:
                        waits[name].reply.append(reply)
                        waits[name].first_byte.append(first_byte)
                time.sleep(PAUSE)
    return waits, sorted(pings)[len(pings) // 2], made.failures


def origin_port(stack: ExitStack, road: Road) -> int:
    """Start the origin at the far end; return its port."""
    command = [sys.executable, "-m", "benchmarks.load.round_trips.answerer", road.last_address()]
    with road.last.entered():
        cores = frozenset(os.sched_getaffinity(0))
        process = stack.enter_context(Process(command, cores=cores, environment={"PYTHONPATH": str(ROOT)}))
    return int(process.line(timeout=10.0))


def _ping(origin: tuple[str, int]) -> float:
    began = time.perf_counter()
    with socket.create_connection(origin, PATIENCE):
        return time.perf_counter() - began


def ask(port: int, origin: tuple[str, int]) -> tuple[float, float]:
    """Ask the origin through a SOCKS 5 proxy at a local port; return the seconds to the reply, and to the first byte.

    It waits for each answer, as curl does. Raises OSError.
    """
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"\5\1\0")
        _expect(sock, 2, b"\5\0")
        sock.sendall(b"\5\1\0\1" + socket.inet_aton(origin[0]) + origin[1].to_bytes(2))
        _expect(sock, 10, b"\5\0\0\1")
        reply = time.perf_counter() - began
        sock.sendall(REQUEST)
        _expect(sock, 1, b"H")
        return reply, time.perf_counter() - began


def _expect(sock: socket.socket, size: int, start: bytes) -> None:
    answer = sock.recv(size, socket.MSG_WAITALL)
    if not answer.startswith(start):
        raise ConnectionError(f"answered {answer.hex() or 'nothing'}")
