"""Servers' certificates of every kind, good and bad, as `openssl` and authorities make them."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.kit.certificates import Files

Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

DAY: Final = dt.timedelta(days=1)
KEYS: Final[dict[str, Callable[[], Key]]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a certificate is like, and what a client that looks for `host` says of it, "" for nothing."""

    fault: str = ""
    host: str = "proxy.example"
    names: Sequence[str] = ("proxy.example",)
    common_name: str = "proxy"
    key: str = "P-256"
    signs_itself: bool = False
    is_authority: bool | None = None  # what it says of itself; None for nothing
    intermediate: bool = False
    shows_intermediate: bool = True
    from_days: int = -1
    to_days: int = 1
    has_dtls: bool = True
    known: bool = True  # whether the client trusts the authority that issued it
    usages: Sequence[x509.ObjectIdentifier] = ()


@dataclass(frozen=True, kw_only=True)
class _Issuer:
    name: x509.Name
    key: Key
    certificates: list[x509.Certificate] = field(default_factory=list)


KINDS: Final = {
    "signs itself, as openssl makes it": Kind(signs_itself=True, is_authority=True),
    "signs itself, as ours do": Kind(signs_itself=True, is_authority=False),
    "signs itself, and says nothing of it": Kind(signs_itself=True),
    "signs itself, not known": Kind(
        signs_itself=True, is_authority=True, known=False, fault="self-signed certificate"
    ),
    "signs itself, expired": Kind(
        signs_itself=True, is_authority=True, from_days=-9, to_days=-2, fault="certificate has expired"
    ),
    "signs itself, for another": Kind(
        signs_itself=True,
        is_authority=True,
        names=("other.example",),
        fault="Hostname mismatch, certificate is not valid for 'proxy.example'.",
    ),
    "issued": Kind(),
    "issued by an intermediate": Kind(intermediate=True),
    "intermediate not shown": Kind(
        intermediate=True, shows_intermediate=False, fault="unable to get local issuer certificate"
    ),
    "issuer not known": Kind(known=False, fault="unable to get local issuer certificate"),
    "expired": Kind(from_days=-9, to_days=-2, fault="certificate has expired"),
    "not yet valid": Kind(from_days=2, to_days=9, fault="certificate is not yet valid"),
    "for another": Kind(
        names=("other.example",), fault="Hostname mismatch, certificate is not valid for 'proxy.example'."
    ),
    "an address": Kind(host="127.0.0.1", names=("127.0.0.1",)),
    "an address of IPv6": Kind(host="::1", names=("::1",)),
    "another address": Kind(
        host="127.0.0.1",
        names=("127.0.0.2",),
        fault="IP address mismatch, certificate is not valid for '127.0.0.1'.",
    ),
    "an address as a name": Kind(
        host="127.0.0.1",
        names=("proxy.example",),
        common_name="127.0.0.1",
        fault="IP address mismatch, certificate is not valid for '127.0.0.1'.",
    ),
    "only a common name": Kind(
        names=(),
        common_name="proxy.example",
        fault="Hostname mismatch, certificate is not valid for 'proxy.example'.",
    ),
    "a star": Kind(names=("*.example.org",), host="proxy.example.org"),
    "a star for two labels": Kind(
        names=("*.example.org",),
        host="a.b.example.org",
        fault="Hostname mismatch, certificate is not valid for 'a.b.example.org'.",
    ),
    "RSA": Kind(key="RSA"),
    "P-384": Kind(key="P-384"),
    "Ed25519": Kind(key="Ed25519", has_dtls=False),
    "for servers": Kind(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    "for clients": Kind(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,), fault="unsuitable certificate purpose"),
}


def write_kind(folder: Path, kind: Kind) -> Files:
    """Write such a certificate, its key, and what the client trusts."""
    now = dt.datetime.now(dt.UTC)
    root = _authority("root", None, now)
    issuer = _authority("intermediate", root, now) if kind.intermediate else root
    key = KEYS[kind.key]()
    name = _name(kind.common_name)
    if kind.signs_itself:
        issuer = _Issuer(name=name, key=key)
    certificate = _server_certificate(kind, name, key, issuer, now)
    shown = [certificate, *(issuer.certificates[:-1] if kind.shows_intermediate else [])]
    trusted = certificate if kind.signs_itself else root.certificates[0]
    if not kind.known:
        trusted = _authority("another", None, now).certificates[0]
    files = Files(
        certificate=str(folder / "server.pem"), key=str(folder / "server.key"), ca=str(folder / "ca.pem")
    )
    Path(files.certificate).write_bytes(b"".join(part.public_bytes(Encoding.PEM) for part in shown))
    Path(files.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path(files.ca).write_bytes(trusted.public_bytes(Encoding.PEM))
    return files


def _server_certificate(
    kind: Kind, name: x509.Name, key: Key, issuer: _Issuer, now: dt.datetime
) -> x509.Certificate:
    builder = _builder(name, key, issuer.name, now + kind.from_days * DAY, now + kind.to_days * DAY)
    if kind.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(_alternative, kind.names)), False)
    if kind.is_authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(kind.is_authority, None), critical=True)
    if kind.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(kind.usages), critical=False)
    return builder.sign(issuer.key, _hash_for(issuer.key))


def _authority(common_name: str, issuer: _Issuer | None, now: dt.datetime) -> _Issuer:
    name, key = _name(common_name), KEYS["P-256"]()
    above = issuer or _Issuer(name=name, key=key)
    certificate = (
        _builder(name, key, above.name, now - 20 * DAY, now + 20 * DAY)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(above.key, _hash_for(above.key))
    )
    return _Issuer(name=name, key=key, certificates=[certificate, *above.certificates])


def _builder(
    name: x509.Name, key: Key, issuer: x509.Name, begin: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hash_for(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
