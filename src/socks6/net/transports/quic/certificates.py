"""Certificates as QUIC's libraries want them: PEM that was found good before they see it."""

import re
from pathlib import Path
from typing import Final

from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import client_context, server_context
from socks6.net.encryption.settings import TlsParameters
from socks6.net.transports.quic.core import ServerIdentity

_CERTIFICATES: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\r?\n?", re.DOTALL
)
_KEY: Final = re.compile(
    rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----\r?\n?", re.DOTALL
)


def read_identity(said: TlsParameters) -> ServerIdentity:
    """Return the certificate and key that a listener names. Raises ConfigurationError."""
    server_context(said)  # which says best what may be wrong with the files
    return _identity(said)


def read_own(said: TlsParameters) -> ServerIdentity | None:
    """Return the certificate and key that a client shows to who asks for them; None without. Raises ConfigurationError."""
    client_context(said)  # as above
    return None if said.certificate is None else _identity(said)


def certificates_in(pem: bytes) -> list[bytes]:
    """Return each certificate of a PEM file."""
    return _CERTIFICATES.findall(pem)


def _identity(said: TlsParameters) -> ServerIdentity:
    assert said.certificate is not None  # noqa: S101 - it was read
    certificates = _read(said.certificate)
    key = _KEY.search(certificates if said.key is None else _read(said.key))
    if key is None:
        raise ConfigurationError(f"{said.key or said.certificate}: no private key in PEM")
    return ServerIdentity(certificates=b"".join(certificates_in(certificates)), key=key[0])


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
