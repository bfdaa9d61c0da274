"""Where it is measured: a client, a proxy's machine and an origin, on links with delay; and what runs there."""

import datetime as dt
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.load.peers import PASSWORD, ROOT, USER, danted, microsocks, port_of, socks6_command
from benchmarks.load.processes import Process, ProcessError
from benchmarks.load.starting import Start
from socks6.net.encryption.issue import make_certificate
from tests.kit.link.cable import Cable, chain
from tests.kit.netns import RIGHT, Namespace, Road

Address = tuple[str, int]
CLIENT, PROXY, ORIGIN = range(3)
ENCRYPTED: Final = "socks6-tls"
QUIC: Final = "socks6-quic"
TRANSPORTS: Final = {ENCRYPTED: "tls", QUIC: "quic"}
NAME: Final = "proxy.test"  # in its certificate
ANYWHERE: Final = "0.0.0.0"
NETWORK: Final = "10.66.0.0/16"
FAST_OPEN: Final = "64"
SERVER: Final = ("server", "--listen", f"socks6://{ANYWHERE}:0", "--allow-private", "--fast-open", FAST_OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machines, and where each proxy and the origin listen."""

    client: Namespace
    proxy: Namespace
    origin: Address
    proxies: Mapping[str, Address]
    failures: Mapping[str, str]
    """Why others do not run."""
    certificate: Path
    """That of the one with TLS, for `NAME`."""

    def address(self, name: str) -> Address:
        """Return where a proxy listens. Raises ProcessError if it does not run."""
        if name in self.failures:
            raise ProcessError(self.failures[name])
        return self.proxies[name]

    def url(self, name: str, *, password: bool = False) -> str:
        """Return the URL of one of our servers."""
        host, port = self.address(name)
        user = f"{USER}:{PASSWORD}@" if password else ""
        if name in TRANSPORTS:
            return f"socks6+{TRANSPORTS[name]}://{user}{host}:{port}?ca={self.certificate}&sni={NAME}"
        return f"socks6://{user}{host}:{port}"


Runs = Callable[[frozenset[int], Path], AbstractContextManager[int]]
"""Starts a proxy on the proxy's machine, which has this certificate; yields its port."""


def _peer(start: Start) -> Runs:
    @contextmanager
    def runs(cores: frozenset[int], _: Path) -> Iterator[int]:
        with start(cores) as running:
            yield running.port

    return runs


@contextmanager
def _ours(*arguments: str, cores: frozenset[int]) -> Iterator[int]:
    with socks6_command(cores, *arguments) as (_, url):
        yield port_of(url)


def _server(*options: str) -> Runs:
    return lambda cores, _: _ours(*SERVER, *options, cores=cores)


def _encrypted(name: str, *options: str) -> Runs:
    def runs(cores: frozenset[int], certificate: Path) -> AbstractContextManager[int]:
        listen = (
            f"socks6+{TRANSPORTS[name]}://{ANYWHERE}:0"
            f"?cert={certificate}&key={certificate.with_suffix('.key')}"
        )
        return _ours(*SERVER[:2], listen, *SERVER[3:], *options, cores=cores)

    return runs


SERVERS: Final[Mapping[str, Runs]] = {
    "microsocks": _peer(microsocks(listen=ANYWHERE)),
    "microsocks-password": _peer(microsocks("-u", USER, "-P", PASSWORD, listen=ANYWHERE)),
    "danted": _peer(danted(internal=ANYWHERE, external=RIGHT, clients=NETWORK)),
    "socks6": _server("--open"),
    "socks6-password": _server("--user", f"{USER}:{PASSWORD}"),
    ENCRYPTED: _encrypted(ENCRYPTED, "--open"),
    QUIC: _encrypted(QUIC, "--user", f"{USER}:{PASSWORD}"),
}
CONVERTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "converter": (),
    "converter-tfo": ("--via-fast-open",),
    "converter-optimistic": ("--optimistic",),
    "converter-optimistic-tfo": ("--optimistic", "--via-fast-open"),
}
"""What each converter on the client's machine is told besides `--via`; they go through "socks6-password"."""
EVERYTHING: Final = (*SERVERS, *CONVERTERS)


@contextmanager
def site(delay: float, far_delay: float, *, only: Collection[str] = EVERYTHING) -> Iterator[Site]:
    """Build it, with one-way delays in seconds: client to proxy, proxy to origin; start these proxies."""
    cores = frozenset(os.sched_getaffinity(0))
    with ExitStack() as held:
        road = held.enter_context(chain(Cable.both(delay=delay), Cable.both(delay=far_delay)))
        _prepare(road)
        certificate = Path(held.enter_context(TemporaryDirectory(prefix="socks6-"))) / "certificate.pem"
        key = certificate.with_suffix(".key")
        make_certificate([NAME], certificate=certificate, key=key, now=dt.datetime.now(dt.UTC))
        origin = (road.last_address(), _origin_port(held, road, cores))
        proxies: dict[str, Address] = {}
        failures: dict[str, str] = {}
        for name in filter(SERVERS.__contains__, only):
            try:
                with road.hosts[PROXY].entered():
                    proxies[name] = (
                        road.address(PROXY),
                        held.enter_context(SERVERS[name](cores, certificate)),
                    )
            except ProcessError as error:
                failures[name] = str(error).strip().splitlines()[-1]
        made = Site(
            client=road.first,
            proxy=road.hosts[PROXY],
            origin=origin,
            proxies=proxies,
            failures=failures,
            certificate=certificate,
        )
        via = (
            "client",
            "--listen",
            "mixed://127.0.0.1:0",
            "--via",
            made.url("socks6-password", password=True),
        )
        for name in filter(CONVERTERS.__contains__, only):
            with road.first.entered():
                proxies[name] = ("127.0.0.1", held.enter_context(_ours(*via, *CONVERTERS[name], cores=cores)))
        yield made


def _prepare(road: Road) -> None:
    for host in road:
        host.set("net.ipv4.tcp_fastopen", 3)
        host.set("net.ipv4.tcp_fastopen_blackhole_timeout_sec", 0)


def _origin_port(held: ExitStack, road: Road, cores: frozenset[int]) -> int:
    command = [sys.executable, "-m", "benchmarks.load.round_trips.answerer", road.last_address()]
    with road.last.entered():
        process = held.enter_context(Process(command, cores=cores, environment={"PYTHONPATH": str(ROOT)}))
    return int(process.line(timeout=10.0))
