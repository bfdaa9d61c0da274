"""What can be said about TLS."""

import ssl

from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters


def test_tls_1_3_is_the_least_unless_told() -> None:
    assert NOTHING_SAID.minimum is ssl.TLSVersion.TLSv1_3
    assert TlsParameters(min_version="1.2").minimum is ssl.TLSVersion.TLSv1_2


def test_what_is_said_goes_before_the_rest() -> None:
    below = TlsParameters(certificate="below.pem", client_ca="ca.pem", min_version="1.2")
    said = TlsParameters(min_version="1.3").over(below)
    assert said == TlsParameters(certificate="below.pem", client_ca="ca.pem", min_version="1.3")


def test_a_key_goes_with_its_certificate() -> None:
    below = TlsParameters(certificate="below.pem", key="below.key")
    assert TlsParameters(certificate="both.pem").over(below) == TlsParameters(certificate="both.pem")
    assert NOTHING_SAID.over(below) == below
