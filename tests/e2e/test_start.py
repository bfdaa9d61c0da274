"""What commands import, and when: it is most of the time that they take to start."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from socks6.message.codes import Command
from socks6.message.requests import Request
from tests.kit.certificates import certificate
from tests.kit.proxies import ENVIRONMENT

pytestmark = pytest.mark.e2e

IMPORTED = re.compile(r"import time: .*\| +(\S+)")
LISTENING = re.compile(r"listening on \S+:(\d+)")
SECONDS = 30.0

# What takes long to import, by the modules that come first, and what only some commands and listeners need.
EXTRAS = {
    "OpenSSL",
    "aioquic",
    "argon2",
    "bcrypt",
    "cryptography",
    "opentelemetry",
    "prometheus_client",
    "qh3",
    "segno",
}
SELDOM = {"ctypes", "email", "importlib.metadata", "tempfile", "tomllib", "typing_extensions", "unittest"}
HTTP = {"h11", "http", "socks6.proxy.inbounds.http"}
SOCKS5 = {"socks6.proxy.inbounds.socks5", "socks6.message.socks4"}
QUIC = {"socks6.net.transports.quic.engine"}
DTLS = {"socks6.net.transports.dtls_server", "socks6.client.dtls_path"}
PROXY = {"socks6.proxy"}
CLIENT = {"socks6.client"}
NETWORK = {"asyncio", "socket", "ssl", "socks6.message", "socks6.net"}
ALWAYS_LATE = EXTRAS | SELDOM | QUIC | DTLS


class Traced:
    """A command that says what it imports."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.imported: list[str] = []

    def until(self, words: re.Pattern[str]) -> "re.Match[str] | None":
        """Read until a line that matches; None at the end."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if (found := IMPORTED.match(line)) is not None:
                self.imported.append(found[1])
            elif (found := words.match(line)) is not None:
                return found
        return None

    def wait(self) -> int:
        """Return its exit code, once it has ended."""
        return self._process.wait(SECONDS)

    def stop(self) -> None:
        """Stop it, and read the rest."""
        self._process.terminate()
        assert self.until(re.compile("never")) is None
        assert self.wait() == 0


@contextlib.contextmanager
def traced(*words: str) -> Iterator[Traced]:
    """Run a command."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "socks6", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(ENVIRONMENT),
    ) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            yield Traced(process)
        finally:
            watchdog.cancel()
            process.kill()


def connect(port: int) -> None:
    """Reach a host through a server at a port of this machine, and read a byte from it."""
    with socket.create_server(("127.0.0.1", 0)) as origin:
        request = Request(command=Command.CONNECT, host="127.0.0.1", port=origin.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
            client.sendall(request.encode())
            with origin.accept()[0] as remote:
                remote.sendall(b"!")
            answer = b""
            while not answer.endswith(b"!"):
                answer += client.recv(4096) or b"closed!"
            assert b"closed" not in answer


def test_a_plain_server_imports_what_it_needs_and_nothing_for_its_first_client() -> None:
    with traced("server", "--listen", "socks6://127.0.0.1:0") as server:
        listening = server.until(LISTENING)
        assert listening is not None
        before = len(server.imported)
        connect(int(listening[1]))
        server.stop()
    assert set(server.imported) & (ALWAYS_LATE | HTTP | SOCKS5 | CLIENT) == set()
    assert server.imported[before:] == []


def test_a_converter_imports_every_inbound_and_the_client_before_it_listens() -> None:
    with traced("client", "socks6://127.0.0.1:1", "--listen", "mixed://127.0.0.1:0") as converter:
        assert converter.until(LISTENING) is not None
        converter.stop()
    imported = set(converter.imported)
    assert imported & ALWAYS_LATE == set()
    assert imported >= {"h11", "socks6.proxy.inbounds.http", "socks6.proxy.inbounds.socks5", "socks6.client"}


@pytest.mark.parametrize(
    "words",
    [
        ["ping", "socks6://127.0.0.1:1", "-c", "1"],
        ["connect", "--via", "socks6://127.0.0.1:1", "127.0.0.1", "1"],
        ["trace", "--via", "socks6://127.0.0.1:1", "127.0.0.1"],
    ],
)
def test_client_commands_import_no_proxy(words: list[str]) -> None:
    with traced(*words) as command:
        command.until(re.compile("never"))
    assert set(command.imported) & (ALWAYS_LATE | HTTP | SOCKS5 | PROXY) == set()
    assert "socks6.client.client" in command.imported


@pytest.mark.parametrize("words", [["forward", "0", "127.0.0.1:1"], ["bind", "127.0.0.1:1"]])
def test_commands_that_stay_import_no_proxy_either(words: list[str]) -> None:
    with traced(words[0], "--via", "socks6://127.0.0.1:1", *words[1:]) as command:
        command.until(re.compile("listening on|socks6: "))
    assert set(command.imported) & (ALWAYS_LATE | HTTP | SOCKS5 | PROXY) == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["ping", "--help"],
        ["passwd"],
        ["nothing"],
        ["connect", "--nothing"],
        ["forward", "x", "y"],
    ],
)
def test_help_and_errors_import_nothing_that_takes_time(words: list[str]) -> None:
    with traced(*words) as command:
        command.until(re.compile("never"))
    slow = ALWAYS_LATE | NETWORK | PROXY | CLIENT | HTTP | {"dataclasses", "inspect", "pathlib"}
    assert set(command.imported) & slow == set()
    assert "socks6.cli.parser" in command.imported


def test_commands_without_a_network_import_what_they_need_by_themselves() -> None:
    with certificate() as files:
        for words in (
            ["cert", "show", files.certificate],
            ["share", "proxy.example", "--cert", files.certificate],
            ["check", "examples/socks6.toml"],
            ["completion", "bash"],
        ):
            with traced(*words) as command:
                command.until(re.compile("never"))
                assert command.wait() == 0, words


def test_the_garbage_collector_rests_while_a_command_is_imported_and_leaves_it_alone() -> None:
    script = """if True:
        import gc, sys
        from socks6.cli import main

        def note(phase, info):
            if not hasattr(sys.modules.get("socks6.cli.ping"), "run"):
                print("collected", phase)

        sys.argv = ["socks6", "ping", "socks6://127.0.0.1:1", "-c", "1"]
        gc.callbacks.append(note)
        main()
        print(gc.isenabled(), gc.get_freeze_count() > 10_000)
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
        env=ENVIRONMENT,
    )
    assert "collected" not in done.stdout
    assert done.stdout.splitlines()[-1] == "True True"
