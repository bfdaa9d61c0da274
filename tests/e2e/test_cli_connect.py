"""socks6 connect, as ssh's ProxyCommand and by hand."""

import hashlib
import os
import pty
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.footprint import eventually
from tests.kit.origins import Place, echo, refusing_place, tcp_host
from tests.kit.processes import END_SECONDS, socks6, started
from tests.kit.proxies import Proxy, server

LARGE = 24 << 20

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def way() -> Iterator[Proxy]:
    with server() as running:
        yield running


def words(way: Proxy, place: Place) -> tuple[str, ...]:
    return ("connect", "--via", way.url, place.host, str(place.port))


def large() -> bytes:
    return hashlib.shake_128(b"socks6").digest(LARGE)


def test_much_goes_there_and_back_without_loss(way: Proxy) -> None:
    with echo() as host:
        ended = socks6(*words(way, host), typed=large())
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == large()


def test_the_end_of_input_is_told_and_the_answer_awaited(way: Proxy) -> None:
    def count(connection: socket.socket) -> None:
        size = 0
        while data := connection.recv(65536):
            size += len(data)
        connection.sendall(b"%d bytes" % size)

    with tcp_host(count) as host:
        assert socks6(*words(way, host), typed=b"x" * 1000).output == b"1000 bytes"


def test_the_end_of_the_answer_is_told_and_input_still_taken(way: Proxy) -> None:
    rest: list[bytes] = []

    def speak_first(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            rest.append(data)

    with tcp_host(speak_first) as host, started(*words(way, host), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read() == b"hello"  # up to its end, while standard input is open
        process.stdin.write(b"later")
        process.stdin.close()
        assert process.wait(END_SECONDS) == 0
        assert eventually(lambda: rest == [b"later"])


def test_input_and_output_may_be_files(way: Proxy, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(large())
    with (
        echo() as host,
        (tmp_path / "in").open() as stdin,
        (tmp_path / "out").open("w") as stdout,
        started(*words(way, host), stdin=stdin, stdout=stdout) as process,
    ):
        assert process.wait(END_SECONDS) == 0
    assert (tmp_path / "out").read_bytes() == large()


def test_without_input_there_is_still_an_answer(way: Proxy) -> None:
    with (
        tcp_host(lambda connection: connection.sendall(b"hello")) as host,
        started(*words(way, host), stdin=subprocess.DEVNULL) as process,
    ):
        assert process.communicate(timeout=END_SECONDS)[0] == b"hello"
        assert process.returncode == 0


def test_input_that_is_closed_is_none(way: Proxy) -> None:
    with tcp_host(lambda connection: connection.sendall(b"hello")) as host:
        line = shlex.join([sys.executable, "-m", "socks6", *words(way, host)])
        done = subprocess.run(["bash", "-c", f"exec {line} <&-"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")


def test_a_terminal_need_not_end_for_a_connection_to_end(way: Proxy) -> None:
    keyboard, terminal = pty.openpty()
    try:
        with (
            tcp_host(lambda connection: connection.sendall(connection.recv(100).upper())) as host,
            started(*words(way, host), stdin=terminal) as process,
        ):
            os.write(keyboard, b"hello\n")
            assert process.communicate(timeout=END_SECONDS)[0] == b"HELLO\n"
            assert process.returncode == 0
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_host_that_refuses(way: Proxy) -> None:
    with refusing_place() as nobody:
        ended = socks6(*words(way, nobody))
    assert (ended.code, ended.output) == (1, b"")
    assert ended.errors == "socks6: the proxy replied 05, connection refused\n"


def test_a_connection_that_breaks(way: Proxy) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(100)  # sooner, the proxy might see the reset before it has answered its client
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with tcp_host(reset) as host, started(*words(way, host), stdin=subprocess.PIPE) as process:
        _, errors = process.communicate(b"hello", timeout=END_SECONDS)
    assert (process.returncode, errors) == (1, b"socks6: Connection reset by peer\n")


def test_output_that_nobody_reads_any_more(way: Proxy) -> None:
    with echo() as host, started(*words(way, host), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.close()
        process.stdin.write(b"hello")
        process.stdin.flush()
        assert process.wait(END_SECONDS) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b"socks6: standard output: Broken pipe\n"
