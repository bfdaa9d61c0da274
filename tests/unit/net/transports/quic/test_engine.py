"""Libraries by name."""

import sys

import pytest

from socks6.errors import ConfigurationError
from socks6.net.transports.quic.engine import load_backend
from tests.kit.quic import BACKENDS


@pytest.mark.parametrize("name", BACKENDS)
def test_each_is_found_by_its_name(name: str) -> None:
    assert load_backend(name).name == name


def test_an_unknown_one_is_told_of() -> None:
    with pytest.raises(ConfigurationError, match="one of qh3, aioquic"):
        load_backend("quiche")


@pytest.mark.parametrize(("name", "extra"), [("qh3", "quic"), ("aioquic", "quic-aioquic")])
def test_one_that_is_not_installed_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"socks6.net.transports.quic.{name}", None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'pysocks6\[{extra}\]'"):
        load_backend(name)
