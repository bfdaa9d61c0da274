"""Proxies as processes of their own, as users run them; and curl."""

import contextlib
import io
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.kit.footprint import PATIENCE, Footprint
from tests.kit.fork_server import Command
from tests.kit.origins import Place

START_SECONDS: Final = 30.0  # on a machine that is busy with other tests
STOP_SECONDS: Final = 10.0
CURL_SECONDS: Final = 30
NAMED_PORTS: Final = ("--config", str(Path(__file__).with_name("named-ports.toml")))  # clients may name ports
LISTENING: Final = re.compile(r'listening(?: on | url=|", "url": ")([^\s"]+)')  # in each form of the log
CONNECT: Final = bytes.fromhex("06 01 0000")
CONNECTED: Final = bytes.fromhex("06 00 0000  06 00 0000")  # let in, connected
ENVIRONMENT: Final = {
    name: value
    for name, value in os.environ.items()
    if not name.lower().endswith("_proxy") and not name.startswith("SOCKS6_")
}


@dataclass(kw_only=True)
class Proxy:
    """A running `socks6 server` or `socks6 client`."""

    process: Command
    urls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # on standard error, since it listens

    @property
    def url(self) -> str:
        """Where it listens first."""
        return self.urls[0]

    @property
    def place(self) -> Place:
        """The same, as host and port."""
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        return Place(host=host.strip("[]"), port=int(port))

    @property
    def authority(self) -> str:
        """The same, as it stands in a URL."""
        return self.url.rpartition("/")[2]

    @property
    def footprint(self) -> Footprint:
        """What it holds now."""
        return Footprint.of(self.process.pid)

    def as_user(self, name: str, password: str) -> str:
        """Return its URL for a user of it."""
        return self.url.replace("://", f"://{name}:{password}@")


@contextlib.contextmanager
def proxy(
    command: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    descriptors: int = 0,
    ends_with: int = 0,
) -> Iterator[Proxy]:
    """Run `socks6 COMMAND` until the block ends; it must end well then, and never have had a fault.

    It listens at a free port of 127.0.0.1 unless told. `descriptors` is how many it may have, `ends_with` its
    exit code, or minus the signal that kills it.
    """
    if "--listen" not in arguments:
        arguments = ("--listen", f"{'mixed' if command == 'client' else 'socks6'}://127.0.0.1:0", *arguments)
    if "--admin" not in arguments:
        arguments = ("--no-admin", *arguments)
    arguments = (command, "--drain", "0.2", *arguments)
    everything = {**ENVIRONMENT, **(environment or {})}
    with Command(
        *arguments, stdout=subprocess.DEVNULL, environment=everything, descriptors=descriptors
    ) as process:
        running = Proxy(process=process)
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process, lines, running.said))
        reader.start()
        try:
            _await_listeners(running, arguments.count("--listen"), lines)
            yield running
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == ends_with, running.said
        finally:
            process.kill()
            reader.join()
        faults = [text for text in running.said if "Traceback" in text or "unexpected" in text.lower()]
        assert not faults, running.said


def server(*arguments: str, **settings: object) -> contextlib.AbstractContextManager[Proxy]:
    """Run `socks6 server`."""
    return proxy("server", *arguments, **settings)  # type: ignore[arg-type]  # named as those of `proxy`


def converter(via: str, *arguments: str, **settings: object) -> contextlib.AbstractContextManager[Proxy]:
    """Run `socks6 client`; `via` is told where no process list shows it, and gets no checks unless they are asked for."""
    environment = {"SOCKS6_PROXY": via}
    if "--via-check" not in arguments:
        arguments = ("--no-via-check", *arguments)
    return proxy("client", *arguments, environment=environment, **settings)  # type: ignore[arg-type]  # as above


def tunnel(proxy_place: Place, destination: Place, *, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection to an IPv4 destination through a proxy that speaks SOCKS 6 and wants no password."""
    address = (proxy_place.host, proxy_place.port)
    sock = socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))
    with contextlib.ExitStack() as refused:
        refused.enter_context(sock)
        sock.sendall(connect_request(destination))
        reply = receive_exactly(sock, len(CONNECTED) + 8)
        assert reply.startswith(CONNECTED), reply
        refused.pop_all()
    return sock


def connect_request(destination: Place) -> bytes:
    """Return a SOCKS 6 CONNECT to an IPv4 destination."""
    return CONNECT + destination.port.to_bytes(2, "big") + b"\0\1" + socket.inet_aton(destination.host)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """Return so many bytes; fewer if the stream ends before."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of a curl."""

    code: int  # curl's exit code
    status: int  # of HTTP, 0 without an answer
    connect_status: int  # the proxy's own, to CONNECT
    body: bytes
    complaint: str


def curl(*arguments: str) -> Fetched:
    """Run curl, which minds no settings but these."""
    result = subprocess.run(
        curl_line("--write-out", "%{stderr}|%{http_code}|%{http_connect}", *arguments),
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    complaint = result.stderr.decode()
    status, connect_status = re.findall(r"\|(\d+)\|(\d+)", complaint)[-1]
    return Fetched(
        code=result.returncode,
        status=int(status),
        connect_status=int(connect_status),
        body=result.stdout,
        complaint=complaint,
    )


def curl_line(*arguments: str) -> Sequence[str]:
    """Return the words of such a curl. The test skips where there is none."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return ["curl", "-q", "--silent", "--show-error", "--max-time", str(CURL_SECONDS), *arguments]


def _read_lines(process: Command, lines: "queue.SimpleQueue[str]", said: list[str]) -> None:
    assert process.stderr is not None
    with io.TextIOWrapper(process.stderr, "utf-8") as texts:
        for line in texts:
            said.append(line)
            lines.put(line)
    lines.put("")


def _await_listeners(running: Proxy, listeners: int, lines: "queue.SimpleQueue[str]") -> None:
    while len(running.urls) < listeners:
        line = lines.get(timeout=START_SECONDS)
        assert line, f"it ended at once: {running.said}"
        if found := LISTENING.search(line):
            running.urls.append(found[1])
    del running.said[: running.said.index(line) + 1]  # it may have said more by now
