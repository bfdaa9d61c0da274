"""socks6 share."""

import io
import sys
from pathlib import Path

import pytest

from socks6.cli import main
from socks6.cli.certificates import pin_in
from socks6.cli.share import qr_code
from socks6.config.upstream import read_urls_file
from socks6.net.url import ProxyUrl
from tests.kit.certificates import Files, write_certificate


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_certificate(tmp_path)


def shared(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["share", *words, "--no-qr"]) == 0
    return capsys.readouterr().out.rstrip("\n")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["share", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_the_pin_of_a_certificate_goes_along(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    pin = pin_in(files.certificate)
    named = ("--cert", files.certificate)
    assert shared(capsys, "proxy.example", *named) == f"socks6+tls://proxy.example:8389?pin-sha256={pin}"
    assert shared(capsys, "[::1]:443", *named) == f"socks6+tls://[::1]:443?pin-sha256={pin}"
    whole = "socks6+tls://proxy.example:1?ttl=5"
    assert shared(capsys, whole, *named) == f"{whole}&pin-sha256={pin}"


def test_the_servers_own_certificate_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert "there is no certificate yet: start the server first" in refused(capsys, "proxy.example")
    write_certificate(tmp_path, stem="certificate")
    pin = pin_in(tmp_path / "certificate.pem")
    assert shared(capsys, "proxy.example") == f"socks6+tls://proxy.example:8389?pin-sha256={pin}"


@pytest.mark.parametrize(
    ("words", "url"),
    [
        (["proxy.example", "--no-pin"], "socks6+tls://proxy.example:8389"),
        (["socks6+tls://h?sni=x"], "socks6+tls://h:8389?sni=x"),
        (["socks6://h", "--user", "bob"], "socks6://bob@h:1080"),
        (["socks6+unix:///run/s"], "socks6+unix:///run/s"),
    ],
)
def test_without_a_pin(words: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shared(capsys, *words) == url


def test_a_password_is_in_it_only_when_asked_for(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"p@ss/word\n")))
    words = ("proxy.example", "--cert", files.certificate, "--user", "alice")
    assert "alice@proxy" in shared(capsys, *words)
    url = ProxyUrl.parse(shared(capsys, *words, "--password"))
    assert (url.username, url.password) == ("alice", "p@ss/word")
    assert url.tls.pins


def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--password goes with --user" in refused(capsys, "h", "--password", "--no-pin")
    complaint = refused(capsys, "socks6+tls://alice:hunter2@h")
    assert "name the user by --user" in complaint
    assert "hunter2" not in complaint
    assert "No such file" in refused(capsys, "h", "--cert", "/nowhere")


def test_a_qr_code_follows(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["share", "proxy.example", "--cert", files.certificate]) == 0
    url, _, code = capsys.readouterr().out.partition("\n")
    assert code == qr_code(url)
    assert code.count("\n") > 15


def test_a_password_can_go_to_a_file_that_nobody_else_reads(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"p@ss/word\n")))
    path = tmp_path / "proxy url"
    words = (
        "proxy.example",
        "--cert",
        files.certificate,
        "--user",
        "alice",
        "--password",
        "--file",
        str(path),
    )
    assert main(["share", *words]) == 0
    assert capsys.readouterr().out == f"{path}: written; `socks6 client --via-file '{path}'` uses it\n"
    assert path.stat().st_mode & 0o777 == 0o600
    (url,) = read_urls_file(path)
    assert (url.username, url.password) == ("alice", "p@ss/word")


def test_a_file_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = refused(capsys, "proxy.example", "--no-pin", "--file", str(tmp_path / "nowhere" / "url"))
    assert told == f"socks6: {tmp_path}/nowhere/url: No such file or directory\n"
