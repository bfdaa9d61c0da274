"""Whom a certificate names, and whether it names a host."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from socks6.message.address import is_literal

if TYPE_CHECKING:
    from cryptography import x509

CERTIFIED: Final = ("email", "DNS")  # of the alternative names, in this order; then the subject's common name
ADDRESS: Final = "IP Address"
LONGEST: Final = 255  # bytes, as of a user's name in RFC 1929


def user_of(certificate: Mapping[str, object]) -> str:
    """Return the user that a client's certificate, as `ssl` tells of it, names; "" for none.

    That is the first e-mail address among its alternative names, else the first DNS name, else the common
    name of its subject: one with characters that no user's name may have does not count.
    """
    return next(filter(_is_name, _names(certificate)), "")


def is_for_host(certificate: Mapping[str, object], host: str) -> bool:
    """Return whether a server's certificate, in the same form, names a host: an address, or a name (RFC 6125).

    A star stands for one whole label, the first of three or more. The subject's common name does not count.
    """
    alternatives = list(_pairs(certificate.get("subjectAltName")))
    if is_literal(host):
        wanted = ip_address(host)
        found = (name for kind, name in alternatives if kind == ADDRESS and is_literal(name))
        return any(ip_address(name) == wanted for name in found)
    wanted_name = host.rstrip(".").lower()
    domain = wanted_name.partition(".")[2]
    acceptable = {wanted_name, f"*.{domain}"} if "." in domain else {wanted_name}
    return any(kind == "DNS" and name.rstrip(".").lower() in acceptable for kind, name in alternatives)


def details_of(certificate: "x509.Certificate") -> Mapping[str, object]:
    """Return whom a certificate names, in the form that `ssl` has for it."""
    from cryptography import x509  # noqa: PLC0415 - pyOpenSSL brings it

    names: Iterable[x509.GeneralName] = ()
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):  # what is no certificate to this library
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    subject = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    alternatives: list[tuple[str, str]] = []
    for kind, form in (("email", x509.RFC822Name), ("DNS", x509.DNSName)):
        alternatives += [(kind, name.value) for name in names if isinstance(name, form)]
    alternatives += [("IP Address", str(name.value)) for name in names if isinstance(name, x509.IPAddress)]
    return {
        "subjectAltName": tuple(alternatives),
        "subject": tuple((("commonName", str(name.value)),) for name in subject),
    }


def _names(certificate: Mapping[str, object]) -> Iterator[str]:
    alternatives = list(_pairs(certificate.get("subjectAltName")))
    for kind in CERTIFIED:
        yield from (name for known, name in alternatives if known == kind)
    subject = certificate.get("subject")
    for part in subject if isinstance(subject, tuple) else ():
        yield from (name for known, name in _pairs(part) if known == "commonName")


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    for pair in value if isinstance(value, tuple) else ():
        match pair:
            case (str() as kind, str() as name):
                yield kind, name
            case _:
                pass


def _is_name(name: str) -> bool:
    return (
        name.isprintable() and ":" not in name and name == name.strip() and 0 < len(name.encode()) <= LONGEST
    )
