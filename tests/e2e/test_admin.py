"""A running proxy, seen and steered by the commands that an operator types."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.footprint import eventually
from tests.kit.origins import tcp_host
from tests.kit.processes import socks6
from tests.kit.proxies import converter, curl_line, server

pytestmark = pytest.mark.e2e


def rows(path: str) -> list[dict[str, object]]:
    """Return the connections that `socks6 who` shows."""
    shown = socks6("who", "--admin", path, "--json")
    assert shown.code == 0, shown.errors
    found: list[dict[str, object]] = json.loads(shown.output)["connections"]
    return found


def trickle(connection: socket.socket) -> None:
    """Answer without an end."""
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"piece")
            time.sleep(0.05)


@pytest.mark.parametrize("carrier", ["tcp", "quic"])
def test_a_download_is_seen_and_ended_and_its_user_learns_of_it(tmp_path: Path, carrier: str) -> None:
    admin = str(tmp_path / "admin.sock")
    files = write_certificate(tmp_path)
    listen = (
        "mixed://127.0.0.1:0" if carrier == "tcp" else f"socks6+quic://127.0.0.1:0?{files.listener_query}"
    )
    with (
        tcp_host(trickle) as site,
        server("--listen", listen, "--admin", admin, "-v", "--user", "alice:wonder123") as far,
    ):
        via = f"{far.as_user('alice', 'wonder123')}?pin-sha256={pin_of_file(files.certificate)}"
        with converter(via, "-v", "--log-destinations") if carrier == "quic" else server() as near:
            proxy = near.authority if carrier == "quic" else f"alice:wonder123@{far.authority}"
            words = curl_line("--proxy", f"socks5h://{proxy}")
            with subprocess.Popen(
                [*words, "-o", os.devnull, f"http://{site.host}:{site.port}/"],
                stderr=subprocess.PIPE,
                text=True,
            ) as download:
                assert eventually(lambda: any(row["bytes_down"] for row in rows(admin)))
                (row,) = rows(admin)
                assert (row["user"], row["command"]) == ("alice", "CONNECT")
                ended = socks6("kick", "--admin", admin, str(row["id"]), "--reason", "too much")
                assert (ended.code, ended.output) == (0, f"ended {row['id']}\n".encode())
                assert download.stderr is not None
                assert "reset by peer" in download.stderr.read()
            line = re.compile(r'ending=kicked reply=0 reason="by \w+: too much" .*down=[1-9]')
            assert eventually(lambda: any(line.search(said) for said in far.said))
            if carrier == "quic":
                assert eventually(
                    lambda: "an operator of the proxy ended the connection" in "".join(near.said)
                )
        assert socks6("kick", "--admin", admin, "999").code == 1
    assert not Path(admin).exists()


def test_a_socket_of_a_killed_proxy_is_replaced_and_a_live_one_not(tmp_path: Path) -> None:
    admin = str(tmp_path / "admin.sock")
    with server("--admin", admin, ends_with=-signal.SIGKILL) as killed:
        killed.process.send_signal(signal.SIGKILL)
        assert killed.process.wait(10)
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(admin)
    with server("--admin", admin):
        refused = socks6("server", "--listen", "socks6://127.0.0.1:0", "--drain", "0", "--admin", admin)
        assert refused.code == 1
        assert f"admin: {admin}: Address already in use" in refused.errors
        assert rows(admin) == []
