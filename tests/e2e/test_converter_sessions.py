"""What a converter in a session says to its proxy, read off the way between them."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from socks6.message.options import AuthenticationData, IdempotenceExpenditure, SessionId, SessionRequest, find
from socks6.message.requests import Request
from tests.kit.footprint import eventually
from tests.kit.origins import PAGE, Place, Site, tcp_host, web_site
from tests.kit.proxies import Proxy, converter, curl, receive_exactly, server

PASSWORD = "correct-horse"
CONNECTED5 = bytes.fromhex("05 00  05 00 00 01")

pytestmark = pytest.mark.e2e


@dataclass(kw_only=True)
class Tap:
    """A way to a proxy on which one can read what clients say."""

    to: Place
    heard: list[list[bytes]] = field(default_factory=list)  # of each connection, piece by piece
    place: Place = field(default_factory=lambda: Place(host="", port=0))

    def carry(self, near: socket.socket) -> None:
        """Carry one connection."""
        pieces: list[bytes] = []
        self.heard.append(pieces)
        with self.to.connected() as far:
            back = threading.Thread(target=_pour, args=(far, near, []), daemon=True)
            back.start()
            _pour(near, far, pieces)
            back.join()

    @property
    def requests(self) -> list[Request]:
        """What was asked for, in order."""
        return [Request.decode(pieces[0][: Request.size(pieces[0])]) for pieces in self.heard if pieces]

    @property
    def passwords(self) -> int:
        """On how many connections the password crossed the wire."""
        return sum(PASSWORD.encode() in b"".join(pieces) for pieces in self.heard)

    def behind_the_request(self, at: int = -1) -> bytes:
        """Return what came with a request, at once."""
        first = self.heard[at][0]
        return first[Request.size(first) :]


def _pour(source: socket.socket, sink: socket.socket, pieces: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            pieces.append(data)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tapped(to: Place) -> Iterator[Tap]:
    """Run a tap."""
    tap = Tap(to=to)
    with tcp_host(tap.carry) as tap.place:
        yield tap


@contextlib.contextmanager
def road(*flags: str) -> Iterator[tuple[Tap, Proxy]]:
    """Run a converter, a tap and a server."""
    with (
        server("--user", f"alice:{PASSWORD}", "--allow-private") as far,
        tapped(far.place) as tap,
        converter(f"socks6://alice:{PASSWORD}@127.0.0.1:{tap.place.port}", *flags) as near,
    ):
        yield tap, near


def say(near: Proxy, to: Place, data: bytes) -> socket.socket:
    """Ask for a connection as a SOCKS 5 client; then speak."""
    client = near.place.connected()
    client.sendall(bytes.fromhex("05 01 00  05 01 00 01 7f000001") + to.port.to_bytes(2, "big"))
    assert receive_exactly(client, 12).startswith(CONNECTED5)
    client.sendall(data)
    return client


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with web_site() as running:
        yield running


@pytest.mark.parametrize("way", ["--socks5", "--socks5-hostname", "--socks4a", "--proxy"])
def test_after_the_first_connection_no_password_crosses_the_wire(site: Site, way: str) -> None:
    with road() as (tap, near):
        for _ in range(4):
            assert curl(way, near.authority, f"{site.url}/").body == PAGE
        assert tap.passwords == 1
        first, *others = tap.requests
        assert find(first.options, SessionRequest) is not None
        assert len(others) >= 3
        for other in others:
            assert find(other.options, SessionId) is not None
            assert find(other.options, AuthenticationData) is None


def test_the_head_of_an_http_request_travels_with_the_connect(site: Site) -> None:
    with road() as (tap, near):
        assert curl("--proxy", f"http://{near.authority}", f"{site.url}/").body == PAGE
        assert tap.behind_the_request().startswith(b"GET / HTTP/1.1\r\n")


def test_optimistically_a_socks_5_clients_first_bytes_travel_with_the_connect() -> None:
    with tcp_host(_shout) as place, road("--optimistic") as (tap, near):
        with say(near, place, b"hello") as client:
            assert client.recv(5) == b"HELLO"
        assert tap.behind_the_request() == b"hello"


def test_first_bytes_in_the_syn_spend_a_token_each() -> None:
    with (
        tcp_host(_shout) as place,
        server("--user", f"alice:{PASSWORD}", "--allow-private", "-v") as far,
        tapped(far.place) as tap,
    ):
        via = f"socks6://alice:{PASSWORD}@127.0.0.1:{tap.place.port}"
        with converter(via, "--optimistic", "--via-fast-open") as near:
            assert eventually(lambda: any("session=new" in line for line in far.said)), "none ahead"
            for _ in range(3):
                with say(near, place, b"hello") as client:
                    assert client.recv(5) == b"HELLO"
        spent = [find(request.options, IdempotenceExpenditure) for request in tap.requests]
        tokens = [option.token for option in spent if option is not None]
        assert len(tokens) == len(set(tokens)) == 3
        assert tap.passwords == 1


def test_a_server_that_is_started_anew_is_given_the_password_once_more_unnoticed(site: Site) -> None:
    flags = ("--user", f"alice:{PASSWORD}", "--allow-private")
    with tapped(Place(host="", port=0)) as tap:
        via = f"socks6://alice:{PASSWORD}@127.0.0.1:{tap.place.port}"
        with converter(via) as near:
            for _ in range(2):
                with server(*flags) as far:
                    tap.to = far.place
                    for _ in range(3):
                        assert curl("--socks5", near.authority, f"{site.url}/").body == PAGE
            assert tap.passwords == 2


def test_a_converter_that_ends_tears_its_session_down() -> None:
    with server("--user", f"alice:{PASSWORD}", "-v") as far:
        with converter(far.as_user("alice", PASSWORD), "--via-fast-open"):
            assert eventually(lambda: any("session=new" in line for line in far.said)), "none ahead"
        assert eventually(lambda: any("session=ended" in line for line in far.said)), far.said


def _shout(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data.upper())
