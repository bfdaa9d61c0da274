"""socks6 server and socks6 client as an operator meets them: flags, files, signals, and what they say."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from socks6.message.codes import Command, Method
from socks6.message.options import AuthenticationData
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.proxy.authentication.hashes import hash_password
from tests.kit.origins import Place, echo, web_site
from tests.kit.processes import Ended, socks6
from tests.kit.proxies import ENVIRONMENT, Proxy, converter, curl, server

PATIENCE: Final = 10.0
HEADS: Final = (4, 12)  # of an Authentication Reply, and of an Operation Reply with an IPv4 address

pytestmark = pytest.mark.e2e


def connected(running: Proxy, target: Place, *, name: str = "", password: str = "") -> socket.socket:
    """Return a connection to the target through a SOCKS 6 server."""
    secret = UsernamePassword(username=name.encode(), password=password.encode()).encode()
    options = (AuthenticationData(method=Method.USERNAME_PASSWORD, data=secret),) if name else ()
    request = Request(command=Command.CONNECT, host=target.host, port=target.port, options=options)
    stream = running.place.connected()
    try:
        stream.sendall(request.encode())
        for size in HEADS:
            head = received(stream, size)
            assert head[1] == 0, head
            received(stream, int.from_bytes(head[2:4], "big"))
    except AssertionError:
        stream.close()
        raise
    return stream


def received(stream: socket.socket, size: int) -> bytes:
    """Return so many bytes."""
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        assert piece, "the stream has ended"
        data += piece
    return data


def answers(stream: socket.socket) -> bool:
    """Return whether an echo comes through."""
    stream.sendall(b"still here")
    return received(stream, 10) == b"still here"


def eventually(fact: Callable[[], bool]) -> bool:
    """Return whether something is true soon."""
    until = time.monotonic() + PATIENCE
    while not fact() and time.monotonic() < until:
        time.sleep(0.01)
    return fact()


def refuses(place: Place) -> bool:
    """Return whether nobody listens any more."""
    try:
        place.connected().close()
    except ConnectionRefusedError:
        return True
    return False


def only_line(ended: Ended) -> str:
    """Return the one line that it said."""
    assert ended.output == b""
    (line,) = ended.errors.splitlines()
    return line


def test_every_listener_is_announced_with_its_real_port(tmp_path: Path) -> None:
    wanted = ["socks6://127.0.0.1:0", "mixed://[::1]:0", f"socks5+unix://{tmp_path}/s"]
    with server(*(word for url in wanted for word in ("--listen", url))) as running:
        first, second, third = running.urls
    assert first.startswith("socks6://127.0.0.1:")
    assert not first.endswith(":0")
    assert second.startswith("mixed://[::1]:")
    assert third == wanted[2]


def test_it_is_quiet_unless_asked() -> None:
    with echo() as host, server() as running:
        connected(running, host).close()
        assert running.said == []
    assert len(running.said) == 1  # stopping


def test_v_tells_each_connection_but_no_secret_and_no_destination() -> None:
    with (
        web_site() as site,
        server("-v", "--user", "alice:s3cret") as far,
        converter(far.as_user("alice", "s3cret"), "-v") as near,
    ):
        assert curl("--socks5", near.authority, site.url).code == 0
    (line,) = [line for line in far.said if "connection ended" in line]
    assert "user=alice" in line
    assert "host=" not in line
    assert "s3cret" not in "".join(far.said + near.said)


def test_destinations_are_logged_when_asked() -> None:
    with echo() as host, server("-v", "--log-destinations") as running:
        connected(running, host).close()
    assert any(f"port={host.port}" in line for line in running.said)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sigterm_lets_connections_end_and_a_second_signal_does_not(loop: str) -> None:
    with echo() as host, server("--loop", loop, "--drain", "30") as running:
        stream = connected(running, host)
        running.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: refuses(running.place))
        assert answers(stream)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE) == 0
        stream.close()


def test_it_ends_with_its_last_connection() -> None:
    with echo() as host, server("--drain", "30") as running:
        stream = connected(running, host)
        running.process.send_signal(signal.SIGINT)
        assert eventually(lambda: refuses(running.place))
        stream.close()
        assert running.process.wait(PATIENCE) == 0


def test_what_does_not_end_gets_its_drain_time() -> None:
    with echo() as host, server("--drain", "0.1") as running:
        stream = connected(running, host)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
        stream.close()


def test_sighup_brings_in_new_users_and_drops_nobody(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{hash_password('123456')}\n")
    users.chmod(0o600)
    with echo() as host, server("--users", str(users)) as running:
        stream = connected(running, host, name="alice", password="123456")
        users.write_text(f"bob:{hash_password('654321')}\n")
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "socks6: reloaded\n" in running.said)
        assert answers(stream)
        stream.close()
        with pytest.raises(AssertionError):
            connected(running, host, name="alice", password="123456")
        connected(running, host, name="bob", password="654321").close()


def test_sighup_with_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{hash_password('123456')}\n")
    users.chmod(0o600)
    with echo() as host, server("--users", str(users)) as running:
        users.write_text("alice:123456\n")
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: any("not reloaded" in line for line in running.said))
        connected(running, host, name="alice", password="123456").close()
    assert "123456" not in "".join(running.said)


def test_a_configuration_file_says_what_flags_say(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text(
        f"""
        listen = ["socks6+unix://{tmp_path}/far"]
        [users.plain]
        alice = "123456"
        """
    )
    path.chmod(0o600)
    with echo() as host, server("--config", str(path), "--listen", "socks6://127.0.0.1:0") as running:
        (url,) = running.urls
        assert url.startswith("socks6://")  # the flag goes before the file
        connected(running, host, name="alice", password="123456").close()


def test_the_limit_of_descriptors_is_raised() -> None:
    with server(descriptors=0) as running:
        (line,) = [
            line
            for line in Path(f"/proc/{running.process.pid}/limits").read_text().splitlines()
            if line.startswith("Max open files")
        ]
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_a_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(str(tmp_path / "notify"))
        with server(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
            assert manager.recv(64) == b"READY=1"
        assert manager.recv(64) == b"STOPPING=1"


def test_a_port_that_is_taken() -> None:
    with echo() as host:
        ended = socks6("server", "--listen", f"socks6://127.0.0.1:{host.port}")
    assert ended.code == 1
    where = f"cannot listen on socks6://127.0.0.1:{host.port}"
    assert only_line(ended).startswith(
        f"socks6: {where}: Address already in use (TCP port {host.port}: another socks6?"
    )


def test_a_listener_that_others_reach_needs_users() -> None:
    ended = socks6("server", "--listen", "socks6://0.0.0.0:0")
    assert ended.code == 2
    assert "0.0.0.0" in only_line(ended)


def test_a_client_needs_a_proxy() -> None:
    ended = socks6("client")
    assert ended.code == 2
    assert only_line(ended).startswith("socks6: no proxy to go through")


def test_a_broken_configuration_is_told_by_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text("open = 1\n[limits]\nconnections = -1\n")
    ended = socks6("server", "--config", str(path))
    assert ended.code == 2
    assert ended.errors.splitlines() == [
        f"socks6: {path}:1: open: expected true or false, got a whole number",
        f"socks6: {path}:3: limits.connections: expected a whole number >= 0",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_passwords_leave_the_process_list_and_are_warned_of() -> None:
    words = ["server", "--listen", "socks6://127.0.0.1:0", "--user", "alice:pass word", "--user=bob:hidden"]
    words += ["--via", "socks6://carol:s3cret@127.0.0.1:9"]
    line = [sys.executable, "-m", "socks6", *words]
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        assert b"warning: a password on the command line" in process.stderr.readline()
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        process.terminate()
        assert shown[shown.index(b"--user") + 1] == b"alice:***"
        assert shown[-3:] == [b"--user=bob:***", b"--via", b"socks6://carol:***@127.0.0.1:9"]
    for url, warned in (("socks6://carol:s3cret@127.0.0.1:9", True), ("socks6://carol@127.0.0.1:9", False)):
        ended = socks6("ping", "-c", "1", url)
        assert ended.code == 1
        assert ("warning: a password on the command line" in ended.errors) == warned
        assert "s3cret" not in ended.errors
