"""What `ssl` complains of, in words that help."""

import ssl
from typing import Final

from socks6.errors import CertificateRefused, TlsFailed

ABSENT: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
# By OpenSSL's names. Alerts are what the peer said of us.
WORDS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a client certificate, and there is none (cert=)",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know who issued our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer refuses our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer cannot use a certificate like ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not trust our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer finds nothing in common with us",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the peer does not speak SOCKS 6 here",
    "NO_APPLICATION_PROTOCOL": "the peer does not speak SOCKS 6 here",
    "UNSUPPORTED_PROTOCOL": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "WRONG_SSL_VERSION": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "WRONG_VERSION_NUMBER": "the peer speaks no TLS",
    "RECORD_LAYER_FAILURE": "the peer speaks no TLS",
    "HTTP_REQUEST": "the peer speaks HTTP, not TLS",
    "NO_SHARED_CIPHER": "nothing in common with the peer",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what came was changed on its way",
}


def failure_of(error: ssl.SSLError) -> TlsFailed:
    """Return what to raise for an error of `ssl`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateRefused(f"the certificate does not hold: {error.verify_message}")
    reason = error.reason or ""
    if reason == ABSENT:
        return CertificateRefused("the client has no certificate")
    return TlsFailed(f"TLS failed: {words_for(reason) or str(error)}")


def words_for(reason: str) -> str:
    """Return OpenSSL's name of a failure in words."""
    return WORDS.get(reason) or reason.lower().replace("_", " ")
