"""Complaints of `ssl`, in words."""

import ssl

import pytest

from socks6.errors import CertificateRefused, TlsFailed
from socks6.net.encryption.failures import failure_of


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
