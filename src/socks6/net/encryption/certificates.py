"""Certificates: the names in them, pins of their keys, and the check of a server's where OpenSSL does not do it (QUIC).

A pin is the SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, as in RFC 7469): one renewed with the same
key keeps it. `ServerVerifier` accepts the same certificates as TLS does, and words what is wrong with others in the same
way; it needs pyOpenSSL, which each extra with QUIC brings.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from socks6.distribution import install_hint
from socks6.errors import CertificateRefused, ConfigurationError, DecodeError
from socks6.message.address import is_literal
from socks6.message.buffer import Reader
from socks6.net.encryption.contexts import TlsParameters, client_context, words_for_certificate

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import crypto

CERTIFIED: Final = ("email", "DNS")  # of the alternative names, in this order; then the subject's common name
ADDRESS: Final = "IP Address"
MAX_USER_BYTES: Final = 255  # bytes, as of a user's name in RFC 1929


def user_of(certificate: Mapping[str, object]) -> str:
    """Return the user that a client's certificate, in the form of `ssl`, names; "" for none.

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
    """Return the names of a certificate, in the form that `ssl` uses."""
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
        name.isprintable()
        and ":" not in name
        and name == name.strip()
        and 0 < len(name.encode()) <= MAX_USER_BYTES
    )


SEQUENCE: Final = 0x30
VERSION: Final = 0xA0  # the optional [0] that begins a TBSCertificate (RFC 5280 §4.1)
BEFORE_THE_KEY: Final = 5  # serial number, signature, issuer, validity, subject
LONGEST_LENGTH: Final = 4  # bytes of an element's length
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


def pin_of(certificate: bytes) -> bytes:
    """Return the pin of a certificate in DER. Raises DecodeError."""
    return hashlib.sha256(public_key_of(certificate)).digest()


def public_key_of(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate in DER. Raises DecodeError."""
    try:
        fields = _element(_element(Reader(certificate), SEQUENCE), SEQUENCE)
        if fields.remaining and certificate[fields.position] == VERSION:
            _element(fields)
        for _ in range(BEFORE_THE_KEY):
            _element(fields)
        start = fields.position
        _element(fields, SEQUENCE)
    except DecodeError as error:
        raise DecodeError(f"no certificate: {error}") from error
    return certificate[start : fields.position]


def _element(elements: Reader, tag: int | None = None) -> Reader:
    """Return what is inside the next element of DER, which must be of this kind if one is named. Raises DecodeError."""
    found, size = elements.u8(), elements.u8()
    if tag is not None and found != tag:
        raise DecodeError(f"element {found:#x} where {tag:#x} should be")
    if size & 0x80:
        count = size & 0x7F
        if not 0 < count <= LONGEST_LENGTH:
            raise DecodeError("an impossible length")
        size = int.from_bytes(elements.take(count))
    return elements.section(size)


def parse_pin(text: str) -> bytes:
    """Read a pin in base64 (of either alphabet, with or without padding) or hexadecimal. Raises ValueError."""
    text = text.removeprefix("sha256//")  # as curl's --pinnedpubkey writes it
    if _HEX.fullmatch(plain := text.replace(":", "")):
        return bytes.fromhex(plain)
    if not _BASE64.fullmatch(text):
        raise ValueError("is no SHA-256 of a public key: 43 letters of base64, or 64 of hexadecimal")
    return base64.b64decode(text.rstrip("=").replace("-", "+").replace("_", "/") + "=")


def format_pin(pin: bytes) -> str:
    """Return a pin as it stands in URLs: base64 that needs no percent."""
    return base64.urlsafe_b64encode(pin).rstrip(b"=").decode()


def is_pinned(certificate: bytes, pins: Iterable[bytes]) -> bool:
    """Return whether a certificate in DER has one of the pins."""
    try:
        found = pin_of(certificate)
    except DecodeError:
        return False
    return any(hmac.compare_digest(found, pin) for pin in pins)  # which of them matches is no secret


def check_pin(certificate: bytes, pins: tuple[bytes, ...]) -> None:
    """Raise CertificateRefused if there are pins, and none of them is the certificate's."""
    if pins and not is_pinned(certificate, pins):
        raise CertificateRefused("the proxy's key is not the one of the pin: another server, or a new key")


NO_EXTRA: Final = f"QUIC needs an extra: {install_hint('quic')} (pyOpenSSL is missing)"
MAX_CHAIN: Final = 16  # certificates that a server may show; OpenSSL builds no longer chains by far


def name_fault(host: str) -> str:
    """Return what OpenSSL says of a certificate that is not for this host."""
    what = "IP address" if is_literal(host) else "Hostname"
    return f"{what} mismatch, certificate is not valid for '{host}'."


class ServerVerifier:
    """Verifies the certificates of one server, or none where verification is off."""

    def __init__(self, parameters: TlsParameters, server_name: str) -> None:
        """Read the files. Raises ConfigurationError."""
        client_context(parameters)  # whose errors about the files are the clearest
        self._server_name = server_name
        self._store = None if parameters.skips_verification else _store(parameters.ca)

    def fault(self, certificate: bytes, issuers: Sequence[bytes]) -> str:
        """Return what is wrong with a certificate, "" for nothing; all of them are in DER.

        `issuers` is what the server shows beside it.
        """
        if self._store is None:
            return ""
        from OpenSSL import crypto  # noqa: PLC0415 - was imported for the store

        if not certificate:
            return "there is none"
        if len(issuers) > MAX_CHAIN:
            return "certificate chain too long"
        try:
            own = _loaded(certificate)
            crypto.X509StoreContext(self._store, own, [_loaded(der) for der in issuers]).verify_certificate()
        except crypto.X509StoreContextError as error:
            code, _, words = error.errors
            return words_for_certificate(int(code), str(words))
        except (crypto.Error, ValueError):
            return "what was shown is no certificate"
        return self._fault_of_use(own)

    def _fault_of_use(self, certificate: "crypto.X509") -> str:
        from cryptography import x509  # noqa: PLC0415 - pyOpenSSL brings it

        read = certificate.to_cryptography()
        try:
            usage = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            usage = None
        except ValueError:
            return "what was shown is no certificate"
        oids = x509.oid.ExtendedKeyUsageOID
        if usage is not None and not {oids.SERVER_AUTH, oids.ANY_EXTENDED_KEY_USAGE} & set(usage):
            return "unsuitable certificate purpose"
        return "" if is_for_host(details_of(read), self._server_name) else name_fault(self._server_name)


def _store(authorities: str | None) -> "crypto.X509Store":
    """Return the trusted certificates of a file, by default the system's."""
    try:
        from OpenSSL import crypto  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(NO_EXTRA) from None
    store = crypto.X509Store()
    if authorities is not None:
        store.load_locations(authorities)
        return store
    system = ssl.get_default_verify_paths()  # where `ssl` looks, which knows SSL_CERT_FILE and SSL_CERT_DIR
    if system.cafile or system.capath:
        store.load_locations(system.cafile, system.capath)
    return store


def _loaded(der: bytes) -> "crypto.X509":
    from OpenSSL import crypto  # noqa: PLC0415 - as above

    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)
