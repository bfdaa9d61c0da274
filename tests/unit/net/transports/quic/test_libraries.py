"""Versions of libraries whose faults were examined."""

import pytest

from socks6.net.transports.quic.libraries import unvetted_version
from tests.kit.quic import BACKENDS


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("qh3", "2.1.0", ""),
        ("qh3", "2.99", ""),
        ("qh3", "2.0.4", "2.0.4"),
        ("qh3", "3.0.0rc1", "3.0.0rc1"),
        ("aioquic", "1.7.2", ""),
        ("aioquic", "1.6.1", "1.6.1"),
        ("aioquic", "2.0", "2.0"),
    ],
)
def test_a_version_that_nobody_has_examined_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, told: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", {name: version}.__getitem__)
    assert unvetted_version(name) == told


@pytest.mark.parametrize("name", BACKENDS)
def test_those_that_the_extras_install_have_been_examined(name: str) -> None:
    assert unvetted_version(name) == ""
