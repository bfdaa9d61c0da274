"""Passwords in the process list."""

import pytest

from socks6.cli import process_title
from socks6.cli.process_title import hides_passwords, without_passwords


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("client socks6://alice:secret@h:1", "client socks6://alice:***@h:1"),
        ("ping --via=socks6+tls://a:p@ss/w:x@h?ttl=5", "ping --via=socks6+tls://a:***@h?ttl=5"),
        ("server --user alice:s:x --user=bob:y", "server --user alice:*** --user=bob:***"),
        ("client socks6://alice@h:1", "client socks6://alice@h:1"),
        ("client socks6://h:1?x=a@b", "client socks6://h:1?x=a@b"),
        ("client socks6://[::1]:1 --user", "client socks6://[::1]:1 --user"),
        ("share h:1 --user alice --password", "share h:1 --user alice --password"),
        ("forward 1 alice:x", "forward 1 alice:x"),
    ],
)
def test_what_is_shown(words: str, shown: str) -> None:
    assert without_passwords(words.encode().split()) == shown.encode().split()


def test_a_system_that_does_not_let_us_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError

    monkeypatch.setattr(process_title, "_rewrite_linux", fails)
    assert hides_passwords(["client", "socks6://a:b@h"])
    assert not hides_passwords(["client", "socks6://a@h", "\udcff"])
