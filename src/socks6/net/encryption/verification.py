"""Checks servers' certificates where the library that speaks the protocol does not do it by OpenSSL: over QUIC.

The same certificates hold as over TLS, and what is wrong with the others is said in the same words. Needs pyOpenSSL, which each
extra with QUIC brings.
"""

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from socks6.errors import ConfigurationError
from socks6.message.address import is_literal
from socks6.net.encryption.contexts import client_context
from socks6.net.encryption.failures import words_for_certificate
from socks6.net.encryption.names import details_of, is_for_host
from socks6.net.encryption.settings import TlsParameters

if TYPE_CHECKING:
    from OpenSSL import crypto

NO_EXTRA: Final = "QUIC needs an extra: pip install socks6[quic] (pyOpenSSL is missing)"
MAX_CHAIN: Final = 16  # certificates that a server may show; OpenSSL builds no longer chains by far


def name_fault(host: str) -> str:
    """Return what OpenSSL says of a certificate that is not for this host."""
    what = "IP address" if is_literal(host) else "Hostname"
    return f"{what} mismatch, certificate is not valid for '{host}'."


class ServerVerifier:
    """Knows the certificates of one server by its authorities, or trusts anybody where that is what was asked for."""

    def __init__(self, said: TlsParameters, server_name: str) -> None:
        """Read the files. Raises ConfigurationError."""
        client_context(said)  # which says best what may be wrong with the files
        self._server_name = server_name
        self._store = None if said.skips_verification else _store(said.ca)

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
