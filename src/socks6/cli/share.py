"""socks6 share: a URL, and a QR code of it, that hold all a client needs to use a server."""

import os
import shlex
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Final

from socks6.cli.certificates import pin_in
from socks6.cli.passwd import read_password
from socks6.config.own_certificate import own_certificate
from socks6.errors import ConfigurationError
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.files import write_atomically
from socks6.net.url import ProxyUrl

QUIET_ZONE: Final = 2  # modules around a QR code
TLS_SCHEME: Final = "socks6+tls://"


def run(arguments: Namespace) -> int:
    """Print the URL, and below it the QR code; or write the URL to a file."""
    text = arguments.server if "://" in arguments.server else TLS_SCHEME + arguments.server
    given = ProxyUrl.parse(text)
    if given.username is not None:
        raise ConfigurationError("name the user by --user; --password asks for the password")
    if arguments.password and arguments.user is None:
        raise ConfigurationError("--password goes with --user")
    url = ProxyUrl(
        protocol=given.protocol,
        host=given.host,
        port=given.port,
        path=given.path,
        transport=given.transport,
        options=given.options,
        username=arguments.user,
        password=read_password(f"password of {arguments.user}: ") if arguments.password else None,
        tls=_known_by(given, arguments),
    ).with_secrets()  # it is what this command is for, and only when --password asks for it
    if arguments.file is not None:
        _write(url, arguments.file)
        return 0
    print(url, flush=True)
    if not arguments.no_qr:
        print(qr_code(url), end="", flush=True)
    return 0


def _write(url: str, path: str) -> None:
    """Write the URL to a file of which only its owner can read a password."""
    try:
        write_atomically(path, f"{url}\n".encode(), private=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    print(f"{path}: written; `socks6 client --via-file {shlex.quote(path)}` uses it", flush=True)


def qr_code(text: str) -> str:
    """Return a QR code for a terminal."""
    import segno  # noqa: PLC0415 - takes 15 ms

    drawn = StringIO()
    compact = (sys.stdout.encoding or "").lower().startswith("utf")  # half blocks: a quarter of the room
    segno.make_qr(text, error="l").terminal(drawn, border=QUIET_ZONE, compact=compact)
    return drawn.getvalue()


def _known_by(given: ProxyUrl, arguments: Namespace) -> TlsParameters:
    """Return how the client is to know the server: by the pin of its certificate, unless the URL says already."""
    if not given.is_encrypted or arguments.no_pin or given.tls != TLS_DEFAULTS:
        return given.tls
    certificate = Path(arguments.cert) if arguments.cert else own_certificate(os.environ)[0]
    if not arguments.cert and not certificate.exists():
        raise ConfigurationError(
            f"{certificate}: there is no certificate yet: start the server first, name one by --cert, or use --no-pin"
        )
    return TlsParameters(pins=(parse_pin(pin_in(certificate)),))
