"""The converter says how it is: at its start, and to its clients, whatever fails at its upstream."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from socks6.cli.standard_streams import ERASE
from tests.kit.origins import refusing_place, tcp_host, web_site
from tests.kit.proxies import ENVIRONMENT, Proxy, converter, curl, proxy, server

pytestmark = pytest.mark.e2e

PATIENCE = 10.0


def said(running: Proxy, words: str) -> str:
    """Return the first line with these words, once it is there."""
    return eventually(lambda: next((line for line in running.said if words in line), ""))


def eventually(found: Callable[[], str]) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (text := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text


def status_of(running: Proxy) -> dict[str, Any]:
    """Return what the status page says to programs."""
    facts: dict[str, Any] = json.loads(
        curl("-H", "Accept: application/json", f"http://{running.authority}/").body
    )
    return facts


def test_it_says_through_whom_it_goes_and_no_password() -> None:
    with (
        server("--user", "alice:s3cret") as far,
        converter(far.as_user("alice", "s3cret"), "--via-check") as near,
    ):
        line = said(near, "through ")
        place = far.url.removeprefix("socks6://")
        assert line.startswith(f"through socks6://alice@{place}, ")
        assert line.strip().endswith(" ms")
        assert not any("s3cret" in line for line in near.said)
        assert near.said == [line]


def test_a_terminal_has_a_line_that_goes_with_the_converter() -> None:
    leader, follower = pty.openpty()
    with server() as far:
        words = ("client", far.url, "--listen", "mixed://127.0.0.1:0")
        environment = {**ENVIRONMENT, "TERM": "xterm"}
        environment.pop("NO_COLOR", "")
        with subprocess.Popen(
            [sys.executable, "-m", "socks6", *words], stderr=follower, env=environment
        ) as process:
            os.close(follower)
            written = ""
            while not re.search(r"socks6://127[^|]*\| 0 connections", written):
                assert select.select([leader], [], [], PATIENCE)[0], written
                written += os.read(leader, 4096).decode()
            process.terminate()
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                while piece := os.read(leader, 4096).decode():
                    written += piece
        assert process.returncode == 0
    os.close(leader)
    *_, last = written.split(ERASE)
    assert "connections |" not in last


def test_it_says_why_the_upstream_does_not_work_and_serves_on() -> None:
    with (
        server("--user", "alice:s3cret") as far,
        converter(far.as_user("alice", "wrong"), "--via-check") as near,
    ):
        line = said(near, "upstream down")
        assert "WARNING" in line
        assert "refused" in line
        assert "wrong" not in line
        with socket.create_connection((near.place.host, near.place.port), PATIENCE) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"


@contextlib.contextmanager
def broken(cause: str) -> Iterator[str]:
    """Give the URL of a proxy that cannot be used, for a cause that HTTP's error types know."""
    match cause:
        case "connection_refused":
            with refusing_place() as nobody:
                yield f"socks6://{nobody.host}:{nobody.port}"
        case "dns_error":
            yield "socks6://no-such-host.invalid"
        case "proxy_configuration_error":
            with server("--user", "alice:s3cret") as far:
                yield far.as_user("alice", "wrong")
        case "tls_certificate_error":
            with proxy("server", "--listen", "socks6+tls://127.0.0.1:0") as far:
                yield f"{far.url}?pin-sha256={'A' * 43}"
        case _:  # no SOCKS 6 there
            with tcp_host(lambda stream: stream.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as ssh:
                yield f"socks6://{ssh.host}:{ssh.port}"


@pytest.mark.parametrize(
    "cause",
    ["connection_refused", "dns_error", "proxy_configuration_error", "tls_certificate_error", "no SOCKS 6"],
)
def test_clients_learn_why_the_upstream_does_not_work(cause: str) -> None:
    error = "proxy_configuration_error" if cause == "no SOCKS 6" else cause
    with broken(cause) as url, converter(url, "-v") as near:
        http = f"http://{near.authority}"
        got = curl("--include", "--proxy", http, "http://example.com/")
        assert got.status == 502
        (details,) = re.findall(f'Proxy-Status: socks6; error={error}; details="(.*)"\r\n', got.body.decode())
        details = details.replace('\\"', '"')
        assert got.body.endswith(b"\r\nBad Gateway: " + details.encode() + b"\n")
        assert curl("--proxy", http, "https://example.com/").connect_status == 502
        assert curl("--socks5-hostname", near.authority, "http://example.com/").code == 97
        line = said(near, "ending=upstream")
        assert details in line.replace('\\"', '"')
        assert status_of(near)["upstream"]["reason"] == details
        assert "wrong" not in "".join(near.said) + got.body.decode()


def test_the_status_page_follows_the_proxy_as_it_goes_and_comes() -> None:
    with contextlib.ExitStack() as first, web_site() as site:
        far = first.enter_context(server())
        near = first.enter_context(converter(far.url, "--via-check"))
        assert curl("--socks5-hostname", near.authority, site.url).status == 200
        facts = status_of(near)
        assert facts["upstream"]["state"] == "up"
        assert facts["bytes"]["down"] > 0
        far.process.send_signal(signal.SIGTERM)
        far.process.wait(PATIENCE)
        assert curl("--socks5-hostname", near.authority, site.url).code == 97
        assert status_of(near)["upstream"]["state"] == "down"
        with server("--listen", far.url):
            eventually(lambda: status_of(near)["upstream"]["state"].replace("down", ""))
            facts = status_of(near)
        assert "Connection refused" in facts["upstream"]["last_error"]
        page = curl("--include", f"http://{near.authority}/").body.decode()
        assert "Content-Security-Policy: default-src 'none'" in page
        assert f'return "PROXY {near.authority}";' in curl(f"http://{near.authority}/proxy.pac").body.decode()
        assert curl("-H", "Host: evil.example", f"http://{near.authority}/").status == 400
