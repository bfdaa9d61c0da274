"""socks6 forward, with a real server."""

from collections.abc import Iterator

import pytest

from tests.kit.forwarding import forward
from tests.kit.origins import Place, echo, refusing_place, web_site
from tests.kit.processes import socks6, started
from tests.kit.proxies import curl, receive_exactly, server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def via() -> Iterator[str]:
    """Run a server; give its URL."""
    with server() as running:
        yield running.url


def test_a_web_site_is_brought_near(via: str) -> None:
    with (
        web_site() as site,
        forward(via, Place(host=site.host, port=site.port)) as near,
    ):
        fetched = curl("--output", "/dev/null", f"http://127.0.0.1:{near.port}/big/3000000")
    assert (fetched.code, fetched.status) == (0, 200)


def test_many_connections_and_both_ends(via: str) -> None:
    with echo() as far, forward(via, far, local="localhost:0") as near:
        sockets = [near.connected() for _ in range(20)]
        for number, sock in enumerate(sockets):
            sock.sendall(bytes((number,)) * 1000)
            sock.shutdown(1)
        for number, sock in enumerate(sockets):
            assert receive_exactly(sock, 2000) == bytes((number,)) * 1000
            sock.close()


def test_a_host_that_refuses_costs_that_connection_alone(via: str) -> None:
    with refusing_place() as nobody:
        words = ("forward", "--via", via, "0", f"{nobody.host}:{nobody.port}")
        with started(*words) as process:
            assert process.stderr is not None
            port = int(process.stderr.readline().rpartition(b":")[2])
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    _read(Place(host="127.0.0.1", port=port))
                while not (line := process.stderr.readline()).startswith(b"socks6: "):
                    assert line.startswith(b"through "), line
                assert b"refused" in line


def test_one_connection_more_than_there_may_be_is_turned_away(via: str) -> None:
    with (
        echo() as far,
        forward(via, far, "--max-peers", "1", complaint="limit reached") as near,
        near.connected() as first,
    ):
        first.sendall(b"hello")
        assert receive_exactly(first, 5) == b"hello"
        with pytest.raises(ConnectionResetError):
            _read(near)


def _read(place: Place) -> bytes:
    """Connect and read; a reset that comes at once may be found while connecting."""
    with place.connected() as sock:
        return sock.recv(1)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("1", "example.com:1"), "no proxy to go through"),
        (("--via", "socks6://127.0.0.1", ":1", "example.com:1"), "[HOST:]PORT"),
        (("--via", "socks6://127.0.0.1", "65536", "example.com:1"), "is no port (0 to 65535)"),
        (("--via", "socks6://127.0.0.1", "1", "example.com"), "HOST:PORT"),
        (("--via", "socks6://127.0.0.1", "1", "a b:1"), "REMOTE"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], complaint: str) -> None:
    ended = socks6("forward", *words)
    assert ended.code == 2
    assert complaint in ended.errors


@pytest.mark.parametrize("kind", [(), ("--udp",)])
def test_a_place_that_is_not_ours_is_told(kind: tuple[str, ...]) -> None:
    ended = socks6("forward", "--via", "socks6://127.0.0.1", *kind, "192.0.2.1:1", "example.com:1")
    assert ended.code == 1
    assert "Cannot assign requested address (this machine does not have 192.0.2.1" in ended.errors
    assert ended.errors.count("\n") == 1  # no traceback
