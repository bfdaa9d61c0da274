"""The proxy for other people's tests: what it shows, and each of its faults, as a client meets it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import socks6
from socks6.testing import Faults, ReplyCode, RunningProxy, SeenRequest, running_proxy, socks6_proxy
from tests.kit.origins import Place, echo, tcp_host

FIXTURE = socks6_proxy  # as a plugin it would be there by its name


@pytest.fixture(scope="module")
def module_proxy() -> Iterator[RunningProxy]:
    with running_proxy() as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: RunningProxy) -> RunningProxy:
    module_proxy.reset()
    module_proxy.hosts.clear()
    return module_proxy


@pytest.fixture(scope="module")
def talker() -> Iterator[Place]:
    """Run a host that says a thousand bytes and stays."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(bytes(1_000))
        connection.recv(1)

    with tcp_host(talk) as place:
        yield place


def received(url: str, place: Place) -> int:
    """Return how many bytes come until the end."""
    size = 0
    with socks6.connect(url, place.host, place.port) as sock:
        sock.settimeout(10)
        while data := sock.recv(4096):
            size += len(data)
    return size


@pytest.mark.parametrize("scheme", ["socks6", "socks5h", "http", "tls"])
def test_it_reaches_hosts_and_shows_requests(proxy: RunningProxy, scheme: str) -> None:
    with echo() as place:
        proxy.hosts["api.example"] = (place.host, place.port)
        url = proxy.tls_url if scheme == "tls" else proxy.url_of(scheme)
        with socks6.connect(url, "api.example", 443) as sock:
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"
    protocol = {"tls": "socks6", "socks5h": "socks5"}.get(scheme, scheme)
    (seen,) = proxy.requests
    assert (seen.command, seen.host, seen.port, seen.user) == ("CONNECT", "api.example", 443, "user")
    assert seen.protocol in {protocol, "mixed"}
    assert proxy.events


def test_refusals_of_all_or_of_one_host(proxy: RunningProxy, talker: Place) -> None:
    proxy.faults_of["gone.example"] = Faults(refuse=ReplyCode.HOST_UNREACHABLE)
    with pytest.raises(socks6.HostUnreachable):
        socks6.connect(proxy.url, "gone.example", 80)
    socks6.connect(proxy.url, talker.host, talker.port).close()
    proxy.faults = Faults(refuse=ReplyCode.NOT_ALLOWED)
    with pytest.raises(socks6.NotAllowed):
        socks6.connect(proxy.url, talker.host, talker.port)
    assert [seen.host for seen in proxy.requests] == ["gone.example", talker.host, talker.host]


def test_a_delay_and_silence(proxy: RunningProxy, talker: Place) -> None:
    proxy.faults = Faults(delay=0.1)
    before = time.monotonic()
    socks6.connect(proxy.url, talker.host, talker.port).close()
    assert time.monotonic() - before > 0.1
    proxy.faults = Faults(silent=True)
    with pytest.raises(TimeoutError):
        socks6.connect(proxy.url, talker.host, talker.port, timeout=0.1)


@pytest.mark.parametrize("url", ["url", "tls_url"])
def test_a_connection_that_ends_in_the_middle(proxy: RunningProxy, talker: Place, url: str) -> None:
    proxy.faults = Faults(cut_after=100, reset=False)
    assert received(getattr(proxy, url), talker) == 100
    proxy.faults = Faults(cut_after=100)
    with pytest.raises(ConnectionResetError):
        received(getattr(proxy, url), talker)


def test_passwords(proxy: RunningProxy, talker: Place) -> None:
    with pytest.raises(socks6.AuthenticationFailed):
        socks6.connect(proxy.url.replace("password", "wrong"), talker.host, talker.port)
    proxy.refuse_passwords = True
    with pytest.raises(socks6.AuthenticationFailed):
        socks6.connect(proxy.url, talker.host, talker.port)
    assert proxy.requests == []
    with running_proxy(users={}) as open_proxy:
        assert "@" not in open_proxy.url
        socks6.connect(open_proxy.url_of("socks4a"), talker.host, talker.port).close()
        assert open_proxy.requests == [
            SeenRequest(
                command="CONNECT",
                host=talker.host,
                port=talker.port,
                user="",
                protocol=open_proxy.requests[0].protocol,
                initial_data=b"",
            )
        ]


THEIRS: Final = """
import pytest, socks6

def test_refused(socks6_proxy):
    from socks6.testing import Faults
    socks6_proxy.faults = Faults(refuse=5)
    with pytest.raises(ConnectionRefusedError):
        socks6.connect(socks6_proxy.url, "example.com", 80)

async def work(url):
    async with socks6.Client(url) as client:
        await client.connect("example.com", 80)

def test_refused_within_a_loop(socks6_proxy):
    import asyncio
    from socks6.testing import Faults
    socks6_proxy.faults_of["example.com"] = Faults(refuse=4)
    with pytest.raises(socks6.HostUnreachable):
        asyncio.run(work(socks6_proxy.url))
"""


@pytest.mark.slow
def test_it_is_a_plugin_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["socks6.testing"]\n')
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
