"""An authenticator by PAM: the users of the system, or whatever a PAM service asks.

Modules of PAM block, and may do anything to the process that they run in. So a helper, `pam_helper.py`, which is asked as the
program of `--auth-command` is, forks a process for each question.
"""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Final

from socks6.distribution import install_hint
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.command import CommandAuthenticator
from socks6.proxy.authentication.external import ExternalSettings

SERVICE_FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/local/etc/pam.d")
_SERVICE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class PamAuthenticator(CommandAuthenticator):
    """Asks a service of PAM whether a user's password is right and its account may be used."""

    name = "pam"
    concurrency = 16

    def __init__(self, service: str, settings: ExternalSettings | None = None) -> None:
        settings = settings or ExternalSettings()
        helper = Path(__file__).with_name("pam_helper.py")
        # isolated: no variable and no folder of others adds modules to it
        super().__init__([sys.executable, "-I", str(helper), service, f"{settings.timeout:g}"], settings)


def check_service(text: str) -> None:
    """Raise ConfigurationError if it is no PAM service, or PAM cannot be asked."""
    if importlib.util.find_spec("pamela") is None:
        raise ConfigurationError(f"needs the extra pam: {install_hint('pam')}")
    if not _SERVICE.fullmatch(text):
        raise ConfigurationError(f"{text!r} is no name of a PAM service")
    if not any(Path(folder, text).exists() for folder in SERVICE_FOLDERS):
        raise ConfigurationError(f"there is no PAM service {text!r}: no file {SERVICE_FOLDERS[0]}/{text}")
