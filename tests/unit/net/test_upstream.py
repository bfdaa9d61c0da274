"""A proxy to go through, in words."""

import pytest

from socks6.net.upstream import UpstreamState, UpstreamStatus


@pytest.mark.parametrize(
    ("encryption", "seconds", "words"),
    [
        ("", 0.0, "socks6://far"),
        ("TLS 1.3", 0.0, "socks6://far, TLS 1.3"),
        ("QUIC", 0.0234, "socks6://far, QUIC, 23 ms"),
        ("", 0.00123, "socks6://far, 1.2 ms"),
        ("", 0.01, "socks6://far, 10 ms"),
        ("", 12.0, "socks6://far, 12000 ms"),
    ],
)
def test_words_have_what_is_known(encryption: str, seconds: float, words: str) -> None:
    assert UpstreamStatus(url="socks6://far", encryption=encryption, seconds=seconds).words == words


def test_nothing_is_known_before_the_first_check() -> None:
    assert UpstreamStatus(url="x").state is UpstreamState.UNTRIED
