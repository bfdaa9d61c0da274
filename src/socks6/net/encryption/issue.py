"""Makes certificates that sign themselves, for servers whose clients know them by their pin."""

import datetime as dt
import os
import secrets
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from socks6.errors import ConfigurationError
from socks6.message.address import is_literal, normalize_host, without_trailing_dot
from socks6.net.files import discard_file, opened_for_writing
from socks6.net.scopes import on_failure

if TYPE_CHECKING:
    from cryptography import x509

KEY_MODE: Final = 0o600
CERTIFICATE_MODE: Final = 0o644
DAYS: Final = 3650  # pins, not dates, are what its clients go by
CLOCK_SKEW: Final = dt.timedelta(days=1)  # clients whose clocks are slow
LONGEST_COMMON_NAME: Final = 64  # RFC 5280, appendix A


def make_certificate(
    names: Sequence[str], *, certificate: Path, key: Path, now: dt.datetime, days: int = DAYS
) -> None:
    """Write a new key (EC, P-256) and a certificate for these hosts, which are names or addresses, or for none.

    One for none names nothing but a random word: its clients know it by its pin.

    Files that are there already stay as they are. Raises ConfigurationError, FileExistsError, OSError.
    """
    try:
        hosts = [without_trailing_dot(normalize_host(name)) for name in names]
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    key_pem, certificate_pem = _made(hosts, now, days)
    _write(key, key_pem, KEY_MODE)
    with on_failure(lambda: discard_file(key)):
        _write(certificate, certificate_pem, CERTIFICATE_MODE)


def read_certificate(path: str | Path) -> "x509.Certificate":
    """Return the first certificate in a PEM file. Raises ConfigurationError."""
    from cryptography import x509  # noqa: PLC0415 - takes 40 ms

    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValueError:
        raise ConfigurationError(f"{path}: no certificate in PEM") from None


def _made(hosts: Sequence[str], now: dt.datetime, days: int) -> tuple[bytes, bytes]:
    """Return a key and its certificate."""
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    if not hosts:
        common_name = secrets.token_hex(8)  # RFC 5280, section 4.1.2.4: an issuer must have some name
    else:
        common_name = hosts[0] if len(hosts[0]) <= LONGEST_COMMON_NAME else "socks6"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    alternatives = [
        x509.IPAddress(ip_address(host)) if is_literal(host) else x509.DNSName(host) for host in hosts
    ]
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return (
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, with its mode from the beginning."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with on_failure(lambda: discard_file(path)), opened_for_writing(descriptor) as file:
        file.write(data)
