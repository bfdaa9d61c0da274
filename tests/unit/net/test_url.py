"""URLs of proxies and listeners."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import ConfigurationError
from socks6.message.dialect import GO_212
from socks6.net.url import ProxyUrl


def complaint(text: str) -> str:
    """Return what is wrong with a URL."""
    with pytest.raises(ConfigurationError) as raised:
        ProxyUrl.parse(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("socks6://example.com", ProxyUrl(protocol="socks6", host="example.com", port=1080)),
        ("SOCKS6://Example.COM.:1081/", ProxyUrl(protocol="socks6", host="example.com.", port=1081)),
        ("socks6://bücher.example", ProxyUrl(protocol="socks6", host="xn--bcher-kva.example", port=1080)),
        ("socks6://192.0.2.1:8000", ProxyUrl(protocol="socks6", host="192.0.2.1", port=8000)),
        ("socks6://[2001:DB8::1]", ProxyUrl(protocol="socks6", host="2001:db8::1", port=1080)),
        ("socks6://[::1]:1081", ProxyUrl(protocol="socks6", host="::1", port=1081)),
        ("socks5://example.com", ProxyUrl(protocol="socks5", host="example.com", port=1080)),
        ("mixed://example.com", ProxyUrl(protocol="mixed", host="example.com", port=1080)),
        ("http://example.com", ProxyUrl(protocol="http", host="example.com", port=8080)),
        ("socks6+unix:///run/socks6.sock", ProxyUrl(protocol="socks6", path="/run/socks6.sock")),
        ("http+unix:///a%20b%25%C3%BC", ProxyUrl(protocol="http", path="/a b%ü")),
        ("socks6+unix:///run/@socks6", ProxyUrl(protocol="socks6", path="/run/@socks6")),
        (
            "socks6://alice:secret@example.com:1081",
            ProxyUrl(protocol="socks6", host="example.com", port=1081, username="alice", password="secret"),
        ),
        (
            "socks6://alice@example.com",
            ProxyUrl(protocol="socks6", host="example.com", port=1080, username="alice"),
        ),
        (
            "socks6://alice:@example.com",
            ProxyUrl(protocol="socks6", host="example.com", port=1080, username="alice", password=""),
        ),
        (
            "socks6://%C3%A5%3A%40:p%2Fw%3f:@x@[::1]",
            ProxyUrl(protocol="socks6", host="::1", port=1080, username="å:@", password="p/w?:@x"),
        ),
        (
            "socks6+unix://alice:secret@/run/socks6.sock",
            ProxyUrl(protocol="socks6", path="/run/socks6.sock", username="alice", password="secret"),
        ),
    ],
)
def test_urls_of_proxies_are_read(text: str, url: ProxyUrl) -> None:
    assert ProxyUrl.parse(text) == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("socks6://127.0.0.1:0", ProxyUrl(protocol="socks6", host="127.0.0.1", port=0)),
        ("mixed://[::1]", ProxyUrl(protocol="mixed", host="::1", port=1080)),
        ("http://localhost", ProxyUrl(protocol="http", host="localhost", port=8080)),
        ("socks5://:1080", ProxyUrl(protocol="socks5", host="", port=1080)),
        ("mixed+unix:///run/mixed", ProxyUrl(protocol="mixed", path="/run/mixed")),
    ],
)
def test_urls_of_listeners_are_read(text: str, url: ProxyUrl) -> None:
    assert ProxyUrl.parse_listener(text) == url


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("socks6://Example.com", "socks6://example.com:1080"),
        ("socks6://[::1]:1081", "socks6://[::1]:1081"),
        ("socks6+unix:///run/a%20b", "socks6+unix:///run/a%20b"),
        ("socks6://al%40ice@h", "socks6://al%40ice@h:1080"),
        ("socks6://alice:secret@h", "socks6://alice:***@h:1080"),
        ("socks6://alice:@h", "socks6://alice:***@h:1080"),
        ("socks6+unix://alice:secret@/run/s", "socks6+unix://alice:***@/run/s"),
    ],
)
def test_a_url_shows_no_password(url: str, text: str) -> None:
    assert str(ProxyUrl.parse(url)) == text
    assert repr(ProxyUrl.parse(url)) == f"<ProxyUrl {text}>"


def test_a_listener_on_every_address_shows_no_host() -> None:
    assert str(ProxyUrl.parse_listener("socks6://:1080")) == "socks6://:1080"


def test_the_scheme_tells_unix_sockets() -> None:
    assert ProxyUrl.parse("mixed://h").scheme == "mixed"
    assert ProxyUrl.parse("mixed+unix:///s").scheme == "mixed+unix"


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("socks6://127.0.0.1", True),
        ("socks6://127.9.9.9", True),
        ("socks6://[::1]", True),
        ("socks6://localhost", True),
        ("socks6://localhost.", True),
        ("socks6+unix:///run/s", True),
        ("socks6://0.0.0.0", False),
        ("socks6://[::]", False),
        ("socks6://192.168.0.1", False),
        ("socks6://:1080", False),
        ("socks6://localhost.example.com", False),
    ],
)
def test_only_loopback_and_unix_sockets_are_local(text: str, local: bool) -> None:
    assert ProxyUrl.parse_listener(text).is_local is local


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': is no URL: write socks6://host:port"),
        ("example.com:1080", "'example.com:1080': is no URL: write socks6://host:port"),
        ("socks6:example.com", "'***': is no URL"),
        (
            "socks7://h",
            "'socks7://h': has an unknown scheme; there are socks6, mixed, socks5, http, socks6+unix,",
        ),
        ("socks6+quick://h", "'socks6+quick://h': has an unknown scheme"),
        ("socks6://", "'socks6://': names no host"),
        ("socks6://:1080", "'socks6://:1080': names no host"),
        ("socks6://h:0", "'socks6://h:0': port 0 is nobody's"),
        ("socks6://h:65536", "'socks6://h:65536': port 65536 is over 65535"),
        ("socks6://h:", "'socks6://h:': has no port number"),
        ("socks6://h:http", "'socks6://***': has no port number"),
        ("socks6://h:٣", "'socks6://***': has no port number"),
        (
            "socks6://::1:1080",
            "'socks6://***': has no port number after its host; IPv6 addresses go in brackets",
        ),
        ("socks6://[h]", "'socks6://[h]': '[h]' is no IPv6 address"),
        ("socks6://[::1", "'socks6://***': has no port number"),
        ("socks6://127.1", "'socks6://127.1': b'127.1' is no host name"),
        ("socks6://h/path", "'socks6://h/path': has a path"),
        ("socks6://h?sni=x", "'socks6://h?sni=x': has an unknown option 'sni'; there are tos, dscp, ttl"),
        ("socks6://h?dialect=7", "has dialect=7: write 6 or 212"),
        ("socks6://h?dialect=212&dialect=6", "has the option 'dialect' twice"),
        ("socks5://h?dialect=212", "has dialect=212, which is about SOCKS 6 alone"),
        ("socks6://h?udp", "has udp=: write auto, datagram, stream, dtls, quic"),
        ("socks6://h?udp=dtls", "has udp=dtls, which there is beside tls alone"),
        ("socks6://h?udp=auto&udp=auto", "has the option 'udp' twice"),
        ("socks6://h#x", "has a #fragment"),
        ("socks6://a b", "has spaces or characters that cannot be printed"),
        ("socks6://h\n", "has spaces or characters that cannot be printed"),
        ("socks6://@h", "has an empty user name"),
        ("socks6://:secret@h", "'socks6://***@h': has an empty user name"),
        ("socks6://%FF@h", "is not UTF-8"),
        ("socks6://" + "a" * 256 + "@h", "is longer than 255 bytes"),
        ("socks6+unix://", "names no Unix socket"),
        ("socks6+unix:///", "names no Unix socket"),
        ("socks6+unix:///a%00b", "names no Unix socket"),
        ("socks6+unix://run/socks6", "a Unix socket has no host: write three slashes before its path"),
        ("socks6+unix:///" + "a" * 107, "has at most 107 bytes"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    assert message in complaint(text)


@pytest.mark.parametrize(
    "text",
    [
        "socks6://alice:hunter2",
        "socks6://alice:hunter2@h:x",
        "socks6://alice:hunt/er2@h",
        "socks6://alice:hunt?er2@h",
        "socks6://alice:hunt#er2@h",
        "socks6://alice:hunter2@h/x@y",
        "socks6://alice:hunter2@::1:80",
        "alice:hunter2@h:1080",
        "alice:hunter2",
        "socks7://alice:hunter2@h",
        "hunter2@socks6://h",
        "socks6://alice:hunter2://@h:x",
        "socks6+unix://alice:hunter2@h/run",
        "socks6+unix://alice:hunter2@",
        "socks6://alice:hunter2@h:0",
        "socks6://alice:hunter2\n@h",
    ],
)
def test_no_complaint_shows_a_password(text: str) -> None:
    message = complaint(text)
    assert "hunt" not in message
    assert "er2" not in message


@pytest.mark.parametrize(
    "text",
    [
        "socks6://h:1080?udp=stream",
        "socks6://h:1080?ttl=5&udp=datagram",
        "socks6+tls://h:8389?sni=a.example&udp=dtls",
    ],
)
def test_a_url_says_how_datagrams_travel(text: str) -> None:
    url = ProxyUrl.parse(text)
    assert url.udp == text.rpartition("=")[2]
    assert str(url) == text


def test_a_listener_takes_no_path_of_datagrams() -> None:
    with pytest.raises(ConfigurationError, match="a listener's URL has no options"):
        ProxyUrl.parse_listener("socks6+tls://h?udp=dtls")


def test_a_listener_takes_no_users() -> None:
    with pytest.raises(ConfigurationError, match="a listener's users stand elsewhere") as raised:
        ProxyUrl.parse_listener("socks6://alice:hunter2@127.0.0.1")
    assert "hunter2" not in str(raised.value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
URLS = st.builds(
    ProxyUrl,
    protocol=st.sampled_from(["socks6", "mixed", "socks5", "http"]),
    host=st.one_of(st.ip_addresses().map(str), st.sampled_from(["h", "www.example.com"])),
    port=st.integers(1, 65535),
    username=TEXTS,
    password=st.one_of(st.none(), TEXTS),
)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(URLS.filter(lambda url: ":ffff:" not in url.host))
def test_a_url_survives_being_written(url: ProxyUrl) -> None:
    assert ProxyUrl.parse(url.with_secrets()) == url


@given(PATHS.filter(lambda path: path != "/"))
def test_a_path_survives_being_written(path: str) -> None:
    url = ProxyUrl(protocol="socks6", path="/" + path)
    assert ProxyUrl.parse(url.with_secrets()) == url
    assert ProxyUrl.parse_listener(str(url)) == url


@given(st.one_of(st.text(), st.text(alphabet="socks6+unix:/@[]#?%&.0").map("socks6://".__add__)))
def test_every_text_is_a_url_or_a_configuration_error(text: str) -> None:
    for parse in (ProxyUrl.parse, ProxyUrl.parse_listener):
        with contextlib.suppress(ConfigurationError):
            parse(text)


@pytest.mark.parametrize(
    "text", ["socks6://h:1080?dialect=212", "socks6+tls://h:8389?sni=a.example&dialect=212"]
)
def test_a_proxy_may_be_of_the_older_dialect(text: str) -> None:
    url = ProxyUrl.parse(text)
    assert url.dialect == GO_212
    assert str(url) == text
    assert ProxyUrl.parse("socks6://h?dialect=6") == ProxyUrl.parse("socks6://h")
    with pytest.raises(ConfigurationError, match="--dialect212"):
        ProxyUrl.parse_listener("socks6://:1080?dialect=212")
