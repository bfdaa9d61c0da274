"""The proxies that are compared, and how each is started."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.build import build
from benchmarks.load.encrypted import HAPROXY_RELAY, STUNNEL_RELAY, before, certify, through_stunnel
from benchmarks.load.processes import Process, ProcessError
from benchmarks.load.starting import START_TIMEOUT, Running, Start, free_port, program, wait_until_listening

ROOT: Final = Path(__file__).parents[2]
USER: Final = "alice"
PASSWORD: Final = "123456"
NO_LIMITS: Final = ("--max-connections", "0", "--max-connections-per-source", "0")
PYTHON_OPTIONS: Final = "BENCHMARK_PYTHON_OPTIONS"
"""Environment variable: what stands between `python` and `socks6`, `-m` without; for profilers."""
DANTED_CONFIGURATION: Final = """\
logoutput: {directory}/log
internal: {internal} port = {port}
external: {external}
clientmethod: none
socksmethod: none
{privileges}
client pass {{ from: {clients} to: 0.0.0.0/0 }}
socks pass {{ from: {clients} to: 0.0.0.0/0 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One competitor: what the load generator speaks to it, and how it is started."""

    name: str
    protocol: str
    start: Start
    password: bool = False
    early: bool = False
    ours: bool = False
    usual: bool = True
    suite: str = ""
    """The one suite that it takes part in; "" for all of them."""

    def load_options(self) -> list[str]:
        """Return what the load generator must be told about this peer."""
        options = ["-p", self.protocol]
        if self.password:
            options += ["-u", USER, "-k", PASSWORD]
        return [*options, *(["-e"] if self.early else [])]


@contextmanager
def _nothing(_cores: frozenset[int]) -> Iterator[Running]:
    yield Running(port=0, processes={})


def microsocks(*options: str, listen: str = "127.0.0.1") -> Start:
    """Start microsocks, listening at an address."""

    @contextmanager
    def start(cores: frozenset[int]) -> Iterator[Running]:
        port = free_port()
        command = [program("microsocks"), "-i", listen, "-p", str(port), *options]
        # It writes a line for each connection, and this version knows no way to stop that.
        with Process(command, cores=cores, keep_errors=False) as process:
            wait_until_listening(process, port)
            yield Running(port=port, processes={"microsocks": process})

    return start


def danted(
    *, internal: str = "127.0.0.1", external: str = "127.0.0.1", clients: str = "127.0.0.0/8"
) -> Start:
    """Start dante, listening at an address, for clients of a network, connecting from an interface or address."""

    @contextmanager
    def start(cores: frozenset[int]) -> Iterator[Running]:
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="danted-") as directory:
            Path(directory).chmod(0o777)
            privileges = "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""
            configuration = Path(directory) / "danted.conf"
            configuration.write_text(
                DANTED_CONFIGURATION.format(
                    directory=directory,
                    port=port,
                    privileges=privileges,
                    internal=internal,
                    external=external,
                    clients=clients,
                )
            )
            command = [program("danted"), "-f", str(configuration), "-p", f"{directory}/pid"]
            with Process(command, cores=cores) as process:
                wait_until_listening(process, port)
                yield Running(port=port, processes={"danted": process})

    return start


@contextmanager
def socks6_command(
    cores: frozenset[int], *arguments: str, options: str = "-m"
) -> Iterator[tuple[Process, str]]:
    """Start one of our commands and yield it with the URL that it says it listens on.

    `options` are what stands between `python` and `socks6`.
    """
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    profiler = os.environ.get(PYTHON_OPTIONS, options).split()
    command = [sys.executable, *profiler, "socks6", *arguments, *NO_LIMITS]
    with Process(command, cores=cores, environment=environment) as process:
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until:
            said = re.search(r"listening on (\S+)", process.errors())
            if said:
                yield process, said[1]
                return
            if process.ended():
                break
            time.sleep(0.02)
        raise ProcessError(f"{' '.join(command[1:])} does not listen: {process.errors()}")


def port_of(url: str) -> int:
    """Return the port of a URL."""
    return int(url.rstrip("/").rpartition(":")[2])


def _server(scheme: str, *options: str, query: str = "") -> Start:
    @contextmanager
    def start(cores: frozenset[int]) -> Iterator[Running]:
        arguments = ("server", "--listen", f"{scheme}://127.0.0.1:0{'?' if query else ''}{query}", *options)
        with socks6_command(cores, *arguments) as (process, url):
            yield Running(port=port_of(url), processes={"server": process})

    return start


@contextmanager
def _converter(cores: frozenset[int]) -> Iterator[Running]:
    with ExitStack() as stack:
        listen = ("server", "--listen", "socks6://127.0.0.1:0")
        server, upstream = stack.enter_context(socks6_command(cores, *listen))
        convert = ("client", "--listen", "socks5://127.0.0.1:0", "--via", upstream)
        client, url = stack.enter_context(socks6_command(cores, *convert))
        yield Running(port=port_of(url), processes={"client": client, "server": server})


def _encrypted(cores: frozenset[int], directory: Path) -> AbstractContextManager[Running]:
    query = f"cert={directory}/certificate.pem&key={directory}/certificate.key"
    return _server("mixed+tls", query=query)(cores)


def _by_converter(scheme: str, *, backend: str = "") -> Start:
    """Return how to start a server, and a converter on the load's cores that brings the load there."""

    @contextmanager
    def start(cores: frozenset[int]) -> Iterator[Running]:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="socks6-dtls-")))
            certify(directory)
            encrypted = "+" in scheme
            query = f"?cert={directory}/certificate.pem&key={directory}/certificate.key" if encrypted else ""
            library = f"&backend={backend}" if backend else ""
            words = ("server", "--listen", f"{scheme}://127.0.0.1:0{query}{library}")
            server, url = stack.enter_context(socks6_command(cores, *words))
            trust = f"&ca={directory}/certificate.pem{library}" if encrypted else ""
            via = f"{url}?udp=datagram{trust}"
            convert = ("client", "--listen", "socks5://127.0.0.1:0", "--via", via)
            load_cores = frozenset(os.sched_getaffinity(0)) - cores or cores
            client, near = stack.enter_context(socks6_command(load_cores, *convert))
            yield Running(port=port_of(near), processes={"server": server}, helpers=(client,))

    return start


@contextmanager
def _in_python(cores: frozenset[int]) -> Iterator[Running]:
    listen = ("server", "--listen", "socks6://127.0.0.1:0")
    hidden = "-m benchmarks.load.without_extension"
    with socks6_command(cores, *listen, options=hidden) as (process, url):
        yield Running(port=port_of(url), processes={"server": process})


@contextmanager
def _bare_relay(cores: frozenset[int]) -> Iterator[Running]:
    with Process([str(build().udprelay)], cores=cores) as process:
        yield Running(port=int(process.line(timeout=5.0).split()[1]), processes={"relay": process})


_USERS: Final = ("--user", f"{USER}:{PASSWORD}")

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(name="direct", protocol="direct", start=_nothing),
        Peer(name="microsocks", protocol="socks5", start=microsocks()),
        Peer(name="danted", protocol="socks5", start=danted()),
        Peer(name="socks6", protocol="socks6", start=_server("socks6"), ours=True),
        Peer(name="socks6-front5", protocol="socks5", start=_server("socks5"), ours=True),
        Peer(name="socks6-converter", protocol="socks5", start=_converter, ours=True),
        Peer(
            name="stunnel-danted",
            protocol="socks5",
            start=before(STUNNEL_RELAY, danted()),
            usual=False,
            suite="tls",
        ),
        Peer(
            name="haproxy-danted",
            protocol="socks5",
            start=before(HAPROXY_RELAY, danted()),
            usual=False,
            suite="tls",
        ),
        Peer(
            name="socks6-tls",
            protocol="socks6",
            start=through_stunnel(_encrypted),
            ours=True,
            usual=False,
            suite="tls",
        ),
        Peer(
            name="socks6-quic",
            protocol="socks5",
            start=_by_converter("socks6+quic"),
            ours=True,
            usual=False,
            suite="tls",
        ),
        Peer(
            name="socks6-quic-aioquic",
            protocol="socks5",
            start=_by_converter("socks6+quic", backend="aioquic"),
            ours=True,
            usual=False,
            suite="tls",
        ),
        Peer(
            name="socks6-quic-udp",
            protocol="socks5",
            start=_by_converter("socks6+quic"),
            ours=True,
            usual=False,
            suite="udp",
        ),
        Peer(name="direct-udp", protocol="direct", start=_nothing, usual=False, suite="udp"),
        Peer(name="bare-udp", protocol="bare", start=_bare_relay, usual=False, suite="udp"),
        Peer(name="danted-udp", protocol="socks5", start=danted(), usual=False, suite="udp"),
        Peer(
            name="socks6-udp", protocol="socks6", start=_server("socks6"), ours=True, usual=False, suite="udp"
        ),
        Peer(
            name="socks5-udp", protocol="socks5", start=_server("socks5"), ours=True, usual=False, suite="udp"
        ),
        Peer(
            name="socks6-udp-python", protocol="socks6", start=_in_python, ours=True, usual=False, suite="udp"
        ),
        Peer(
            name="socks6-udp-converter",
            protocol="socks5",
            start=_by_converter("socks6"),
            ours=True,
            usual=False,
            suite="udp",
        ),
        Peer(
            name="socks6-dtls",
            protocol="socks5",
            start=_by_converter("socks6+tls"),
            ours=True,
            usual=False,
            suite="udp",
        ),
        Peer(
            name="socks6-early",
            protocol="socks6",
            start=_server("socks6"),
            early=True,
            ours=True,
            usual=False,
        ),
        Peer(
            name="socks6-asyncio",
            protocol="socks6",
            start=_server("socks6", "--loop", "asyncio"),
            ours=True,
            usual=False,
        ),
        Peer(
            name="microsocks-password",
            protocol="socks5",
            start=microsocks("-u", USER, "-P", PASSWORD),
            password=True,
            usual=False,
        ),
        Peer(
            name="socks6-password",
            protocol="socks6",
            start=_server("socks6", *_USERS),
            password=True,
            ours=True,
            usual=False,
        ),
        Peer(
            name="socks6-front5-password",
            protocol="socks5",
            start=_server("socks5", *_USERS),
            password=True,
            ours=True,
            usual=False,
        ),
    )
}
"""Each peer by its name; those that are not `usual` take part in the CONNECT suite only, or when named."""
