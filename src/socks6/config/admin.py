"""The admin interface that a configuration asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from socks6.admin.listeners import HttpListener, read_token
from socks6.admin.proxy import ProxyBridge
from socks6.admin.runtime import own_socket
from socks6.admin.service import EXTRA, AdminService, is_installed
from socks6.admin.settings import AUTO, NONE
from socks6.config.own_certificate import state_folder
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.url import ProxyUrl

TOKEN_FILE: Final = "admin.token"  # noqa: S105 - a name


def build_admin(
    config: ServerConfig, environment: Mapping[str, str], bridge: ProxyBridge
) -> AdminService | None:
    """Return the interface; None if there is to be none. Raises ConfigurationError."""
    admin = config.admin
    wanted = admin.http is not None or admin.socket not in {AUTO, NONE}
    if not is_installed():
        if wanted:
            raise ConfigurationError(EXTRA)
        return None
    by_default = admin.socket == AUTO
    path = str(own_socket(environment) or "") if by_default else "" if admin.socket == NONE else admin.socket
    http = None if admin.http is None else _http(config, admin.http, environment)
    if not path and http is None:
        return None
    return AdminService(bridge, path=path, asked_for=not by_default, http=http)


def _http(config: ServerConfig, place: ProxyUrl, environment: Mapping[str, str]) -> HttpListener:
    admin = config.admin
    tls = TLS_DEFAULTS
    if admin.certificate is not None:
        tls = TlsParameters(certificate=admin.certificate, key=admin.key)
    elif not place.is_local:
        tls = TlsParameters(certificate=config.settings.tls.certificate, key=config.settings.tls.key)
        if tls.certificate is None:
            raise ConfigurationError(
                f"--admin-http {place.host}:{place.port} can be reached by others: name a certificate (--admin-tls-cert or --tls-cert)"
            )
    token_file = Path(admin.token_file) if admin.token_file else state_folder(environment) / TOKEN_FILE
    return HttpListener(
        host=place.host, port=place.port, token=read_token(token_file), tls=tls, names=admin.names
    )
