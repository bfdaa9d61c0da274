"""What a command line says of a proxy to talk to, and of a host behind it."""

import os
from argparse import Namespace
from typing import Final

from socks6.client.client import Client
from socks6.config.upstream import find_upstream
from socks6.errors import ConfigurationError
from socks6.message.address import normalize_host
from socks6.message.dialect import GO_212

NO_PROXY: Final = "no proxy to go through: name it by --via, --via-file or SOCKS6_PROXY"


def client_named(arguments: Namespace, otherwise: str, *, session: bool | None = None) -> Client:
    """Return the client of the proxy that flags or the environment name. Raises ConfigurationError.

    Without `session` it has none: for commands that make a single request.
    """
    url = find_upstream(arguments.via, arguments.via_file, os.environ)
    if url is None:
        raise ConfigurationError(otherwise)
    dialect = GO_212 if arguments.dialect_212 else None
    return Client(url, timeout=arguments.timeout, dialect=dialect, session=session)


def host_named(what: str, text: str) -> str:
    """Return a host as a request carries it. Raises ConfigurationError, which says `what` is wrong."""
    try:
        return normalize_host(text)
    except ValueError as error:
        raise ConfigurationError(f"{what}: {error}") from error
