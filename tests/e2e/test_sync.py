"""Blocking calls through real proxies: many threads over TLS and QUIC, errors, interruptions, forks, the end of the interpreter;
and a local proxy, as curl and git use it."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

import socks6
import socks6.sync
from socks6.sync.loop_thread import loop_thread
from tests.kit.certificates import write_certificate
from tests.kit.footprint import Footprint, eventually
from tests.kit.origins import PAGE, echo, refusing_place, silent_place, tcp_host, web_site
from tests.kit.proxies import server
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e

TRANSPORTS: Final = ("", "+tls", "+quic")
CONNECTS: Final = 100  # `make deep` makes a thousand
THREADS: Final = 50


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a proxy; return its URLs by transport."""
    files = write_certificate(tmp_path_factory.mktemp("certificate"))
    listeners = [f"socks6{name}://127.0.0.1:0?{files.listener_query if name else ''}" for name in TRANSPORTS]
    arguments = [part for url in listeners for part in ("--listen", url.removesuffix("?"))]
    with server(*arguments, "--open", "--allow-private", "--bind-ports", "20000-50000") as running:
        yield {
            name: url.replace("127.0.0.1", "localhost") + (f"?ca={files.ca}" if name else "")
            for name, url in zip(TRANSPORTS, running.urls, strict=True)
        }


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_connection_a_peer_and_datagrams(urls: dict[str, str], transport: str) -> None:
    data = os.urandom(1 << 20)
    with socks6.sync.Client(urls[transport], timeout=20) as client:
        with echo() as place, client.connect(place.host, place.port) as sock:
            sender = threading.Thread(target=send_all, args=(sock, data))
            sender.start()
            received = bytearray()
            while piece := sock.recv(65536):
                received += piece
            sender.join()
            assert received == data
            assert type(sock) is (socks6.sync.ProxiedSocket if transport else socket.socket)
        with (
            client.listen() as listener,
            socket.create_connection((listener.bound.host, listener.bound.port), timeout=10) as peer,
        ):
            accepted, address = listener.accept(timeout=10)
            with accepted:
                assert address == peer.getsockname()
                accepted.sendall(b"hello")
                assert peer.recv(5) == b"hello"
            assert peer.recv(1) == b""
            with pytest.raises(socks6.ConnectionTimedOut):
                listener.accept(timeout=0.02)
        with udp_echo() as place, client.associate() as udp:
            udp.send(b"datagram", (place.host, place.port))
            assert udp.receive(timeout=10)[0] == b"datagram"
            with pytest.raises(TimeoutError, match="no datagram"):
                udp.receive(timeout=0.02)


@pytest.mark.parametrize(
    ("transport", "count"),
    [
        pytest.param("+tls", CONNECTS, marks=pytest.mark.slow),
        pytest.param("+tls", 1_000, marks=pytest.mark.deep),
        pytest.param("+quic", 1_000, marks=pytest.mark.deep),
    ],
)
def test_many_threads_leave_nothing(urls: dict[str, str], transport: str, count: int) -> None:
    with socks6.sync.Client(urls[transport]) as client, echo() as place:

        def exchange(number: int) -> None:
            with client.connect(place.host, place.port) as sock:
                sock.settimeout(30)
                sock.sendall(b"%06d" % number)
                assert sock.recv(6) == b"%06d" % number

        exchange(0)
        gc.collect()
        before = Footprint.of().descriptors
        with ThreadPoolExecutor(THREADS) as threads:
            assert len(list(threads.map(exchange, range(count)))) == count
        assert eventually(lambda: not loop_thread().carrier._carried)
        client.close()
        assert eventually(lambda: Footprint.of().descriptors <= before + 2)  # a listener's epoll, a lookup


def test_errors_and_time_outs(urls: dict[str, str]) -> None:
    with socks6.sync.Client(urls["+tls"]) as client:
        with refusing_place() as nobody, pytest.raises(ConnectionRefusedError):
            client.connect(nobody.host, nobody.port)
        with silent_place() as silent, pytest.raises(TimeoutError):
            client.connect(silent.host, silent.port, timeout=0.1)
    with pytest.raises(socks6.CertificateRefused):
        socks6.connect(urls["+tls"].partition("?")[0], "127.0.0.1", 80)
    with refusing_place() as nobody, pytest.raises(socks6.ProxyUnreachable):
        socks6.connect(f"socks6://{nobody.host}:{nobody.port}", "127.0.0.1", 80)


def test_alternatives(urls: dict[str, str]) -> None:
    with refusing_place() as nobody, echo() as place:
        first = f"socks6://{nobody.host}:{nobody.port}"
        with (
            socks6.sync.Client(first, alternatives=[urls["+tls"]]) as client,
            client.connect(place.host, place.port) as sock,
        ):
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"


def test_a_wrong_password() -> None:
    with server("--user", "alice:wonderland") as running, pytest.raises(PermissionError):
        socks6.connect(running.as_user("alice", "wrong"), "127.0.0.1", 80)


def test_within_a_running_loop(urls: dict[str, str]) -> None:
    async def main() -> bytes:
        with socks6.connect(urls["+tls"], place.host, place.port) as sock:
            sock.sendall(b"hello")
            return sock.recv(5)

    with echo() as place:
        assert asyncio.run(main()) == b"hello"


def program(text: str, *arguments: object) -> "subprocess.Popen[str]":
    """Run a program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "default", "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Return what a program has said."""
    try:
        return process.communicate(timeout=30)
    finally:
        process.kill()


CONNECTING: Final = """
import signal, sys, socks6.sync
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts in the background
client = socks6.sync.Client(sys.argv[1])
client.noop()
print("connecting", flush=True)
client.connect(sys.argv[2], int(sys.argv[3]))
"""
SENDING: Final = """
import multiprocessing, sys, warnings, socks6
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
def send():
    sock = socks6.connect(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sock.sendall(bytes(1 << 20))
    sock.close()
send()
child = multiprocessing.get_context("fork").Process(target=send)
child.start()
child.join()
"""
FORKING: Final = """
import os, sys, warnings, socks6.sync
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
client = socks6.sync.Client(sys.argv[1])
def exchange():
    with client.connect(sys.argv[2], int(sys.argv[3])) as sock:
        sock.settimeout(10)
        sock.sendall(b"hello")
        return sock.recv(5) == b"hello"
def is_refused(call):
    try:
        call()
    except socks6.LocalProtocolError:
        return True
with client.connect(sys.argv[2], int(sys.argv[3])) as old, client.listen() as listener:
    old.settimeout(10)
    if not (child := os.fork()):
        os._exit(0 if exchange() and is_refused(listener.close) else 1)
    old.sendall(b"still")
    assert old.recv(5) == b"still"  # and the child has not disturbed it
    assert os.waitpid(child, 0)[1] == 0
    old.sendall(b"again")
    assert old.recv(5) == b"again"
client.close()
"""


@pytest.mark.slow
def test_an_interrupt_ends_a_call_at_once(urls: dict[str, str]) -> None:
    with silent_place() as silent:
        process = program(CONNECTING, urls["+tls"], silent.host, silent.port)
        assert process.stdout is not None
        assert process.stdout.readline() == "connecting\n"
        time.sleep(0.2)  # it waits
        process.send_signal(signal.SIGINT)
        interrupted = time.monotonic()
        _, errors = ended(process)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Warning" not in errors
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - interrupted < 10


@pytest.mark.slow
def test_what_was_sent_arrives_though_the_interpreter_or_a_child_ends(urls: dict[str, str]) -> None:
    received: list[int] = []

    def take(connection: socket.socket) -> None:
        size = 0
        while data := connection.recv(65536):
            size += len(data)
            time.sleep(0.005)
        received.append(size)

    with tcp_host(take) as place:
        assert ended(program(SENDING, urls["+tls"], place.host, place.port)) == ("", "")
        assert eventually(lambda: len(received) == 2)
    assert received == [1 << 20] * 2


@pytest.mark.slow
def test_a_client_is_used_on_after_a_fork_on_both_sides(urls: dict[str, str]) -> None:
    with echo() as place:
        process = program(FORKING, urls["+tls"], place.host, place.port)
        assert ended(process) == ("", "")
        assert process.returncode == 0


def test_a_local_proxy_for_curl_and_git(urls: dict[str, str]) -> None:
    def run(*command: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)

    with web_site() as site, socks6.sync.local_proxy(urls["+tls"]) as proxy:
        environment = {name: value for name, value in proxy.environment.items() if name.upper() != "NO_PROXY"}
        curl = ("curl", "--silent", "--show-error", "--max-time", "20")
        assert run(*curl, site.url, environment=environment).stdout == PAGE
        assert run(*curl, "--proxy", proxy.url, site.url, environment={}).stdout == PAGE
        wrong = proxy.url.replace(proxy.password, "guess")
        assert run(*curl, "--proxy", wrong, site.url, environment={}).returncode == 97  # CURLE_PROXY
        listed = run("git", "ls-remote", f"{site.url}/nothing.git", environment=environment)
        assert b"not found" in listed.stderr or b"valid" in listed.stderr
