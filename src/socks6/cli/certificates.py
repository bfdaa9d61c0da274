"""socks6 cert: makes certificates, and shows what is in one."""

import datetime as dt
import ssl
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from socks6.errors import ConfigurationError, DecodeError
from socks6.net.encryption.certificates import format_pin, pin_of
from socks6.net.encryption.issue import make_certificate, read_certificate

if TYPE_CHECKING:
    from cryptography import x509

END: Final = "-----END CERTIFICATE-----"


def run(arguments: Namespace) -> int:
    """Make one, or show one."""
    if arguments.action == "new":
        return _new(arguments)
    return _show(arguments.file)


def pin_in(path: str | Path) -> str:
    """Return the pin of the first certificate in a PEM file. Raises ConfigurationError."""
    try:
        head, end, _ = Path(path).read_text(encoding="ascii", errors="replace").partition(END)
        return format_pin(
            pin_of(ssl.PEM_cert_to_DER_cert(head[head.rfind("-----BEGIN CERTIFICATE-----") :] + end))
        )
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except (ValueError, DecodeError):
        raise ConfigurationError(f"{path}: no certificate in PEM") from None


def _new(arguments: Namespace) -> int:
    stem = arguments.hosts[0].strip("[]").replace(":", "-").replace("/", "-")
    certificate = Path(arguments.cert or f"{stem}.pem")
    key = Path(arguments.key or certificate.with_suffix(".key"))
    try:
        make_certificate(
            arguments.hosts,
            certificate=certificate,
            key=key,
            now=dt.datetime.now(dt.UTC),
            days=arguments.days,
        )
    except FileExistsError as error:
        raise ConfigurationError(f"{error.filename}: is there already, and stays as it is") from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from None
    print(
        f"certificate: {certificate}", f"key:         {key}", f"pin-sha256:  {pin_in(certificate)}", sep="\n"
    )
    return 0


def _show(path: str) -> int:
    certificate = read_certificate(path)
    until = certificate.not_valid_after_utc
    left = until - dt.datetime.now(dt.UTC)
    subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    validity = f"{left.days} days left" if left > dt.timedelta() else "expired"
    print(
        f"pin-sha256:  {pin_in(path)}",
        f"names:       {', '.join(_names(certificate)) or 'none'}",
        f"subject:     {subject or 'none'}",
        f"issuer:      {'itself' if issuer == subject else issuer or 'none'}",
        f"valid until: {until:%Y-%m-%d %H:%M} UTC, {validity}",
        sep="\n",
    )
    return 0


def _names(certificate: "x509.Certificate") -> list[str]:
    from cryptography import x509  # noqa: PLC0415 - imported by now

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found]
