"""The pairs, and how each is started: a server that listens at some address, and a client that brings SOCKS 5 there."""

import base64
import json
import os
import pwd
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.load.encrypted import certify
from benchmarks.load.pairs.programs import optional_program
from benchmarks.load.peers import PASSWORD, USER, Peer, port_of, socks6_command
from benchmarks.load.processes import Process, ProcessError
from benchmarks.load.starting import Running, free_port, wait_until_listening

CIPHER: Final = "aes-256-gcm"
SECRET: Final = base64.b64encode(bytes(32)).decode()
XRAY_USER: Final = str(uuid.UUID(int=6))
XRAY_LOG: Final = {"loglevel": "error"}
SSHD_CONFIGURATION: Final = """\
Port {port}
ListenAddress {host}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pair runs."""

    host: str
    """The server's address."""
    directory: Path
    """Has the server's certificate.pem and certificate.key; configuration files are written here."""
    cores: frozenset[int]


Serve = Callable[[Place], AbstractContextManager[Running]]
Convert = Callable[[Place, int], AbstractContextManager[Running]]
"""Starts the client, which reaches the server at the place's address and this port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A server and a client of the same kind; `cells` are those that it takes part in, all if there are none."""

    name: str
    label: str
    serve: Serve
    convert: Convert
    ours: bool = False
    cells: tuple[str, ...] = ()
    not_in: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Programs that may be missing."""

    def takes_part(self, cell: str) -> bool:
        """Tell whether it is measured in a cell."""
        return cell not in self.not_in and (not self.cells or cell in self.cells)

    @contextmanager
    def start(self, cores: frozenset[int]) -> Iterator[Running]:
        """Start both on loopback."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="pair-")))
            certify(directory)
            place = Place(host="127.0.0.1", directory=directory, cores=cores)
            server = stack.enter_context(self.serve(place))
            client = stack.enter_context(self.convert(place, server.port))
            yield Running(port=client.port, processes={**client.processes, **server.processes})

    def obstacle(self) -> str:
        """Return why it cannot be started here, and what helps; "" if it can."""
        try:
            for name in self.needs:
                optional_program(name)
        except ProcessError as error:
            return str(error)
        return ""

    def peer(self) -> Peer:
        """Return it as what the load generator measures."""
        return Peer(name=self.name, protocol="socks5", start=self.start, ours=self.ours, usual=False)


def our_server_words(scheme: str, place: Place, *options: str) -> tuple[str, ...]:
    """Return what `socks6 server` is told; without options, everybody may use it."""
    listen = f"{scheme}://{place.host}:0"
    if "+" in scheme:
        listen += f"?cert={place.directory}/certificate.pem&key={place.directory}/certificate.key"
    return ("server", "--listen", listen, "--allow-private", *(options or ("--open",)))


def our_server(scheme: str, *options: str) -> Serve:
    """Serve by `socks6 server`."""

    @contextmanager
    def serve(place: Place) -> Iterator[Running]:
        with socks6_command(place.cores, *our_server_words(scheme, place, *options)) as (process, url):
            yield Running(port=port_of(url), processes={"server": process})

    return serve


def our_client_words(
    scheme: str, place: Place, port: int, *options: str, query: str = "", user: str = ""
) -> tuple[str, ...]:
    """Return what `socks6 client` is told; `user` is empty or "NAME:PASSWORD@"."""
    trust = f"ca={place.directory}/certificate.pem" if "+" in scheme else ""
    via = f"{scheme}://{user}{place.host}:{port}?{'&'.join(filter(None, (trust, query)))}".rstrip("?")
    return ("client", "--listen", "socks5://127.0.0.1:0", "--via", via, *options)


def our_client(scheme: str, *options: str, query: str = "", user: str = "") -> Convert:
    """Convert by `socks6 client`."""

    @contextmanager
    def convert(place: Place, port: int) -> Iterator[Running]:
        words = our_client_words(scheme, place, port, *options, query=query, user=user)
        with socks6_command(place.cores, *words) as (process, url):
            yield Running(port=port_of(url), processes={"client": process})

    return convert


@contextmanager
def _listening(name: str, command: list[str], place: Place, *, host: str, port: int) -> Iterator[Running]:
    with Process(command, cores=place.cores) as process:
        wait_until_listening(process, port, host=host)
        yield Running(port=port, processes={name: process})


@contextmanager
def shadowsocks_server(place: Place) -> Iterator[Running]:
    """Serve by ssserver."""
    port = free_port()
    command = [optional_program("ssserver"), "-s", f"{place.host}:{port}", "-k", SECRET, "-m", CIPHER, "-U"]
    with _listening("server", command, place, host=place.host, port=port) as running:
        yield running


@contextmanager
def shadowsocks_client(place: Place, server: int) -> Iterator[Running]:
    """Convert by sslocal."""
    port = free_port()
    command = [optional_program("sslocal"), "-b", f"127.0.0.1:{port}", "-s", f"{place.host}:{server}"]
    command += ["-k", SECRET, "-m", CIPHER, "-U"]
    with _listening("client", command, place, host="127.0.0.1", port=port) as running:
        yield running


def xray_server_configuration(place: Place, port: int) -> dict[str, Any]:
    """Return Xray's configuration for VLESS over TLS at the place's address and a port."""
    files = {
        "certificateFile": f"{place.directory}/certificate.pem",
        "keyFile": f"{place.directory}/certificate.key",
    }
    inbound = {
        "listen": place.host,
        "port": port,
        "protocol": "vless",
        "settings": {"clients": [{"id": XRAY_USER}], "decryption": "none"},
        "streamSettings": _over_tls(certificates=[files]),
    }
    return {"log": XRAY_LOG, "inbounds": [inbound], "outbounds": [{"protocol": "freedom"}]}


def xray_client_configuration(place: Place, port: int, server: int) -> dict[str, Any]:
    """Return Xray's configuration for SOCKS 5 at a local port, to that server."""
    inbound = {
        "listen": "127.0.0.1",
        "port": port,
        "protocol": "socks",
        "settings": {"udp": True, "ip": "127.0.0.1"},
    }
    user = {"id": XRAY_USER, "encryption": "none"}
    trusted = {"usage": "verify", "certificateFile": f"{place.directory}/certificate.pem"}
    outbound = {
        "protocol": "vless",
        "settings": {"vnext": [{"address": place.host, "port": server, "users": [user]}]},
        "streamSettings": _over_tls(serverName=place.host, certificates=[trusted], disableSystemRoot=True),
    }
    return {"log": XRAY_LOG, "inbounds": [inbound], "outbounds": [outbound]}


def _over_tls(**settings: object) -> dict[str, Any]:
    return {"network": "raw", "security": "tls", "tlsSettings": settings}


@contextmanager
def xray_server(place: Place) -> Iterator[Running]:
    """Serve VLESS over TLS by xray."""
    port = free_port()
    configuration = place.directory / "xray-server.json"
    configuration.write_text(json.dumps(xray_server_configuration(place, port)))
    command = [optional_program("xray"), "run", "-c", str(configuration)]
    with _listening("server", command, place, host=place.host, port=port) as running:
        yield running


@contextmanager
def xray_client(place: Place, server: int) -> Iterator[Running]:
    """Convert to VLESS over TLS by xray."""
    port = free_port()
    configuration = place.directory / "xray-client.json"
    configuration.write_text(json.dumps(xray_client_configuration(place, port, server)))
    command = [optional_program("xray"), "run", "-c", str(configuration)]
    with _listening("client", command, place, host="127.0.0.1", port=port) as running:
        yield running


@contextmanager
def ssh_server(place: Place) -> Iterator[Running]:
    """Serve by sshd."""
    port = free_port()
    daemon = optional_program("sshd")
    for name in ("host_key", "user_key"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place.directory / name)]
        subprocess.run(key, check=True)
    configuration = place.directory / "sshd_config"
    configuration.write_text(SSHD_CONFIGURATION.format(port=port, host=place.host, directory=place.directory))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts its unprivileged part in
    command = [daemon, "-D", "-e", "-f", str(configuration)]
    with _listening("server", command, place, host=place.host, port=port) as running:
        yield running


@contextmanager
def ssh_client(place: Place, server: int) -> Iterator[Running]:
    """Convert by ssh -D."""
    port = free_port()
    options = {
        "IdentityFile": place.directory / "user_key",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    command = [optional_program("ssh"), "-F", "none", "-N", "-D", f"127.0.0.1:{port}", "-p", str(server)]
    command += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command += [f"{pwd.getpwuid(os.getuid()).pw_name}@{place.host}"]
    with _listening("client", command, place, host="127.0.0.1", port=port) as running:
        yield running


PLAIN, TLS, QUIC = "socks6", "socks6+tls", "socks6+quic"
NO_DATAGRAMS: Final = ("udp",)
LATENCY: Final = ("reply", "first-byte")
PAIRS: Final = {
    pair.name: pair
    for pair in (
        Pair(
            name="ours-tls",
            label="ours, TLS",
            serve=our_server(TLS),
            convert=our_client(TLS, query="udp=stream"),
            ours=True,
        ),
        Pair(
            name="ours-quic", label="ours, QUIC", serve=our_server(QUIC), convert=our_client(QUIC), ours=True
        ),
        Pair(
            name="ours-plain",
            label="ours, plain",
            serve=our_server(PLAIN),
            convert=our_client(PLAIN),
            ours=True,
        ),
        Pair(
            name="ours-dtls",
            label="ours, TLS and DTLS",
            serve=our_server(TLS),
            convert=our_client(TLS, query="udp=dtls"),
            ours=True,
            cells=("udp",),
        ),
        Pair(
            name="ours-tls-password",
            label="ours, TLS, with a password",
            serve=our_server(TLS, "--user", f"{USER}:{PASSWORD}"),
            convert=our_client(TLS, user=f"{USER}:{PASSWORD}@"),
            ours=True,
            cells=("connect",),
        ),
        Pair(
            name="ours-tls-optimistic",
            label="ours, TLS, --optimistic",
            serve=our_server(TLS),
            convert=our_client(TLS, "--optimistic"),
            ours=True,
            cells=LATENCY,
        ),
        Pair(
            name="ours-quic-optimistic",
            label="ours, QUIC, --optimistic",
            serve=our_server(QUIC),
            convert=our_client(QUIC, "--optimistic"),
            ours=True,
            cells=LATENCY,
        ),
        Pair(
            name="shadowsocks",
            label=f"shadowsocks-rust, {CIPHER}",
            serve=shadowsocks_server,
            convert=shadowsocks_client,
            needs=("ssserver", "sslocal"),
        ),
        Pair(
            name="xray-tls",
            label="Xray, VLESS over TLS",
            serve=xray_server,
            convert=xray_client,
            needs=("xray",),
        ),
        Pair(
            name="ssh",
            label="ssh -D",
            serve=ssh_server,
            convert=ssh_client,
            not_in=NO_DATAGRAMS,
            needs=("sshd", "ssh"),
        ),
    )
}
"""Each pair by its name."""
