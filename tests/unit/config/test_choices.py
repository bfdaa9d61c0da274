"""Choices over choices."""

from socks6.config.choices import Choices
from socks6.net.url import ProxyUrl
from socks6.proxy.authentication.table import plain_entries


def test_what_is_said_goes_before_what_others_say() -> None:
    flags = Choices(idle_timeout=1)
    file = Choices(idle_timeout=2, connections=3)
    assert flags.over(file) == Choices(idle_timeout=1, connections=3)


def test_false_and_nought_are_said() -> None:
    flags = Choices(allow_private=False, drain_timeout=0)
    assert flags.over(Choices(allow_private=True, drain_timeout=9)) == flags


def test_a_repr_shows_no_secret() -> None:
    via = ProxyUrl.parse("socks6://alice:s3cret@host")
    assert "s3cret" not in repr(Choices(via=via, users=plain_entries({"bob": "s3cret"})))
