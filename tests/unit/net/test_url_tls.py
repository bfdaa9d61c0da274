"""TLS in URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.url import ProxyUrl

PIN = "A" * 43


@pytest.mark.parametrize(
    ("text", "port", "said"),
    [
        ("socks6+tls://h", 8389, TLS_DEFAULTS),
        ("socks6+tls://h:443", 443, TLS_DEFAULTS),
        ("http+tls://h", 8389, TLS_DEFAULTS),
        ("socks6+tls://h?sni=other.example", 8389, TlsParameters(sni="other.example")),
        ("socks6+tls://h?ca=/etc/ca.pem", 8389, TlsParameters(ca="/etc/ca.pem")),
        ("socks6+tls://h?ca=a%20b%40", 8389, TlsParameters(ca="a b@")),
        (f"socks6+tls://h?pin-sha256={PIN}", 8389, TlsParameters(pins=(bytes(32),))),
        (f"socks6+tls://h?pin-sha256={PIN},{'00' * 32}", 8389, TlsParameters(pins=(bytes(32), bytes(32)))),
        (
            "socks6+tls://h?cert=c&key=k&min-version=1.2",
            8389,
            TlsParameters(certificate="c", key="k", min_version="1.2"),
        ),
        ("socks6+tls://h?insecure-no-verification=1", 8389, TlsParameters(insecure=True)),
    ],
)
def test_urls_of_proxies_tell_how_to_know_them(text: str, port: int, said: TlsParameters) -> None:
    url = ProxyUrl.parse(text)
    assert (url.transport, url.port, url.tls) == ("tls", port, said)
    assert ProxyUrl.parse(url.with_secrets()) == url


def test_urls_of_listeners_name_their_files() -> None:
    url = ProxyUrl.parse_listener("mixed+tls://:0?cert=c&key=k&client-ca=a&min-version=1.3")
    assert url.tls == TlsParameters(certificate="c", key="k", client_ca="a", min_version="1.3")
    assert ProxyUrl.parse_listener(str(url)) == url
    assert url.scheme == "mixed+tls"


def test_stack_options_stand_beside() -> None:
    url = ProxyUrl.parse("socks6+tls://h?ttl=7&sni=x")
    assert len(url.options) == 1
    assert str(url) == "socks6+tls://h:8389?ttl=7&sni=x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("socks6+tls://h?pin-sha256=x", "has pin-sha256=x: is no SHA-256 of a public key"),
        ("socks6+tls://h?pin-sha256=", "is no SHA-256 of a public key"),
        ("socks6+tls://h?min-version=1.1", "has min-version=1.1: write 1.2 or 1.3"),
        ("socks6+tls://h?sni=", "has sni=: is no name of a host"),
        ("socks6+tls://h?ca=", "has ca=: name a file"),
        ("socks6+tls://h?sni=a&sni=b", "has the option 'sni' twice"),
        ("socks6+tls://h?key=k", "has a key without cert"),
        ("socks6+tls://h?insecure-no-verification=yes", "write 0 or 1"),
        (f"socks6+tls://h?insecure-no-verification=1&pin-sha256={PIN}", "beside what is to be verified"),
        ("socks6+tls://h?client-ca=x", "has an unknown option 'client-ca'"),
        ("socks6+tls://h?insecure=1", "has an unknown option 'insecure'"),
        ("socks6://h?ca=x", "has an unknown option 'ca'"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ProxyUrl.parse(text)
    assert message in str(raised.value)


@pytest.mark.parametrize("key", ["sni", "ca", "pin-sha256", "insecure-no-verification"])
def test_a_listener_takes_nothing_of_a_clients(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has an unknown option '{key}'"):
        ProxyUrl.parse_listener(f"socks6+tls://h?{key}=1")


PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(PATHS, st.none() | PATHS, st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_a_url_survives_being_written(certificate: str, ca: str | None, pins: list[bytes]) -> None:
    said = TlsParameters(certificate=certificate, ca=ca, pins=tuple(pins))
    url = ProxyUrl(protocol="socks6", host="h", port=1, transport="tls", tls=said)
    assert ProxyUrl.parse(url.with_secrets()) == url
