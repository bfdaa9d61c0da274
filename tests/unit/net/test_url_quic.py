"""What URLs say about QUIC."""

from collections.abc import Callable

import pytest

from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.net.url_quic import QuicParameters, format_quic, parse_quic


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
        assert format_quic(said) == query


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("backend=quiche", "write qh3 or aioquic"),
        ("stream-id=2", "write 0 or 1"),
        ("stream-id=0&stream-id=0", "twice"),
    ],
)
def test_nonsense_is_told(query: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ProxyUrl.parse(f"socks6+quic://proxy.example?{query}")


def test_listeners_have_fewer_keys() -> None:
    assert ProxyUrl.parse_listener("socks6+quic://:8389?backend=qh3").quic.backend == "qh3"
    with pytest.raises(ConfigurationError, match="stream-id"):
        ProxyUrl.parse_listener("socks6+quic://:8389?stream-id=0")
    with pytest.raises(ValueError, match="about QUIC there are backend"):
        parse_quic([("sni", "x")], ["backend"])


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
