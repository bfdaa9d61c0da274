"""The certificate that a server makes for itself when it is given none, and where it is kept."""

import dataclasses
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.encryption.issue import make_certificate

ROOTS_FOLDER: Final = "/var/lib/socks6"
CERTIFICATE: Final = "certificate.pem"
KEY: Final = "certificate.key"
FOLDER_MODE: Final = 0o700
NAME_ONE: Final = "name one (--tls-cert, cert=)"


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return where a server keeps what it makes: systemd's StateDirectory, root's or a user's own folder.

    Raises ConfigurationError for an account without a home folder.
    """
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if home := environment.get("XDG_STATE_HOME"):
        return Path(home) / "socks6"
    if os.geteuid() == 0:
        return Path(ROOTS_FOLDER)
    try:
        return Path.home() / ".local" / "state" / "socks6"
    except RuntimeError:  # HOME is not set, and the account has no entry in the password database
        raise ConfigurationError(
            "this account has no home folder to keep a certificate in:"
            " set STATE_DIRECTORY to a folder, or name a certificate (--tls-cert; for share, --cert)"
        ) from None


def own_certificate(environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the paths of the certificate that a server makes for itself, and of its key."""
    folder = state_folder(environment)
    return folder / CERTIFICATE, folder / KEY


def with_certificate(config: ServerConfig, environment: Mapping[str, str]) -> tuple[ServerConfig, str, bool]:
    """Return a configuration in which every encrypted listener has a certificate, made now if it must be.

    Second comes the path of the server's own certificate, "" if no listener needs it; third, whether it was
    made now. Raises ConfigurationError.
    """
    tls = config.settings.tls
    if not any(url.is_encrypted and url.tls.merged_over(tls).certificate is None for url in config.listen):
        return config, "", False
    certificate, key = own_certificate(environment)
    own = TlsParameters(certificate=str(certificate), key=str(key))
    try:
        made = not certificate.exists()
        if made:
            certificate.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            make_certificate(
                (),  # strangers can read it: it holds no name of the machine, nor its purpose
                certificate=certificate,
                key=key,
                now=dt.datetime.now(dt.UTC),
            )
    except OSError as error:
        path = error.filename or certificate
        raise ConfigurationError(
            f"cannot make a certificate, {path}: {error.strerror}: {NAME_ONE}"
        ) from error
    settings = dataclasses.replace(config.settings, tls=tls.merged_over(own))
    return dataclasses.replace(config, settings=settings), str(certificate), made
