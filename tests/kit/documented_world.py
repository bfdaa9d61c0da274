"""The machines that the documents name, as network namespaces: what a document shows is run there as it stands.

`laptop` has a far machine, `far.example` and `proxy.example`, a link away; behind that are all other names and addresses. A web
site is at example.com, over TLS and without, ssh and a name server answer, and private hosts are where guides put them.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

from tests.kit.documents import Said, type_in
from tests.kit.netns import Join, Namespace, road, veth
from tests.kit.origins import tcp_host, web_site
from tests.kit.proxies import ENVIRONMENT
from tests.kit.udp_hosts import name_server, udp_echo

PASSWORD: Final = "wonderland"
FAR: Final = ("11.0.0.1", "192.0.2.1")
WORLD: Final = ("11.0.0.2", "192.0.2.5", "192.0.2.53", "10.1.0.7")
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    FAR[0]: ("far.example", "proxy.example"),
    WORLD[0]: ("example.com", "host.example", "game.example", "next.example"),
    WORLD[3]: ("db.inside", "db.internal", "host.inside.example"),
}
AT_FAR: Final = (
    "passwd",
    "server",
    "share",
    "check",
    "cert",
)  # commands of ours that are for the far machine
SERVING: Final = ("server", "client", "forward", "bind")  # they run until they are ended
START_SECONDS: Final = 30.0
READY: Final = re.compile(r"listening on|published at")
COMMAND: Final = re.compile(r"^(?:\w+=\S+ )*socks6 ([a-z]+)")


@dataclass(kw_only=True)
class Machine:
    """One of the machines: a network, and what serves there now, by its command."""

    network: Namespace
    serving: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)


class World:
    """The machines, and the folder in which everything is typed."""

    def __init__(self, folder: Path, laptop: Namespace, far: Namespace, binaries: Path) -> None:
        self.folder = folder
        self.at_laptop: dict[str, str] = {}  # variables besides the environment
        self._machines = {"laptop": Machine(network=laptop), "far": Machine(network=far)}
        self._logs = 0
        self.greetings: list[bytes] = []  # what ssh has said to hosts at port 22
        trusted = str(folder / "authority.pem")
        self.environment = {
            **ENVIRONMENT,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "STATE_DIRECTORY": str(folder / "state"),
            "SSL_CERT_FILE": trusted,
            "CURL_CA_BUNDLE": trusted,
        }

    def run(self, line: str, machine: str = "") -> Said:
        """Run a line on its machine, to the end or until it serves; what serves takes the place of the same command before."""
        ours = COMMAND.match(line)
        command = ours[1] if ours else ""
        machine = machine or ("far" if command in AT_FAR else "laptop")
        place = self._machines[machine]
        environment = self.environment | (self.at_laptop if machine == "laptop" else {})
        with place.network.entered():
            if command not in SERVING:
                return type_in(
                    self._here(line),
                    password=PASSWORD,
                    folder=self.folder,
                    environment=environment,
                    within=60,
                )
            if command not in {"forward", "bind"}:  # of those there may be several
                self._end(place, command)
            return self._serve(place, command, line, environment)

    def log(self) -> str:
        """Return what the command has said that was the last to serve."""
        return self.folder.joinpath(f"{self._logs}.log").read_text()

    def end(self) -> None:
        """End all that serves, the last first."""
        for place in self._machines.values():
            for command in reversed(list(place.serving)):
                self._end(place, command)

    def _here(self, line: str) -> str:
        """Return a line that runs another where the names are known."""
        inner = f"mount --bind {self.folder}/hosts /etc/hosts; {line}"
        return f"exec unshare --mount bash -c {shlex.quote(inner)}"

    def _serve(self, place: Machine, command: str, line: str, environment: Mapping[str, str]) -> Said:
        self._logs += 1
        log = self.folder / f"{self._logs}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", self._here(line)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        name = command if command not in {"forward", "bind"} else f"{command} {self._logs}"
        place.serving[name] = process
        ends = time.monotonic() + START_SECONDS
        while not READY.search(log.read_text()):
            if process.poll() is not None or time.monotonic() > ends:
                return Said(text=log.read_text(), code=process.poll() or 1)
            time.sleep(0.02)
        return Said(text=log.read_text(), code=0)

    @staticmethod
    def _end(place: Machine, name: str) -> None:
        if process := place.serving.pop(name, None):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # connections that have not ended
            process.wait(START_SECONDS)


@contextlib.contextmanager
def documented_world(
    folder: Path,
    *,
    certified: bool = False,
    join: Join = veth,
    binaries: Path = Path(sys.executable).parent,
) -> Iterator[World]:
    """Build the machines, with commands from `binaries`; `folder` is the current one of all commands.

    `certified`: the far machine has a certificate of an authority that the laptop trusts.
    """
    folder.joinpath("hosts").write_text(
        "127.0.0.1 localhost\n" + "".join(f"{host} {' '.join(names)}\n" for host, names in NAMES.items())
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.com", "localhost").configure_cert(context)
    if certified:
        folder.joinpath("state").mkdir()
        issued = authority.issue_cert("proxy.example", "far.example")
        issued.private_key_pem.write_to_path(str(folder / "state/certificate.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "state/certificate.pem"))
    with road(routers=1, join=join) as (laptop, far, behind), contextlib.ExitStack() as held:
        far.configure(*(f"address add {host}/32 dev lo" for host in FAR))
        behind.configure(*(f"address add {host}/32 dev lo" for host in WORLD))
        laptop.configure(*(f"route add {host} via 10.66.1.2" for host in (*FAR, *WORLD)))
        far.configure(*(f"route add {host} via 10.66.2.2" for host in WORLD))
        with behind.entered():
            for host in WORLD:
                for port, tls in ((80, None), (443, context), (5432, None)):
                    held.enter_context(web_site(host, port=port, tls=tls))
                held.enter_context(name_server(host, 53))
                for port in (5000, 27015):
                    held.enter_context(udp_echo(host, port=port))
        with laptop.entered():
            for port in (80, 8080):
                held.enter_context(web_site(port=port))
        world = World(folder, laptop, far, binaries)

        def greet(connection: socket.socket) -> None:
            connection.sendall(b"SSH-2.0-a_host\r\n")
            world.greetings.append(connection.recv(100))

        with behind.entered():
            for host in WORLD:
                held.enter_context(tcp_host(greet, host, 22))
        held.callback(world.end)
        yield world
