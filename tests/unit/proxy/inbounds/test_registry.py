"""Every inbound by its name."""

import pytest

from socks6.message.options import STANDARD
from socks6.proxy.inbounds.registry import StandardInbounds
from socks6.proxy.settings import Settings


def test_each_is_known_by_its_name() -> None:
    inbounds = StandardInbounds(Settings(), STANDARD)
    assert list(inbounds) == ["socks6", "socks5", "http", "mixed"]
    assert len(inbounds) == 4
    assert {name: inbound.name for name, inbound in inbounds.items()} == {name: name for name in inbounds}


def test_each_is_made_once() -> None:
    inbounds = StandardInbounds(Settings(), STANDARD)
    assert inbounds["http"] is inbounds["http"]


def test_another_is_unknown() -> None:
    with pytest.raises(KeyError):
        StandardInbounds(Settings(), STANDARD)["socks7"]


def test_the_mixed_one_has_what_the_others_have() -> None:
    mixed = StandardInbounds(Settings(), STANDARD)["mixed"]
    assert set(mixed.alpn) == {"socks6", "http/1.1"}
    assert mixed.datagrams
