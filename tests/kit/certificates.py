"""Certificates for tests: an authority, a server's, a user's, and all the wrong ones."""

import datetime as dt
import functools
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from socks6.net.encryption.certificates import format_pin, pin_of
from socks6.net.encryption.contexts import ALPN, TLS_DEFAULTS, TlsParameters
from socks6.net.resolve import Resolver
from socks6.net.transports.base import ConnectParameters
from socks6.net.transports.tls import TlsConnector

LONG_AGO: Final = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


@functools.cache
def authority(name: str = "good") -> trustme.CA:
    """Return an authority; the same for the same name."""
    return trustme.CA(organization_name=name)


@dataclass(frozen=True, kw_only=True)
class Files:
    """A certificate, its key and its authority, in PEM files."""

    certificate: str
    key: str
    ca: str

    @property
    def server(self) -> TlsParameters:
        """What a server says that has this certificate."""
        return TlsParameters(certificate=self.certificate, key=self.key)

    @property
    def listener_query(self) -> str:
        """The same, as a listener's URL says it."""
        return f"cert={self.certificate}&key={self.key}"


def write_certificate(
    folder: Path,
    *names: str,
    issuer: str = "good",
    expired: bool = False,
    common_name: str | None = None,
    stem: str = "server",
) -> Files:
    """Write a certificate for these names, for localhost and 127.0.0.1 without any."""
    ca = authority(issuer)
    made = ca.issue_cert(
        *(names or (() if common_name else ("localhost", "127.0.0.1"))),
        common_name=common_name,
        not_before=LONG_AGO - dt.timedelta(days=1) if expired else None,
        not_after=LONG_AGO if expired else None,
    )
    files = Files(
        certificate=str(folder / f"{stem}.pem"),
        key=str(folder / f"{stem}.key"),
        ca=str(folder / f"{issuer}.ca"),
    )
    Path(files.certificate).write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(files.key)
    ca.cert_pem.write_to_path(files.ca)
    return files


@contextmanager
def certificate(*names: str, **wishes: object) -> Iterator[Files]:
    """Give such files for a while."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_certificate(Path(folder), *names, **wishes)  # type: ignore[arg-type]  # named as there


def pin_of_file(path: str) -> str:
    """Return the pin of the first certificate of a file."""
    head, end, _ = Path(path).read_text().partition("-----END CERTIFICATE-----")
    return format_pin(pin_of(ssl.PEM_cert_to_DER_cert(head + end)))


def tls_connector(
    host: str,
    port: int,
    parameters: TlsParameters = TLS_DEFAULTS,
    *,
    alpn: str = ALPN,
    require_alpn: bool = True,
    fast_open: bool = False,
) -> TlsConnector:
    """Return what reaches a server over TLS."""
    proxy = ConnectParameters(
        host=host,
        port=port,
        tls=parameters,
        alpn=alpn,
        require_alpn=require_alpn,
        fast_open=fast_open,
        resolver=Resolver(),
    )
    return TlsConnector(proxy)
