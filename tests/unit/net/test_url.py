"""URLs of proxies and listeners."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import ConfigurationError
from socks6.message.codes import Availability, Leg
from socks6.message.dialect import GO_212
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.url import ProxyUrl, QuicParameters


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
        (
            "socks6+unix:///run/socks6.sock",
            ProxyUrl(protocol="socks6", transport="unix", path="/run/socks6.sock"),
        ),
        ("http+unix:///a%20b%25%C3%BC", ProxyUrl(protocol="http", transport="unix", path="/a b%ü")),
        ("socks6+unix:///run/@socks6", ProxyUrl(protocol="socks6", transport="unix", path="/run/@socks6")),
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
            ProxyUrl(
                protocol="socks6",
                transport="unix",
                path="/run/socks6.sock",
                username="alice",
                password="secret",
            ),
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
        ("mixed+unix:///run/mixed", ProxyUrl(protocol="mixed", transport="unix", path="/run/mixed")),
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


@pytest.mark.parametrize(
    ("url", "text", "spoken"),
    [
        ("socks5h://h", "socks5h://h:1080", "socks5"),
        ("socks5+tls://h", "socks5+tls://h:8389", "socks5"),
        ("socks4a+unix:///run/s", "socks4a+unix:///run/s", "socks4"),
        ("https://h", "https://h:443", "http"),
        ("https://h?ca=/ca.pem&resolve=local", "https://h:443?ca=/ca.pem&resolve=local", "http"),
        ("http+tls://h", "http+tls://h:8389", "http"),
    ],
)
def test_urls_of_other_protocols(url: str, text: str, spoken: str) -> None:
    proxy = ProxyUrl.parse(url)
    assert str(proxy) == text
    assert ProxyUrl.parse(proxy.with_secrets()) == proxy
    assert proxy.spoken == spoken
    assert proxy.is_encrypted == (proxy.transport == "tls")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("socks5://h", False),
        ("socks5://h?resolve=local", True),
        ("socks5://h?resolve=proxy", False),
        ("socks4a://h", False),
        ("socks4://h", True),
    ],
)
def test_a_url_says_who_resolves_names(url: str, here: bool) -> None:
    assert ProxyUrl.parse(url).resolves_here is here


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
        ("socks6:example.com", "'socks6:example.com': is no URL"),
        ("socks6:127.0.0.1:1080", "'socks6:127.0.0.1:1080': is no URL"),
        ("socks6:alice:s3cret", "'socks6:***': is no URL"),
        ("sokcs6://h", "'sokcs6://h': has an unknown scheme, did you mean socks6?"),
        (
            "socks7://h",
            "'socks7://h': has an unknown scheme; there are socks6, mixed, socks5, socks5h, socks4a, socks4, http, https, direct, socks6+unix,",
        ),
        ("https+unix:///run/s", "'https+unix:///run/s': has an unknown scheme"),
        (
            "socks4://h?resolve=proxy",
            "'socks4://h?resolve=proxy': has resolve=proxy, and SOCKS 4 has no names",
        ),
        ("socks6+quick://h", "'socks6+quick://h': has an unknown scheme"),
        ("socks6://", "'socks6://': names no host"),
        ("socks6://:1080", "'socks6://:1080': names no host"),
        ("socks6://h:0", "'socks6://h:0': port 0 cannot be connected to"),
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
        ("socks6://h?sni=x", "'socks6://h?sni=x': has an unknown option 'sni', which is about TLS"),
        ("socks6://h?dialect=7", "has dialect=7: write 6 or 212"),
        ("socks6://h?dialect=212&dialect=6", "has the option 'dialect' twice"),
        ("socks5://h?dialect=212", "has dialect=212, which is about SOCKS 6 alone"),
        ("socks6://h?udp", "has udp=: write auto, datagram, stream, dtls, quic"),
        ("socks6+tls://h?spare=5", "has spare=5: write auto, or a number up to 4"),
        ("socks6+tls://h?spare=many", "has spare=many: write auto"),
        ("socks6+quic://h?spare=1", "has spare=1, which there is over TLS alone"),
        ("socks6+quic://h?congestion=bbr", "has congestion=bbr, which there is over TCP and TLS alone"),
        ("socks6+tls://h?congestion=b%20r", "has congestion=b r: write bbr, cubic"),
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


@pytest.mark.parametrize(("query", "spares"), [("", 4), ("?spare=auto", 4), ("?spare=2", 2), ("?spare=0", 0)])
def test_a_url_says_how_many_connections_are_made_ahead(query: str, spares: int) -> None:
    url = ProxyUrl.parse(f"socks6+auto://h:8389{query}")
    assert url.spares == spares
    assert str(url) == f"socks6+auto://h:8389{query}"


@pytest.mark.parametrize("scheme", ["socks6", "socks6+tls", "socks6+auto"])
def test_a_url_says_which_congestion_control_tcp_has(scheme: str) -> None:
    url = ProxyUrl.parse(f"{scheme}://h:8389?congestion=bbr")
    assert url.congestion == "bbr"
    assert str(url) == f"{scheme}://h:8389?congestion=bbr"
    with pytest.raises(ConfigurationError, match="a listener's URL has no options"):
        ProxyUrl.parse_listener("socks6+tls://h?congestion=bbr")


def test_a_listener_takes_no_path_of_datagrams() -> None:
    with pytest.raises(ConfigurationError, match="a listener's URL has no options"):
        ProxyUrl.parse_listener("socks6+tls://h?udp=dtls")
    with pytest.raises(ConfigurationError, match="a listener's URL has no options"):
        ProxyUrl.parse_listener("socks6+tls://h?spare=1")


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
    url = ProxyUrl(protocol="socks6", transport="unix", path="/" + path)
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
        ("socks6+tls://h?client-ca=x", "has an unknown option 'client-ca', which is for listeners"),
        ("socks6+tls://h?pin=x", "has an unknown option 'pin', did you mean pin-sha256?"),
        (
            "socks6+tls://h?speed=x",
            "has an unknown option 'speed'; there are cert, key, min-version, sni, ca, pin-sha256,",
        ),
        ("socks6+tls://h?insecure=1", "has an unknown option 'insecure'"),
        ("socks6://h?ca=x", "has an unknown option 'ca'"),
    ],
)
def test_what_is_wrong_about_tls_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ProxyUrl.parse(text)
    assert message in str(raised.value)


@pytest.mark.parametrize("key", ["sni", "ca", "pin-sha256", "insecure-no-verification"])
def test_a_listener_takes_nothing_of_a_clients(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has an unknown option '{key}'"):
        ProxyUrl.parse_listener(f"socks6+tls://h?{key}=1")


@given(PATHS, st.none() | PATHS, st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_tls_survives_being_written(certificate: str, ca: str | None, pins: list[bytes]) -> None:
    said = TlsParameters(certificate=certificate, ca=ca, pins=tuple(pins))
    url = ProxyUrl(protocol="socks6", host="h", port=1, transport="tls", tls=said)
    assert ProxyUrl.parse(url.with_secrets()) == url


def test_what_is_said_is_written_as_it_was_read() -> None:
    for query, said in (
        ("", QuicParameters()),
        ("backend=aioquic", QuicParameters(backend="aioquic")),
        ("stream-id=0", QuicParameters(stream_ids=False)),
        ("backend=qh3&stream-id=0", QuicParameters(backend="qh3", stream_ids=False)),
    ):
        text = f"socks6+quic://proxy.example:8389{'?' + query if query else ''}"
        url = ProxyUrl.parse(text)
        assert url.quic == said
        assert str(url) == text


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("backend=quiche", "write qh3 or aioquic"),
        ("stream-id=2", "write 0 or 1"),
        ("stream-id=0&stream-id=0", "twice"),
    ],
)
def test_nonsense_about_quic_is_told(query: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ProxyUrl.parse(f"socks6+quic://proxy.example?{query}")


def test_listeners_have_fewer_keys() -> None:
    assert ProxyUrl.parse_listener("socks6+quic://:8389?backend=qh3").quic.backend == "qh3"
    with pytest.raises(ConfigurationError, match="stream-id"):
        ProxyUrl.parse_listener("socks6+quic://:8389?stream-id=0")
    with pytest.raises(ConfigurationError, match="which is for clients"):
        ProxyUrl.parse_listener("socks6+quic://:8389?stream-id=0")


def test_other_transports_have_none() -> None:
    with pytest.raises(ConfigurationError, match="backend"):
        ProxyUrl.parse("socks6+tls://proxy.example?backend=qh3")
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        ProxyUrl.parse("socks5+quic://proxy.example")


def test_auto_is_for_clients() -> None:
    assert ProxyUrl.parse("socks6+auto://proxy.example").port == 8389
    with pytest.raises(ConfigurationError, match="one each"):
        ProxyUrl.parse_listener("socks6+auto://:8389")


@pytest.mark.parametrize("parse", [ProxyUrl.parse, ProxyUrl.parse_listener])
def test_quic_is_never_older_than_its_tls(parse: Callable[[str], ProxyUrl]) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing older than TLS 1\.3"):
        parse("socks6+quic://localhost?min-version=1.2")
    assert parse("socks6+quic://localhost?min-version=1.3").tls.min_version == "1.3"


def test_where_tls_may_be_taken_instead_it_may_be_older() -> None:
    assert ProxyUrl.parse("socks6+auto://localhost?min-version=1.2").tls.min_version == "1.2"


REMOTE = Leg.PROXY_REMOTE


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", ()),
        ("tos=0x10", (Tos(leg=REMOTE, tos=16),)),
        ("dscp=ef", (Tos(leg=REMOTE, tos=46 << 2),)),
        ("dscp=AF11&leg=both", (Tos(leg=Leg.BOTH, tos=10 << 2),)),
        ("dscp=cs7", (Tos(leg=REMOTE, tos=56 << 2),)),
        ("dscp=8", (Tos(leg=REMOTE, tos=32),)),
        ("ttl=64&leg=client", (Ttl(leg=Leg.CLIENT_PROXY, ttl=64),)),
        ("df=1", (NoFragmentation(leg=REMOTE, availability=Availability.YES),)),
        ("happy-eyeballs=0", (HappyEyeballs(availability=Availability.NO),)),
        ("tfo=1200&mptcp=1", (Tfo(payload_size=1200), Multipath(availability=Availability.YES))),
    ],
)
def test_a_query_names_stack_options(query: str, options: tuple[StackOption, ...]) -> None:
    url = ProxyUrl.parse(f"socks6://127.0.0.1:1080?{query}")
    assert url.options == options
    assert ProxyUrl.parse(url.with_secrets()) == url


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("speed=9", "unknown option 'speed'"),
        ("ttl=1&ttl=2", "twice"),
        ("ttl=0", "ttl"),
        ("ttl=256", "ttl"),
        ("ttl=many", "ttl=many"),
        ("tos=256", "tos"),
        ("tos=1&dscp=1", "same field"),
        ("dscp=64", "dscp"),
        ("dscp=af99", "af99"),
        ("mptcp=yes", "write 0 or 1"),
        ("ttl=3&leg=other", "none of client, remote, both"),
        ("tfo=65536", "tfo"),
    ],
)
def test_what_is_wrong_about_options_is_told(query: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ProxyUrl.parse(f"socks6://127.0.0.1:1080?{query}")


def test_a_listener_has_no_options() -> None:
    with pytest.raises(ConfigurationError, match="no options"):
        ProxyUrl.parse_listener("socks6://127.0.0.1:1080?ttl=3")
