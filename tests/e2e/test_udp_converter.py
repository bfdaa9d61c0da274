"""SOCKS 5 clients and UDP: through a real converter and a real server, and through a server alone."""

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.kit.dante import socksified
from tests.kit.footprint import eventually
from tests.kit.origins import Place
from tests.kit.proxies import ENVIRONMENT, converter, server
from tests.kit.socks5_client import socks5_association
from tests.kit.udp_hosts import ADDRESS, dtls_host, greet_over_dtls, name_server, udp_echo

pytestmark = pytest.mark.e2e

LISTEN = ("--listen", "socks5://127.0.0.1:0")


@pytest.fixture(scope="module")
def converting() -> Iterator[Place]:
    """Run a converter and the server it goes through; give the converter's place."""
    with server() as upstream, converter(upstream.url, *LISTEN) as running:
        yield running.place


@pytest.fixture(scope="module")
def serving() -> Iterator[Place]:
    """Run a server that speaks SOCKS 5 itself; give its place."""
    with server(*LISTEN) as running:
        yield running.place


@pytest.fixture(params=["converting", "serving"])
def place(request: pytest.FixtureRequest) -> Place:
    """Give either."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


def test_drill_by_socksify(converting: Place) -> None:
    """Not dig: its libuv sends by a system call that socksify does not see."""
    if shutil.which("drill") is None:
        pytest.skip("drill (ldnsutils) is not installed")
    with name_server() as far, socksified(converting) as prefix:
        words = [*prefix, "drill", "-4", "-Q", "-p", str(far.port), "@127.0.0.1", "a.example"]
        answer = subprocess.run(
            words, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=20
        )
    assert answer.stdout == f"{ADDRESS}\n"


def test_dtls_by_socksify(converting: Place) -> None:
    with dtls_host() as far, socksified(converting) as prefix:
        assert greet_over_dtls(far, *prefix, port=far.place.port) == "welcome\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_and_names(place: Place, host: str) -> None:
    with (
        udp_echo("::1" if host == "::1" else "127.0.0.1") as far,
        socks5_association(place) as udp,
    ):
        answer = udp.ask(host, far.port, b"hello")
        assert (answer.data, answer.port, answer.host) == (b"hello", far.port, far.host)


def test_an_ipv6_client() -> None:
    with (
        udp_echo() as far,
        server("--listen", "socks5://[::1]:0") as running,
        socks5_association(running.place) as udp,
    ):
        assert udp.relay.host == "::1"
        assert udp.ask(far.host, far.port, b"hello").data == b"hello"


def test_the_cone_is_full(place: Place) -> None:
    """One port for all remotes, and any of them may answer, or a third one."""
    seen: list[tuple[str, int]] = []
    with (
        udp_echo(seen=seen, silent=True) as first,
        udp_echo(seen=seen) as second,
        socks5_association(place) as udp,
    ):
        udp.send(first.host, first.port, b"to the first")
        assert udp.ask(second.host, second.port, b"to the second").data == b"to the second"
        assert eventually(lambda: len(seen) == 2)
        assert seen[0] == seen[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third:
            third.bind(("127.0.0.1", 0))
            third.sendto(b"from a third", seen[0])
            stranger = udp.receive()
            assert (stranger.data, stranger.port) == (b"from a third", third.getsockname()[1])


def test_an_odd_claim_about_the_clients_address_is_tolerated(serving: Place) -> None:
    with udp_echo() as far:
        for claimed in (("192.0.2.99", 9), ("::", 0), ("client.example", 65535)):
            with socks5_association(serving, claimed=claimed) as udp:
                assert udp.ask(far.host, far.port, b"hello").data == b"hello"


def test_others_are_not_served_and_fragments_dropped(serving: Place) -> None:
    with (
        udp_echo() as far,
        socks5_association(serving) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief,
    ):
        thief.bind(("127.0.0.2", 0))
        thief.settimeout(0.2)
        thief.sendto(
            b"\0\0\0\1\x7f\0\0\1" + far.port.to_bytes(2) + b"stolen", (udp.relay.host, udp.relay.port)
        )
        udp.send(far.host, far.port, b"a part", fragment=1)
        assert udp.ask(far.host, far.port, b"hello").data == b"hello"
        with pytest.raises(TimeoutError):
            thief.recv(100)


def test_it_ends_with_the_connection(place: Place) -> None:
    seen: list[tuple[str, int]] = []
    with udp_echo(seen=seen) as far:
        with socks5_association(place) as udp:
            udp.ask(far.host, far.port, b"hello")
        assert eventually(lambda: _is_free(seen[0][1]))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
