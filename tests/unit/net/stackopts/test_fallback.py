"""The rows of other systems."""

import socket

import pytest

from socks6.message.options import HappyEyeballs, Tos, Ttl
from socks6.net.stackopts.adapter import UNKNOWN_FACTS, ConnectFacts
from socks6.net.stackopts.fallback import ROWS


def test_what_is_not_the_same_everywhere_has_no_row() -> None:
    assert set(ROWS) == {Tos, Ttl, HappyEyeballs}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("option", [Tos, Ttl])
def test_what_is_written_is_read(family: int, option: type[Tos | Ttl]) -> None:
    row = ROWS[option]
    with socket.socket(family) as sock:
        assert row.write is not None
        row.write(sock, 0x20)
        assert row.read(sock, UNKNOWN_FACTS) == 0x20


def test_a_race_is_told_of() -> None:
    with socket.socket() as sock:
        assert ROWS[HappyEyeballs].read(sock, ConnectFacts(raced=True)) == 2
