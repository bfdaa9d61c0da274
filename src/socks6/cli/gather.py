"""Gathers choices: flags go before the environment, the environment before a configuration file."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from socks6.config.bind import parse_advertised, parse_bind_ports
from socks6.config.choices import Choices
from socks6.config.faults import prefixed
from socks6.config.file import read_configuration
from socks6.config.upstream import find_upstream
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.table import plain_entries
from socks6.proxy.authentication.users_file import UsersFile, read_users_file

USERS_VARIABLE: Final = "SOCKS6_USERS"

# Flags that are choices as they stand.
PLAIN: Final = (
    "direct", "via_fast_open", "via_session", "optimistic", "open_to_all", "allow_private", "connections", "connections_per_source", "connections_per_user",
    "sessions", "sessions_total", "session_timeout", "handshake_timeout", "lookup_timeout", "connect_timeout", "idle_timeout", "fin_timeout", "drain_timeout",
    "dialect_212", "quiet_failures", "ignore_fragmented", "copy_tos", "fast_open", "tfo_without_token", "racing", "first_family",
    "attempt_delay", "quic_backend", "tls_certificate", "tls_key", "tls_client_ca", "tls_min_version", "udp_enabled", "verbosity", "log_destinations", "loop",
)  # fmt: skip


class Gathered(NamedTuple):
    """All choices, and what the operator should know about the files that they came from."""

    choices: Choices
    warnings: tuple[str, ...]


def gather(flags: Namespace, environment: Mapping[str, str]) -> Gathered:
    """Read everything that says something. Raises ConfigurationError."""
    spoken = _from_flags(flags)
    choices = spoken.over(_from_environment(environment, spoken))
    warnings = spoken.users_file.warnings if spoken.users_file else ()
    if flags.config is None:
        return Gathered(choices, warnings)
    file = read_configuration(flags.config)
    return Gathered(choices.over(file.choices), warnings + file.warnings)


def _from_flags(flags: Namespace) -> Choices:
    via = flags.via if flags.via_url is None else flags.via_url
    if flags.via_url is not None and flags.via is not None:
        raise ConfigurationError("URL, --via: only one of them")
    if via is not None and (flags.direct or flags.via_file is not None):
        raise ConfigurationError("--via, --via-file, --direct: only one of them")
    plain = {name: getattr(flags, name) for name in PLAIN}
    return Choices(
        listen=_listeners(flags.listen),
        via=find_upstream(via, flags.via_file, {}),
        advertise=_advertised(flags.advertise),
        bind_ports=_bind_ports(flags.bind_ports),
        users=_users("--user", flags.user) if flags.user else None,
        users_file=_users_file(flags.users),
        **plain,
    )


def _from_environment(environment: Mapping[str, str], spoken: Choices) -> Choices:
    """Return what the environment says of things that no flag has said."""
    settled = spoken.direct or spoken.via is not None
    users = environment.get(USERS_VARIABLE, "").splitlines()
    return Choices(
        via=None if settled else find_upstream(None, None, environment),
        users=_users(USERS_VARIABLE, users) if users and spoken.users is None else None,
    )


def _listeners(texts: list[str] | None) -> tuple[ProxyUrl, ...] | None:
    if texts is None:
        return None
    with prefixed("--listen"):
        return tuple(map(ProxyUrl.parse_listener, texts))


def _advertised(texts: list[str] | None) -> tuple[str, ...] | None:
    if texts is None:
        return None
    with prefixed("--advertise"):
        return parse_advertised(texts)


def _bind_ports(text: str | None) -> range | None:
    if text is None:
        return None
    with prefixed("--bind-ports"):
        return parse_bind_ports(text)


def _users(source: str, texts: Iterable[str]) -> dict[str, PasswordHash]:
    passwords: dict[str, str] = {}
    with prefixed(source):
        for text in texts:
            name, colon, password = text.partition(":")
            if not colon:
                raise ConfigurationError("not of the form NAME:PASSWORD")
            passwords[name] = password
        return plain_entries(passwords)


def _users_file(path: str | None) -> UsersFile | None:
    if path is None:
        return None
    with prefixed("--users"):
        return read_users_file(path)
