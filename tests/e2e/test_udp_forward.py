"""socks6 forward --udp: real programs that speak UDP reach what is behind a real server."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.kit.forwarding import forward
from tests.kit.proxies import ENVIRONMENT, server
from tests.kit.udp_hosts import ADDRESS, dtls_host, greet_over_dtls, iperf_host, name_server, udp_echo

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def via() -> Iterator[str]:
    """Run a server; give its URL."""
    with server() as running:
        yield running.url


PATHS = pytest.mark.parametrize("path", ["datagram", "stream"])


def dig(*arguments: str) -> str:
    """Run dig; return what it prints. The test skips where there is none."""
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    words = ["dig", "+short", "+tries=2", "+time=5", *arguments]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@PATHS
def test_dig(via: str, path: str) -> None:
    with (
        name_server() as far,
        forward(via, far, "--udp", "--udp-path", path) as near,
    ):
        answer = dig("-p", str(near.port), "@127.0.0.1", "a.example")
    assert answer == f"{ADDRESS}\n"


def test_dig_over_ipv6_on_both_sides() -> None:
    with (
        name_server("::1") as far,
        server("--listen", "socks6://[::1]:0") as running,
        forward(running.url, far, "--udp", local="[::1]:0") as near,
    ):
        assert dig("-p", str(near.port), "@::1", "a.example") == f"{ADDRESS}\n"


def test_many_peers(via: str) -> None:
    with udp_echo() as far, forward(via, far, "--udp") as near:
        peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
        for number, peer in enumerate(peers):
            peer.settimeout(10)
            peer.sendto(bytes((number,)) * 1200, (near.host, near.port))
        for number, peer in enumerate(peers):
            assert peer.recv(65536) == bytes((number,)) * 1200
            peer.close()


def test_dtls_by_openssl(via: str) -> None:
    with (
        dtls_host() as far,
        forward(via, far.place, "--udp") as near,
    ):
        assert greet_over_dtls(far, port=near.port) == "welcome\n"


def test_iperf3_both_ways_without_loss(via: str) -> None:
    """8 Mbit/s each way for a second; docs/guide/udp.md tells how fast it was seen."""
    with (
        iperf_host() as far,
        forward(via, far) as control,
        forward(via, far, "--udp", local=str(control.port)),
    ):
        words = ["iperf3", "-u", "--bidir", "-b", "8M", "-l", "1200", "-t", "1", "-J"]
        words += ["-c", "127.0.0.1", "-p", str(control.port)]
        report = subprocess.run(
            words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=20
        )
    assert report.returncode == 0, report.stdout + report.stderr
    ends = json.loads(report.stdout)["end"]
    for way in (ends["sum"], ends["sum_bidir_reverse"]):
        assert way["lost_packets"] == 0
        assert way["packets"] > 500
