"""curl, in every way it can use a proxy, through `socks6 client` and `socks6 server`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.kit.origins import PAGE, Site, refusing_place, web_site
from tests.kit.proxies import Fetched, Proxy, converter, curl, server

SOCKS: Final = ["--socks4", "--socks4a", "--socks5", "--socks5-hostname"]
WAYS: Final = [*SOCKS, "--proxy"]
PROXY_FAILED: Final = 97  # curl: the proxy handshake failed
TUNNEL_FAILED: Final = 56  # curl: CONNECT got another answer than 200

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, kw_only=True)
class Road:
    """From curl to a web site."""

    converter: Proxy
    server: Proxy

    def fetch(self, way: str, url: str, *arguments: str, login: str = "") -> Fetched:
        """Have curl fetch a URL."""
        proxy_url = f"{login and login + '@'}{self.converter.authority}"
        if way == "--proxy":
            proxy_url = f"http://{proxy_url}"
        return curl(way, proxy_url, *arguments, url)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with web_site() as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with web_site(tls_folder=tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    """Give a road that is open to everybody."""
    with server() as far, converter(far.url) as near:
        yield Road(converter=near, server=far)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Road]:
    """Give a road with a password at the converter, and another one at the server."""
    with (
        server("--user", "alice:123456") as far,
        converter(far.as_user("alice", "123456"), "--user", "bob:builder") as near,
    ):
        yield Road(converter=near, server=far)


@pytest.mark.parametrize("way", WAYS)
def test_curl_fetches_a_page(road: Road, site: Site, way: str) -> None:
    assert road.fetch(way, site.url).body == PAGE


@pytest.mark.parametrize("way", [*SOCKS, "--proxy"])
def test_curl_fetches_an_encrypted_page(road: Road, secure_site: Site, way: str) -> None:
    fetched = road.fetch(way, secure_site.url, "--cacert", str(secure_site.ca_file))
    assert fetched.body == PAGE, fetched


@pytest.mark.parametrize("way", ["--socks4a", "--socks5-hostname", "--proxy"])
def test_names_are_resolved_at_the_far_end(road: Road, secure_site: Site, way: str) -> None:
    fetched = road.fetch(way, f"https://localhost:{secure_site.port}", "--cacert", str(secure_site.ca_file))
    assert fetched.body == PAGE, fetched


def test_plain_http_may_go_through_a_tunnel(road: Road, site: Site) -> None:
    fetched = road.fetch("--proxy", site.url, "--proxytunnel")
    assert (fetched.connect_status, fetched.body) == (200, PAGE)


@pytest.mark.parametrize("way", ["--socks5", "--socks5-hostname", "--proxy"])
def test_curl_fetches_a_page_with_passwords_at_both_ends(guarded: Road, site: Site, way: str) -> None:
    assert guarded.fetch(way, site.url, login="bob:builder").body == PAGE


def test_curl_fetches_an_encrypted_page_with_passwords_at_both_ends(guarded: Road, secure_site: Site) -> None:
    fetched = guarded.fetch(
        "--proxy", secure_site.url, "--cacert", str(secure_site.ca_file), login="bob:builder"
    )
    assert (fetched.connect_status, fetched.body) == (200, PAGE)


@pytest.mark.parametrize("login", ["", "bob:wrong", "nobody:builder", "alice:123456"])
@pytest.mark.parametrize("way", ["--socks5", "--socks5-hostname"])
def test_socks5_with_other_credentials_is_refused(guarded: Road, site: Site, way: str, login: str) -> None:
    fetched = guarded.fetch(way, site.url, login=login)
    assert (fetched.code, fetched.body) == (PROXY_FAILED, b"")


@pytest.mark.parametrize("login", ["", "bob:wrong", "nobody:builder", "alice:123456"])
def test_http_with_other_credentials_is_answered_407(guarded: Road, site: Site, login: str) -> None:
    assert guarded.fetch("--proxy", site.url, login=login).status == 407


@pytest.mark.parametrize("login", ["", "bob:wrong"])
def test_connect_with_other_credentials_is_answered_407(guarded: Road, secure_site: Site, login: str) -> None:
    fetched = guarded.fetch("--proxy", secure_site.url, login=login)
    assert (fetched.code, fetched.connect_status) == (TUNNEL_FAILED, 407)


@pytest.mark.parametrize("way", ["--socks4", "--socks4a"])
def test_socks4_is_refused_where_there_are_passwords(guarded: Road, site: Site, way: str) -> None:
    assert guarded.fetch(way, site.url, login="bob").code == PROXY_FAILED


@pytest.fixture(scope="module", params=["", "alice:wrong", "mallory:123456"])
def ill_equipped(request: pytest.FixtureRequest) -> Iterator[Road]:
    """Give a road whose converter does not know the password of its server."""
    with server("--user", "alice:123456") as far:
        login = request.param and f"{request.param}@"
        with converter(far.url.replace("://", f"://{login}")) as near:
            yield Road(converter=near, server=far)


def test_an_upstream_that_refuses_our_password_is_a_general_failure(ill_equipped: Road, site: Site) -> None:
    fetched = ill_equipped.fetch("--socks5", site.url)
    assert fetched.code == PROXY_FAILED
    assert "(1)" in fetched.complaint, fetched.complaint


def test_an_upstream_that_refuses_our_password_is_a_bad_gateway(ill_equipped: Road, site: Site) -> None:
    assert ill_equipped.fetch("--proxy", site.url).status == 502


def test_a_destination_that_refuses_is_told_of_exactly(road: Road) -> None:
    with refusing_place() as nobody:
        fetched = road.fetch("--socks5", f"http://{nobody.host}:{nobody.port}")
    assert fetched.code == PROXY_FAILED
    assert "(5)" in fetched.complaint, fetched.complaint


@pytest.mark.parametrize("manner", [(), ("--proxytunnel",)])
def test_a_destination_that_refuses_is_a_bad_gateway(road: Road, manner: tuple[str, ...]) -> None:
    with refusing_place() as nobody:
        fetched = road.fetch("--proxy", f"http://{nobody.host}:{nobody.port}", *manner)
    assert (fetched.connect_status if manner else fetched.status) == 502


def test_the_origin_does_not_see_what_was_for_the_proxy(guarded: Road, site: Site) -> None:
    guarded.fetch("--proxy", f"{site.url}/seen", login="bob:builder")
    seen = next(seen for seen in site.seen if seen.target == "/seen")
    assert not [name for name in seen.headers if name.startswith("proxy-")]


def test_a_second_request_uses_the_same_connections(road: Road, site: Site) -> None:
    fetched = road.fetch("--proxy", f"{site.url}/first", f"{site.url}/second")
    peers = {seen.target: seen.peer for seen in site.seen}
    assert fetched.body == 2 * PAGE
    assert peers["/first"] == peers["/second"]


def test_requests_may_follow_each_other_without_waiting(road: Road, site: Site) -> None:
    """As apt does it: pipelining."""
    request = f"GET {site.url}/ HTTP/1.1\r\nHost: x\r\n\r\n"
    last = f"GET {site.url}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with road.converter.place.connected() as sock:
        sock.sendall((request * 9 + last).encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.count(PAGE) == 10


@pytest.mark.parametrize("way", WAYS)
def test_many_connections_at_the_same_time(road: Road, site: Site, way: str) -> None:
    fetched = road.fetch(
        way, f"{site.url}/[1-100]", "--parallel", "--parallel-max", "50", "--parallel-immediate"
    )
    assert fetched.body == 100 * PAGE, fetched.complaint


@pytest.mark.parametrize("way", ["--socks5", "--socks5-hostname", "--proxy"])
def test_ipv6_all_along(way: str) -> None:
    with (
        web_site("::1") as site,
        server("--listen", "socks6://[::1]:0") as far,
        converter(far.url, "--listen", "mixed://[::1]:0") as near,
    ):
        road = Road(converter=near, server=far)
        assert road.fetch(way, site.url).body == PAGE
        assert site.seen[0].peer[0] == "::1"


def test_the_way_to_the_server_may_be_a_unix_socket(site: Site, tmp_path: Path) -> None:
    with (
        server("--listen", f"socks6+unix://{tmp_path}/proxy.sock") as far,
        converter(far.url) as near,
    ):
        assert Road(converter=near, server=far).fetch("--socks5-hostname", site.url).body == PAGE


def test_a_server_on_a_unix_socket_may_want_passwords(site: Site, tmp_path: Path) -> None:
    with (
        server("--listen", f"socks6+unix://{tmp_path}/proxy.sock", "--user", "alice:123456") as far,
        converter(far.as_user("alice", "123456")) as near,
    ):
        assert Road(converter=near, server=far).fetch("--socks5-hostname", site.url).body == PAGE


@pytest.mark.parametrize("inbound", ["mixed", "socks5", "http"])
def test_one_server_may_do_it_alone(site: Site, inbound: str) -> None:
    with server("--listen", f"{inbound}://127.0.0.1:0") as alone:
        road = Road(converter=alone, server=alone)
        assert road.fetch("--proxy" if inbound == "http" else "--socks5", site.url).body == PAGE


def test_clients_that_dawdle_hold_up_nobody(road: Road, site: Site) -> None:
    begun = [b"", b"\x04", b"\x05", b"\x05\x01\x00", b"\x06\x01", b"GET ", b"CONNECT x:1 HTTP/1.1\r\n"]
    with contextlib.ExitStack() as held:
        for data in begun * 3:
            held.enter_context(road.converter.place.connected()).sendall(data)
        assert road.fetch("--socks5", site.url).body == PAGE


def test_the_way_to_the_server_may_be_in_the_older_dialect(site: Site) -> None:
    with (
        server("--user", "alice:123456", "--dialect212") as far,
        converter(f"{far.as_user('alice', '123456')}?dialect=212") as near,
    ):
        answer = curl("--socks5-hostname", near.authority, site.url)
        assert (answer.code, answer.body) == (0, PAGE)
    with server() as far, converter(f"{far.url}?dialect=212") as near:
        assert curl("--socks5-hostname", near.authority, site.url).code == PROXY_FAILED
