"""What an operator has said, on the command line, in the environment or in a file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from socks6.net.url import ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.users_file import UsersFile
from socks6.proxy.settings import BindSettings, UdpSettings

LOOPS: Final = ("auto", "asyncio", "uvloop")
SERVE: Final = "serve"
DOUBTS: Final = (SERVE, "refuse")
FAMILIES: Final = ("auto", "ipv4", "ipv6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Every choice there is; None where nothing was said. Times are seconds."""

    listen: tuple[ProxyUrl, ...] | None = None
    via: ProxyUrl | None = None
    direct: bool | None = None  # go out directly, whatever `via` says below
    via_fast_open: bool | None = None
    via_session: bool | None = None
    open_to_all: bool | None = None

    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    quic_backend: str | None = None  # one of BACKENDS
    tls_min_version: str | None = None  # one of MINIMUM_VERSIONS

    users: Mapping[str, PasswordHash] | None = field(default=None, repr=False)
    users_file: UsersFile | None = field(default=None, repr=False)
    allow_private: bool | None = None
    rules: tuple[Rule, ...] | None = None
    stack: tuple[StackRule, ...] | None = None

    connections: int | None = None
    connections_per_source: int | None = None
    connections_per_user: int | None = None
    sessions: bool | None = None
    sessions_total: int | None = None
    sessions_per_user: int | None = None
    sessions_per_source: int | None = None
    session_timeout: float | None = None
    session_window: int | None = None
    sessions_anonymous: bool | None = None
    sessions_close: bool | None = None

    handshake_timeout: float | None = None
    lookup_timeout: float | None = None
    connect_timeout: float | None = None
    idle_timeout: float | None = None
    fin_timeout: float | None = None
    drain_timeout: float | None = None

    advertise: tuple[str, ...] | None = None
    bind_ports: range | None = None
    bind: BindSettings | None = None  # what is advertised is not in here, nor are the ports
    udp_enabled: bool | None = None
    udp: UdpSettings | None = None  # whether there is any is not in here

    dialect_212: bool | None = None
    quiet_failures: bool | None = None
    ignore_fragmented: bool | None = None
    optimistic: bool | None = None

    copy_tos: bool | None = None
    fast_open: int | None = None
    tfo_without_token: str | None = None  # one of DOUBTS
    racing: bool | None = None
    first_family: str | None = None  # one of FAMILIES
    attempt_delay: float | None = None

    verbosity: int | None = None
    log_destinations: bool | None = None
    loop: str | None = None

    def over(self, others: "Choices") -> "Choices":
        """Return what holds when these choices go before `others`."""
        said = {
            name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None
        }
        if "via" in said and "direct" not in said:
            said["direct"] = False
        return dataclasses.replace(others, **said)
