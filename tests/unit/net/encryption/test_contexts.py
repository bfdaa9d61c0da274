"""TLS's parameters, contexts and errors."""

import errno
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from socks6.errors import CertificateRefused, ConfigurationError, TlsFailed
from socks6.net.encryption.contexts import (
    TLS_DEFAULTS,
    ReloadingContext,
    TlsParameters,
    client_context,
    failure_of,
    server_context,
)
from tests.kit.certificates import write_certificate
from tests.kit.failing import KINDS, Plan, failing


def test_tls_1_3_is_the_least_unless_told() -> None:
    assert TLS_DEFAULTS.minimum is ssl.TLSVersion.TLSv1_3
    assert TlsParameters(min_version="1.2").minimum is ssl.TLSVersion.TLSv1_2


def test_what_is_said_goes_before_the_rest() -> None:
    below = TlsParameters(certificate="below.pem", client_ca="ca.pem", min_version="1.2")
    said = TlsParameters(min_version="1.3").merged_over(below)
    assert said == TlsParameters(certificate="below.pem", client_ca="ca.pem", min_version="1.3")


def test_a_key_goes_with_its_certificate() -> None:
    below = TlsParameters(certificate="below.pem", key="below.key")
    assert TlsParameters(certificate="both.pem").merged_over(below) == TlsParameters(certificate="both.pem")
    assert TLS_DEFAULTS.merged_over(below) == below


def error(reason: str | None, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    made = kind(1, "[SSL] as OpenSSL says it")
    if reason is not None:
        made.reason = reason
    return made


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("WRONG_VERSION_NUMBER", "TLS failed: the peer speaks no TLS"),
        ("SOMETHING_NEW", "TLS failed: something new"),
        ("", "TLS failed: [SSL] as OpenSSL says it"),
    ],
)
def test_it_is_told_in_words(reason: str, words: str) -> None:
    failure = failure_of(error(reason))
    assert type(failure) is TlsFailed
    assert words in str(failure)


def test_an_absent_certificate_is_refused() -> None:
    assert type(failure_of(error("PEER_DID_NOT_RETURN_A_CERTIFICATE"))) is CertificateRefused


def test_a_certificate_that_does_not_hold_is_refused() -> None:
    verification = error("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError)
    assert isinstance(verification, ssl.SSLCertVerificationError)
    verification.verify_message = "certificate has expired"
    failure = failure_of(verification)
    assert type(failure) is CertificateRefused
    assert "certificate has expired" in str(failure)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Reloading:
    """A listener's contexts, and what was told of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = write_certificate(folder)
        self.clock = Clock()
        self.told: list[tuple[str, str]] = []
        self.contexts = ReloadingContext(
            self.files.server,
            server_context,
            on_reload=lambda *words: self.told.append(words),
            clock=self.clock,
        )

    def renew(self) -> None:
        """Write other files in their place, as an ACME client does."""
        write_certificate(self.folder, stem="new")
        os.replace(self.folder / "new.key", self.files.key)
        os.replace(self.folder / "new.pem", self.files.certificate)


@pytest.fixture
def reloading(tmp_path: Path) -> Reloading:
    return Reloading(tmp_path)


def test_files_that_stay_give_the_same_context(reloading: Reloading) -> None:
    first = reloading.contexts.current()
    reloading.clock.now += 10
    assert reloading.contexts.current() is first
    assert reloading.told == []


def test_files_that_change_give_a_new_context(reloading: Reloading) -> None:
    first = reloading.contexts.current()
    reloading.renew()
    reloading.clock.now += 1
    second = reloading.contexts.current()
    assert second is not first
    assert reloading.told == [(reloading.files.certificate, "")]
    assert reloading.contexts.current() is second


def test_files_are_looked_at_once_a_second(reloading: Reloading) -> None:
    first = reloading.contexts.current()
    reloading.renew()
    reloading.clock.now += 0.9
    assert reloading.contexts.current() is first


def test_half_written_files_are_told_of_once_and_change_nothing(reloading: Reloading) -> None:
    first = reloading.contexts.current()
    key = Path(reloading.files.key).read_bytes()
    os.remove(reloading.files.key)
    for _ in range(3):
        reloading.clock.now += 1
        assert reloading.contexts.current() is first
    assert len(reloading.told) == 1
    assert "No such file" in reloading.told[0][1]
    Path(reloading.files.key).write_bytes(key)
    reloading.clock.now += 1
    assert reloading.contexts.current() is not first
    assert reloading.told[1:] == [(reloading.files.certificate, "")]


def test_files_that_could_not_be_read_for_a_moment_are_read_again(reloading: Reloading) -> None:
    first = reloading.contexts.current()
    reloading.renew()
    short = Plan(step=2, failure=lambda: OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    with failing(KINDS["file"], short):
        reloading.clock.now += 1
        assert reloading.contexts.current() is first
    reloading.clock.now += 1
    assert reloading.contexts.current() is not first
    assert [bool(fault) for _, fault in reloading.told] == [True, False]


def complaint(said: TlsParameters, *, server: bool = True) -> str:
    with pytest.raises(ConfigurationError) as raised:
        server_context(said) if server else client_context(said)
    return str(raised.value)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    other = write_certificate(tmp_path, stem="other")
    text = tmp_path / "text"
    text.write_text("hello")
    missing = str(tmp_path / "missing")
    assert complaint(TlsParameters(certificate=missing)) == f"{missing}: No such file or directory"
    mixed = complaint(TlsParameters(certificate=files.certificate, key=other.key))
    assert mixed == f"{files.certificate}, {other.key}: the key is not the certificate's"
    assert complaint(TlsParameters(certificate=str(text))) == f"{text} holds no certificate in PEM"
    alone = complaint(TlsParameters(certificate=files.certificate))
    assert alone == f"{files.certificate} holds no private key in PEM: name it (--tls-key, key=)"
    no_key = complaint(TlsParameters(certificate=files.certificate, key=str(text)))
    assert no_key == f"{text} holds no private key in PEM"
    text.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    assert complaint(TlsParameters(ca=str(text)), server=False) == f"{text}: no such thing in PEM"
    text.write_text("hello")
    with_ca = TlsParameters(certificate=files.certificate, key=files.key, client_ca=missing)
    assert complaint(with_ca) == f"{missing}: No such file or directory"
    assert complaint(TlsParameters(ca=str(text)), server=False) == f"{text} holds no certificate in PEM"


def test_an_encrypted_key_asks_nobody_for_a_password(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", files.key, "-out", locked],
        check=True,
        capture_output=True,
    )
    assert "the key is encrypted" in complaint(TlsParameters(certificate=files.certificate, key=str(locked)))


def test_a_certificate_and_its_key_can_share_a_file(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    with open(files.certificate, "ab") as both, open(files.key, "rb") as key:
        shutil.copyfileobj(key, both)
    server_context(TlsParameters(certificate=files.certificate))
