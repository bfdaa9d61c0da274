"""What environment variables say of proxies."""

import pytest

from socks6.client.client import Client
from socks6.client.environment import NoProxy, no_proxy_of, proxy_of
from socks6.errors import ConfigurationError
from socks6.message.address import normalize_host
from socks6.sync.client import Client as SyncClient


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, None),
        ({"ALL_PROXY": " "}, None),
        ({"SOCKS6_PROXY": "socks6://a", "ALL_PROXY": "socks5://b"}, ("SOCKS6_PROXY", "socks6://a")),
        ({"all_proxy": "socks5://a", "ALL_PROXY": "socks5://b"}, ("all_proxy", "socks5://a")),
        ({"HTTP_PROXY": "http://b", "HTTPS_PROXY": "http://a"}, ("HTTPS_PROXY", "http://a")),
        (
            {"https_proxy": "", "http_proxy": "proxy.example:3128"},
            ("http_proxy", "http://proxy.example:3128"),
        ),
        ({"HTTPS_PROXY": "10.0.0.1:3128"}, ("HTTPS_PROXY", "http://10.0.0.1:3128")),
        ({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None),
        ({"http_proxy": "http://a", "REQUEST_METHOD": "GET"}, ("http_proxy", "http://a")),
    ],
)
def test_the_first_that_is_set_names_the_proxy(
    environment: dict[str, str], named: tuple[str, str] | None
) -> None:
    assert proxy_of(environment) == named


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_client_of_the_environment(kind: type[Client | SyncClient]) -> None:
    assert str(kind.from_environment({"ALL_PROXY": "socks5h://a"}).url) == "socks5h://a:1080"
    assert str(kind.from_environment({}).url) == "direct://"
    with pytest.raises(ConfigurationError, match=r"^all_proxy: .*unknown scheme"):
        kind.from_environment({"all_proxy": "socks7://a"})


def test_the_process_has_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKS6_PROXY", "socks6://of-the-process")
    for kind in (Client, SyncClient):
        assert kind.from_environment().url.host == "of-the-process"


def test_no_proxy_may_be_written_in_either_case() -> None:
    assert no_proxy_of({"no_proxy": "a", "NO_PROXY": "b"}) == "a"
    assert no_proxy_of({"NO_PROXY": "b"}) == "b"
    assert no_proxy_of({}) == ""


@pytest.mark.parametrize(
    ("text", "excluded", "others"),
    [
        ("example.com", ["example.com:80", "www.example.com:443", "EXAMPLE.com.:80"], ["notexample.com:80", "com:80"]),
        (".example.com", ["example.com:80", "a.b.example.com:80"], ["example.org:80"]),
        ("*.example.com.", ["a.example.com:80"], ["example.org:80"]),
        ("a, b\tc", ["a:1", "b:1", "c:1", "x.c:1"], ["d:1"]),
        ("*", ["anything.example:1", "10.0.0.1:1", "[::1]:1"], []),
        ("localhost,*", ["anything.example:1"], []),
        ("192.168.0.0/16", ["192.168.7.1:80"], ["192.169.0.1:80", "192.168.example:80"]),
        ("192.168.7.9/16", ["192.168.1.1:80"], []),
        ("10.0.0.1", ["10.0.0.1:80"], ["10.0.0.2:80", "x.10.0.0.1.example:80"]),
        ("2001:db8::/32, ::1", ["[2001:db8::7]:80", "[::1]:80"], ["[2001:db9::1]:80", "127.0.0.1:80"]),
        ("[::1]:8080", ["[::1]:8080"], ["[::1]:80"]),
        ("example.com:8080 10.0.0.0/8:1", ["a.example.com:8080", "10.9.9.9:1"], ["example.com:80", "10.9.9.9:2"]),
        ("bücher.example", ["xn--bcher-kva.example:80"], []),
        ("a b/c [::1 .. 999.1.1.1:80", ["a:80"], ["b:80"]),
        ("", [], ["a:80"]),
    ],
)  # fmt: skip
def test_hosts_that_no_proxy_excludes(text: str, excluded: list[str], others: list[str]) -> None:
    no_proxy = NoProxy.parse(text)
    assert bool(no_proxy) == bool(text)
    for expected, places in ((True, excluded), (False, others)):
        for place in places:
            host, _, port = place.rpartition(":")
            assert no_proxy.excludes(normalize_host(host), int(port)) is expected, place
