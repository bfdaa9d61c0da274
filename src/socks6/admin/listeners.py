"""Where the admin interface listens, and the token of those who come by HTTP."""

import contextlib
import os
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TLS_DEFAULTS, ReloadingContext, TlsParameters

BACKLOG: Final = 128
TOKEN_CHARACTERS: Final = 20  # at least


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpListener:
    """Where the interface is reached by HTTP; `tls` without a certificate is none."""

    host: str
    port: int
    token: str = field(repr=False)
    tls: TlsParameters = TLS_DEFAULTS
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSocket:
    """A socket that listens for clients of the interface."""

    sock: socket.socket
    http: HttpListener | None = None  # None for the Unix socket
    context: ReloadingContext[ssl.SSLContext] | None = None
    on_close: Callable[[], None] = lambda: None


def read_token(path: Path) -> str:
    """Return the token in a file, which is made, readable by its owner alone, if it is missing. Raises ConfigurationError."""
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigurationError(f"{path}: others can read or write the token: chmod 600 {path}")
            token = file.read(4096).strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if len(token) < TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{path}: no token: {TOKEN_CHARACTERS} printable characters or more on one line"
        )
    return token
