"""Certificates that sign themselves, as authorities of their own: qh3 itself takes nobody but authorities for one."""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from qh3 import tls
from qh3._hazmat import Certificate

from socks6.net.encryption.names import ADDRESS, is_for_host
from socks6.net.transports.quic.certificates import certificates_in

NO_ISSUER: Final = "unable to get local issuer certificate"
KINDS: Final = {"DNSName": "DNS", "IPAddress": ADDRESS}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAuthorities:
    """What a client trusts, where some of it are servers' own certificates."""

    authorities: bytes  # PEM
    own: frozenset[bytes]  # DER
    server_name: str

    def fault(self, certificate: Certificate | None, chain: Sequence[Certificate]) -> str:
        """Return what is wrong with a server's certificate; "" for nothing."""
        if certificate is None:
            return "there is none"
        if certificate.public_bytes() not in self.own:
            return self._fault_of_issued(certificate, chain)
        if not certificate.not_valid_before <= time.time() <= certificate.not_valid_after:
            return "certificate has expired, or is not yet valid"
        if not is_for_host({"subjectAltName": tuple(map(_pair, _names(certificate)))}, self.server_name):
            return f"Hostname mismatch, certificate is not valid for {self.server_name!r}"
        return ""

    def _fault_of_issued(self, certificate: Certificate, chain: Sequence[Certificate]) -> str:
        try:
            tls.verify_certificate(
                certificate, list(chain), cadata=self.authorities, server_name=self.server_name
            )
        except tls.Alert as error:
            return str(error) or NO_ISSUER
        return ""


def own_authorities(authorities: bytes | None, server_name: str) -> OwnAuthorities | None:
    """Return how to know a server where servers' own certificates are trusted; None where none is."""
    ders = [ssl.PEM_cert_to_DER_cert(pem.decode()) for pem in certificates_in(authorities or b"")]
    own = frozenset(der for der in ders if _is_own(Certificate(der)))
    if not own:
        return None
    return OwnAuthorities(authorities=authorities or b"", own=own, server_name=server_name)


def _is_own(certificate: Certificate) -> bool:
    return certificate.self_signed and not certificate.is_ca


def _names(certificate: Certificate) -> Sequence[str]:
    return [name.decode(errors="replace") for name in certificate.get_subject_alt_names()]


def _pair(name: str) -> tuple[str, str]:
    """Return an alternative name as `ssl` tells it; qh3 has "DNSName(a.example)", "IPAddress(7f:00:00:01)"."""
    kind, _, rest = name.partition("(")
    value = rest.removesuffix(")")
    if kind == "IPAddress":
        value = str(ip_address(bytes.fromhex(value.replace(":", ""))))
    return KINDS.get(kind, kind), value
