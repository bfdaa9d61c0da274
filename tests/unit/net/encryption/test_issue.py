"""Certificates of our own making."""

import contextlib
import datetime as dt
import ssl
import subprocess
from pathlib import Path

import pytest

from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TlsParameters, server_context
from socks6.net.encryption.issue import make_certificate, read_certificate

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def made(folder: Path, *names: str, days: int = 10) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "certificate.key"
    make_certificate(names, certificate=certificate, key=key, now=NOW, days=days)
    return certificate, key


def test_it_names_hosts_and_addresses(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, "Proxy.Example", "192.0.2.1", "[2001:db8::1]", "bücher.example.")
    server_context(TlsParameters(certificate=str(certificate), key=str(key)))
    text = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName,basicConstraints", "-subject"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = (
        "DNS:proxy.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, DNS:xn--bcher-kva.example"
    )
    assert names in text
    assert "CA:FALSE" in text
    assert "CN = proxy.example" in text


def test_it_is_valid_from_yesterday_for_so_many_days(tmp_path: Path) -> None:
    certificate = read_certificate(made(tmp_path, "h", days=10)[0])
    assert certificate.not_valid_before_utc == NOW - dt.timedelta(days=1)
    assert certificate.not_valid_after_utc == NOW + dt.timedelta(days=10)


def test_it_can_be_its_own_authority(tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    make_certificate(
        ["localhost"], certificate=certificate, key=tmp_path / "c.key", now=dt.datetime.now(dt.UTC)
    )
    server = server_context(TlsParameters(certificate=str(certificate), key=str(tmp_path / "c.key")))
    client = ssl.create_default_context(cafile=str(certificate))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    left, right = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(left, right, server_hostname="localhost")
    far = server.wrap_bio(right, left, server_side=True)
    for _ in range(3):
        for side in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert near.version() == "TLSv1.3"


def test_a_long_name_stands_among_the_alternatives_alone(tmp_path: Path) -> None:
    name = ".".join(["a" * 40] * 3)
    assert read_certificate(made(tmp_path, name)[0]).subject.rfc4514_string() == "CN=socks6"


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "certificate.key"
    certificate.write_text("mine")
    with pytest.raises(FileExistsError):
        made(tmp_path, "h")
    assert certificate.read_text() == "mine"
    assert not key.exists()


def test_what_is_no_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no host name"):
        made(tmp_path, "a b")


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigurationError, match="text: no certificate in PEM"):
        read_certificate(tmp_path / "text")
    with pytest.raises(ConfigurationError, match="missing: No such file"):
        read_certificate(tmp_path / "missing")
