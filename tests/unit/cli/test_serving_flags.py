"""Flags of the commands that stay."""

from socks6.cli import serving_flags
from socks6.net import url


def test_the_libraries_for_quic_are_those_of_urls() -> None:
    assert serving_flags.BACKENDS == url.QUIC_BACKENDS
