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
# What is wrong with a certificate, by the numbers of x509_vfy.h: each release of OpenSSL words it differently.
CERTIFICATE_WORDS: Final = {
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    23: "certificate revoked",
    24: "invalid CA certificate",
    26: "unsuitable certificate purpose",
}


def failure_of(error: ssl.SSLError) -> TlsFailed:
    """Return what to raise for an error of `ssl`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = words_for_certificate(getattr(error, "verify_code", 0), error.verify_message)
        return CertificateRefused(f"the certificate does not hold: {words}")
    reason = error.reason or ""
    if reason == ABSENT:
        return CertificateRefused("the client has no certificate")
    return TlsFailed(f"TLS failed: {words_for(reason) or str(error)}")


def words_for(reason: str) -> str:
    """Return OpenSSL's name of a failure in words."""
    return WORDS.get(reason) or reason.lower().replace("_", " ")


def words_for_certificate(code: int, otherwise: str = "") -> str:
    """Return what is wrong with a certificate; `otherwise` is what OpenSSL says, for faults without words of ours."""
    return CERTIFICATE_WORDS.get(code) or otherwise or f"fault {code}"
