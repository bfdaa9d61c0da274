"""Hosts that are reached by datagrams: an echo, and a name server. Each runs in a thread of its own, on a free port."""

import contextlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.kit.origins import Place

POLL_SECONDS: Final = 0.05
PATIENCE: Final = 15.0
OURS: Final = (20_000, 32_000)  # below Linux's own choice (ip_local_port_range, 32768 and up), and macOS's
ADDRESS: Final = "192.0.2.53"  # what the name server says of every name


@dataclass(frozen=True, kw_only=True)
class DtlsHost:
    """A running DTLS server."""

    place: Place
    process: subprocess.Popen[str]

    def await_line(self, text: str) -> None:
        """Wait until it prints a line with a text: what it hears, among other things."""
        assert self.process.stdout is not None
        assert any(text in line for line in self.process.stdout), f"never said {text}"


@contextlib.contextmanager
def udp_host(
    answer: Callable[[bytes, tuple[str, int]], bytes | None], host: str = "127.0.0.1", port: int = 0
) -> Iterator[Place]:
    """Run a host that has `answer` called for each datagram, and sends back what that returns."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        sock.settimeout(POLL_SECONDS)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    data, source = sock.recvfrom(65536)
                except TimeoutError:
                    continue
                if (reply := answer(data, source)) is not None:
                    sock.sendto(reply, source)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Place(host=host, port=sock.getsockname()[1])
        finally:
            stopping.set()
            thread.join()


def udp_echo(
    host: str = "127.0.0.1", *, port: int = 0, seen: list[tuple[str, int]] | None = None, silent: bool = False
) -> contextlib.AbstractContextManager[Place]:
    """Run a host that sends back what it gets, unless it is silent; `seen` gets the sources."""

    def answer(data: bytes, source: tuple[str, int]) -> bytes | None:
        if seen is not None:
            seen.append(source)
        return None if silent else data

    return udp_host(answer, host, port)


def name_server(host: str = "127.0.0.1", port: int = 0) -> contextlib.AbstractContextManager[Place]:
    """Run a name server that knows one address for every name (RFC 1035)."""

    def answer(query: bytes, _: tuple[str, int]) -> bytes:
        end = 12
        while query[end]:
            end += 1 + query[end]
        question = query[12 : end + 5]
        header = query[:2] + bytes.fromhex("8180 0001 0001 0000 0000")
        record = bytes.fromhex("c00c 0001 0001 0000003c 0004") + socket.inet_aton(ADDRESS)
        return header + question + record

    return udp_host(answer, host, port)


@contextlib.contextmanager
def iperf_host() -> Iterator[Place]:
    """Run iperf3's server, for one test after another."""
    if shutil.which("iperf3") is None:
        pytest.skip("iperf3 is not installed")
    port = free_port(socket.SOCK_STREAM)
    words = ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port), "--forceflush"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "listening" in line:
                    break
            yield Place(host="127.0.0.1", port=port)
        finally:
            process.kill()


@contextlib.contextmanager
def dtls_host(host: str = "127.0.0.1") -> Iterator[DtlsHost]:
    """Run a DTLS server (OpenSSL's) that says "welcome" to whoever connects first."""
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "server.pem")
        certificate = trustme.CA().issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
        place = Place(host=host, port=free_port(socket.SOCK_DGRAM))
        words = [
            "openssl",
            "s_server",
            "-dtls1_2",
            "-cert",
            str(pem),
            "-accept",
            f"{place.host}:{place.port}",
        ]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                assert process.stdin is not None
                process.stdin.write("welcome\n")
                process.stdin.flush()
                server = DtlsHost(place=place, process=process)
                server.await_line("ACCEPT")
                yield server
            finally:
                process.kill()


def greet_over_dtls(server: DtlsHost, *prefix: str, port: int) -> str:
    """Have OpenSSL's client say hello at a port of 127.0.0.1, until the server has heard it; return what that says."""
    words = [*prefix, "openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{port}", "-quiet"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        giving_up = threading.Timer(PATIENCE, _kill, (process, server.process))
        giving_up.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("hello\n")
            process.stdin.flush()
            heard = process.stdout.readline()
            server.await_line("hello")
            return heard
        finally:
            giving_up.cancel()
            process.kill()


def free_port(kind: int) -> int:
    """Return a port for a program that cannot be told to take any: one that the system gives to nobody by itself."""
    while True:
        with socket.socket(socket.AF_INET, kind) as sock, contextlib.suppress(OSError):
            port = random.SystemRandom().randrange(*OURS)  # not the test's seed: both workers have that
            sock.bind(("127.0.0.1", port))
            return port


def _kill(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
