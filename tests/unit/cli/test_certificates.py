"""socks6 cert."""

from pathlib import Path

import pytest

from socks6.cli import main
from socks6.cli.certificates import pin_in
from socks6.errors import ConfigurationError
from tests.kit.certificates import write_certificate


def test_one_is_made_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cert", "new", "proxy.example", "192.0.2.1", "--days", "30"]) == 0
    pin = pin_in("proxy.example.pem")
    assert capsys.readouterr().out.splitlines() == [
        "certificate: proxy.example.pem",
        "key:         proxy.example.key",
        f"pin-sha256:  {pin}",
    ]
    assert main(["cert", "show", "proxy.example.pem"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"pin-sha256:  {pin}",
        "names:       proxy.example, 192.0.2.1",
        "subject:     CN=proxy.example",
        "issuer:      itself",
    ]
    assert lines[4].startswith("valid until: 20")
    assert lines[4].endswith(" UTC, 29 days left")


def test_files_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["cert", "new", "[::1]", "--cert", str(tmp_path / "a.pem"), "--key", str(tmp_path / "b")]) == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pem", "b"]
    assert "pin-sha256" in capsys.readouterr().out


def test_files_that_are_there_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pem").write_text("mine")
    assert main(["cert", "new", "h", "--cert", str(tmp_path / "a.pem")]) == 2
    assert capsys.readouterr().err == f"socks6: {tmp_path}/a.pem: is there already, and stays as it is\n"
    assert main(["cert", "new", "h", "--cert", str(tmp_path / "no" / "a.pem")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_an_expired_one_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_certificate(tmp_path, expired=True)
    assert main(["cert", "show", files.certificate]) == 0
    out = capsys.readouterr().out
    assert "names:       localhost, 127.0.0.1" in out
    assert "issuer:      " in out
    assert "itself" not in out
    assert out.endswith("valid until: 2001-01-01 00:00 UTC, expired\n")


def test_one_without_names_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_certificate(tmp_path)
    assert main(["cert", "show", files.ca]) == 0
    assert "names:       none" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_pin(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigurationError, match="x: no certificate in PEM"):
        pin_in(tmp_path / "x")
    with pytest.raises(ConfigurationError, match="y: No such file"):
        pin_in(tmp_path / "y")


def test_a_file_may_begin_with_its_key(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    both = tmp_path / "both"
    both.write_bytes(Path(files.key).read_bytes() + Path(files.certificate).read_bytes())
    assert pin_in(both) == pin_in(files.certificate)
