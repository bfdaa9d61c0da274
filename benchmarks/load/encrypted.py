"""Proxies behind TLS: ours, and relays in C before dante. All are reached through the same client, stunnel.

The load generator speaks no TLS, so stunnel carries it there; what that costs counts as load.
"""

import datetime as dt
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.processes import Process
from benchmarks.load.starting import Running, Start, free_port, program, wait_until_listening
from socks6.net.encryption.issue import make_certificate

STUNNEL_CLIENT: Final = """\
foreground = yes
pid =
debug = 3
[to-the-proxy]
client = yes
accept = 127.0.0.1:{here}
connect = 127.0.0.1:{there}
"""
STUNNEL: Final = """\
foreground = yes
pid =
debug = 3
[before-dante]
accept = 127.0.0.1:{here}
connect = 127.0.0.1:{there}
cert = {directory}/both.pem
"""
HAPROXY: Final = """\
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen before-dante
  bind 127.0.0.1:{here} ssl crt {directory}/both.pem
  server dante 127.0.0.1:{there}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A relay in C that takes TLS off: its program, how that is called, and its configuration."""

    program: str
    flags: tuple[str, ...]
    configuration: str


STUNNEL_RELAY: Final = Relay(program="stunnel4", flags=(), configuration=STUNNEL)
HAPROXY_RELAY: Final = Relay(program="haproxy", flags=("-f",), configuration=HAPROXY)

StartAt = Callable[[frozenset[int], Path], AbstractContextManager[Running]]


def before(relay: Relay, proxy: Start) -> Start:
    """Return how to start a proxy with a relay before it that takes TLS off."""

    def start(cores: frozenset[int], directory: Path) -> AbstractContextManager[Running]:
        return _relayed(relay, proxy, cores, directory)

    return through_stunnel(start)


def through_stunnel(start: StartAt) -> Start:
    """Return how to start something that speaks TLS, and the client's end of that on the load's cores."""

    @contextmanager
    def both(cores: frozenset[int]) -> Iterator[Running]:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="socks6-tls-")))
            certify(directory)
            running = stack.enter_context(start(cores, directory))
            port = free_port()
            settings = directory / "client.conf"
            settings.write_text(STUNNEL_CLIENT.format(here=port, there=running.port))
            load_cores = frozenset(os.sched_getaffinity(0)) - cores or cores
            client = stack.enter_context(Process([program("stunnel4"), str(settings)], cores=load_cores))
            wait_until_listening(client, port)
            yield Running(port=port, processes=running.processes, helpers=(client,))

    return both


@contextmanager
def _relayed(relay: Relay, proxy: Start, cores: frozenset[int], directory: Path) -> Iterator[Running]:
    with proxy(cores) as running:
        port = free_port()
        settings = directory / "relay.conf"
        settings.write_text(relay.configuration.format(here=port, there=running.port, directory=directory))
        command = [program(relay.program), *relay.flags, str(settings)]
        with Process(command, cores=cores, keep_errors=False) as process:
            wait_until_listening(process, port)
            yield Running(port=port, processes={**running.processes, relay.program: process})


def certify(directory: Path, host: str = "127.0.0.1") -> None:
    """Write a certificate for a host and its key (EC, P-256), in one file too."""
    certificate, key = directory / "certificate.pem", directory / "certificate.key"
    make_certificate([host], certificate=certificate, key=key, now=dt.datetime.now(dt.UTC))
    (directory / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
