"""socks6 top, before it takes the screen."""

import sys

import pytest

from socks6.cli import main


def test_without_a_terminal_it_says_what_does_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--admin", "/nowhere"]) == 2
    assert "socks6 who --json --watch" in capsys.readouterr().err


def test_without_textual_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    monkeypatch.delitem(sys.modules, "socks6.cli.top_screen", raising=False)
    assert main(["top", "--admin", "/nowhere"]) == 2
    assert "pip install 'pysocks6[top]' (in a clone: pip install '.[top]')" in capsys.readouterr().err
    monkeypatch.undo()
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert main(["top", "--admin", "/nowhere"]) == 1
    assert "there is no such socket" in capsys.readouterr().err
