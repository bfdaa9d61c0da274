"""Hops that are killed: a stream that was cut short looks whole to nobody, on no side and over no transport."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit.certificates import write_certificate
from tests.kit.origins import Place
from tests.kit.proxies import ENVIRONMENT, Proxy, proxy, receive_exactly, server, tunnel

pytestmark = pytest.mark.e2e

KILLED: Final = -signal.SIGKILL
PATIENCE: Final = 45.0  # more than QUIC needs to find that its peer is silent
HALF: Final = b"half of what there is to say"
REQUEST: Final = b"GET http://127.0.0.1:%d/ HTTP/1.0\r\n\r\n"
ENDLESS: Final = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"  # of no announced length


@contextlib.contextmanager
def hops(transport: str, folder: Path, victim: str) -> Iterator[tuple[Proxy, Proxy]]:
    """Give the first of two proxies, the second of which it reaches over `transport`; and the one that will be killed."""
    listen, query = f"socks6+{transport}://127.0.0.1:0", ""
    if transport == "tcp":
        listen = "socks6://127.0.0.1:0"
    else:
        files = write_certificate(folder)
        listen, query = f"{listen}?{files.listener_query}", f"?ca={files.ca}"
    codes = {name: KILLED if name == victim else 0 for name in ("first", "last")}
    with proxy("server", "--listen", listen, ends_with=codes["last"]) as last:
        url = last.url.replace("127.0.0.1", "localhost").partition("?")[0] + query
        listeners = ("--listen", "socks6://127.0.0.1:0", "--listen", "http://127.0.0.1:0")
        with proxy("server", "--via", url, *listeners, ends_with=codes["first"]) as first:
            yield first, first if victim == "first" else last


@contextlib.contextmanager
def host() -> Iterator[tuple[socket.socket, Place]]:
    """Give a listening socket, and where it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, Place(host="127.0.0.1", port=listener.getsockname()[1])


def kill(hop: Proxy) -> None:
    """Kill a process as want of memory does."""
    hop.process.kill()
    hop.process.wait()


def see_reset(sock: socket.socket) -> None:
    """See that no end comes, but a reset."""
    sock.settimeout(PATIENCE)
    with pytest.raises(ConnectionResetError):
        assert sock.recv(1) != b""


def join(place: Place, listener: socket.socket, destination: Place) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a tunnel through which something went either way."""
    client = tunnel(place, destination)
    remote, _ = listener.accept()
    client.sendall(HALF)
    assert receive_exactly(remote, len(HALF)) == HALF
    remote.sendall(HALF)
    assert receive_exactly(client, len(HALF)) == HALF
    return client, remote


def test_a_killed_server_resets_both_sides() -> None:
    with server(ends_with=KILLED) as far, host() as (listener, destination):
        client, remote = join(far.place, listener, destination)
        half_closed, its_remote = join(far.place, listener, destination)
        half_closed.shutdown(socket.SHUT_WR)
        assert its_remote.recv(1) == b""
        with client, remote, half_closed, its_remote:
            kill(far)
            for sock in (client, remote, half_closed):
                see_reset(sock)


@pytest.mark.parametrize("victim", ["first", "last"])
@pytest.mark.parametrize(
    "transport",
    ["tcp", "tls", pytest.param("quic", marks=pytest.mark.deep)],  # whose peers learn of it from silence
)
def test_a_killed_hop_of_two_resets_both_sides(tmp_path: Path, transport: str, victim: str) -> None:
    with hops(transport, tmp_path, victim) as (first, killed), host() as (listener, destination):
        client, remote = join(first.place, listener, destination)
        with client, remote:
            kill(killed)
            for sock in (client, remote):
                see_reset(sock)


@pytest.mark.parametrize("victim", ["first", "last"])
@pytest.mark.parametrize("transport", [pytest.param("tcp", marks=pytest.mark.deep), "tls"])
def test_a_response_without_a_length_does_not_end_when_a_hop_is_killed(
    tmp_path: Path, transport: str, victim: str
) -> None:
    with (
        hops(transport, tmp_path, victim) as (first, killed),
        host() as (listener, destination),
        Place(host="127.0.0.1", port=int(first.urls[1].rpartition(":")[2])).connected() as client,
    ):
        client.sendall(REQUEST % destination.port)
        remote, _ = listener.accept()
        with remote:
            assert remote.recv(4096).startswith(b"GET / ")
            remote.sendall(ENDLESS + HALF)
            received = b""
            while not received.endswith(HALF):
                received += client.recv(4096)
            kill(killed)
            see_reset(client)


def test_a_killed_forwarding_command_resets_both_sides() -> None:
    with server() as far, host() as (listener, destination):
        line = [
            sys.executable,
            "-m",
            "socks6",
            "forward",
            "--via",
            far.url,
            "127.0.0.1:0",
            f"{destination.host}:{destination.port}",
        ]
        with subprocess.Popen(line, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            try:
                assert process.stderr is not None
                port = int(process.stderr.readline().rpartition(b":")[2])
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(HALF)
                    remote, _ = listener.accept()
                    with remote:
                        assert receive_exactly(remote, len(HALF)) == HALF
                        process.kill()
                        see_reset(client)
                        see_reset(remote)
            finally:
                process.kill()


def test_a_killed_command_that_sends_its_input_resets_the_host() -> None:
    with server() as far, host() as (listener, destination):
        line = [
            sys.executable,
            "-m",
            "socks6",
            "connect",
            "--via",
            far.url,
            destination.host,
            str(destination.port),
        ]
        with subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=ENVIRONMENT, bufsize=0
        ) as process:
            assert process.stdin is not None
            process.stdin.write(HALF)
            remote, _ = listener.accept()
            with remote:
                assert receive_exactly(remote, len(HALF)) == HALF
                process.kill()
                see_reset(remote)
