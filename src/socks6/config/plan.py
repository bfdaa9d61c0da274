"""Makes a server, and what it consists of, from an operator's choices."""

import socket
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from socks6.client.client import DEFAULT_TIMEOUT, Client
from socks6.client.outbound import Socks6Outbound
from socks6.config.choices import SERVE, Choices
from socks6.config.faults import Key
from socks6.errors import ConfigurationError
from socks6.message.address import without_trailing_dot
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.net.datagrams.direct import DatagramSettings
from socks6.net.dial import ATTEMPT_DELAY
from socks6.net.direct import CONNECT_SECONDS, DirectOutbound
from socks6.net.encryption.contexts import DEFAULT_MINIMUM, TlsParameters, check_server_files
from socks6.net.resolve import LOOKUP_SECONDS, Resolver
from socks6.net.stream import Outbound
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.sessions import SessionSettings
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.streams import RelaySettings
from socks6.telemetry import Observer

SERVER_LISTEN: Final = "socks6://127.0.0.1:1080"
CLIENT_LISTEN: Final = "mixed://127.0.0.1:1080"

FIRST_FAMILIES: Final[Mapping[str, int | None]] = {
    "auto": None,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Choices with the defaults filled in: all that a server is made of."""

    listen: tuple[ProxyUrl, ...]
    via: ProxyUrl | None
    via_fast_open: bool
    via_session: bool | None
    open_to_all: bool
    authenticator: Authenticator
    policy: Policy
    settings: Settings
    lookup_timeout: float
    connect_timeout: float
    racing: bool
    first_family: int | None
    attempt_delay: float

    @classmethod
    def of(cls, choices: Choices, *, default_listen: str = SERVER_LISTEN) -> "Plan":
        """Return the plan for some choices. Raises ConfigurationError."""
        listen = choices.listen or (ProxyUrl.parse_listener(default_listen),)
        via = None if choices.direct else choices.via
        if via is not None and _place(via) in map(_place, listen):
            raise ConfigurationError(f"{via} would be its own way out: listen elsewhere, or go out --direct")
        allow_private = choices.allow_private
        if allow_private is None:
            allow_private = all(url.is_local for url in listen)
        connect_timeout = DEFAULT_TIMEOUT if via else CONNECT_SECONDS
        return cls(
            listen=listen,
            via=via,
            via_fast_open=bool(choices.via_fast_open),
            via_session=choices.via_session,
            open_to_all=bool(choices.open_to_all),
            authenticator=_authenticator(choices),
            policy=Policy(allow_private=allow_private, rules=choices.rules or (), stack=choices.stack or ()),
            settings=_settings(choices),
            lookup_timeout=_said(choices.lookup_timeout, LOOKUP_SECONDS),
            connect_timeout=_said(choices.connect_timeout, connect_timeout),
            racing=_said(choices.racing, True),
            first_family=FIRST_FAMILIES[_said(choices.first_family, "auto")],
            attempt_delay=_said(choices.attempt_delay, ATTEMPT_DELAY),
        )

    def upstream(self) -> Client | None:
        """Return the client of the proxy to go through, if there is one."""
        if self.via is None:
            return None
        return Client(
            self.via,
            timeout=self.connect_timeout,
            fast_open=self.via_fast_open,
            session=self.via_session,
        )

    def outbound(self) -> Outbound:
        """Return the way to the world."""
        if upstream := self.upstream():
            return Socks6Outbound(upstream)
        return DirectOutbound(
            Resolver(timeout=self.lookup_timeout),
            connect_timeout=self.connect_timeout,
            attempt_delay=self.attempt_delay,
            first_family=self.first_family,
            racing=self.racing,
            bind_ports=self.settings.bind.ports,
            datagrams=DatagramSettings(
                filtering=self.settings.udp.filtering,
                remote_timeout=self.settings.udp.remote_timeout,
                multicast_interface=self.settings.udp.multicast_interface,
            ),
        )

    def worker(self, observers: Sequence[Observer] = ()) -> ServerWorker:
        """Return what serves the clients."""
        return ServerWorker(
            authenticator=self.authenticator,
            policy=self.policy,
            outbound=self.outbound(),
            settings=self.settings,
            observers=observers,
        )

    def server(self, worker: ServerWorker) -> Server:
        """Return the server. Raises ConfigurationError for a listener that must not be."""
        return Server(self.listen, worker, open_to_all=self.open_to_all)

    def faults(self) -> list[tuple[Key, str]]:
        """Return all that a server refuses: the key of each, and why. Reads the files that listeners need."""
        found: list[tuple[Key, str]] = []
        try:
            check_server_files(self.settings.tls)
        except ConfigurationError as error:
            found.append((("tls",), str(error)))
        files = {why for _, why in found}
        worker = self.worker()
        for index, url in enumerate(self.listen):
            try:
                Server([url], worker, open_to_all=self.open_to_all)
            except ConfigurationError as error:
                if str(error) not in files:  # told already
                    found.append((("listen", index), str(error)))
        return found


def _place(url: ProxyUrl) -> tuple[str, int, str]:
    return without_trailing_dot(url.host), url.port, url.path


def _authenticator(choices: Choices) -> Authenticator:
    if choices.users is None and choices.users_file is None:
        return NoAuthentication()
    in_file = choices.users_file.entries if choices.users_file else {}
    return UserTable(ChainMap(dict(choices.users), in_file) if choices.users else in_file)  # type: ignore[arg-type]  # it is only read


def _settings(choices: Choices) -> Settings:
    usual = Settings()
    return Settings(
        handshake_timeout=_said(choices.handshake_timeout, usual.handshake_timeout),
        drain_timeout=_said(choices.drain_timeout, usual.drain_timeout),
        connections=_said(choices.connections, usual.connections),
        connections_per_source=_said(choices.connections_per_source, usual.connections_per_source),
        connections_per_user=_said(choices.connections_per_user, usual.connections_per_user),
        dialects=(DRAFT_12, GO_212) if choices.dialect_212 else (DRAFT_12,),
        quiet=_said(choices.quiet_failures, usual.quiet),
        ignore_fragmented=_said(choices.ignore_fragmented, usual.ignore_fragmented),
        optimistic=_said(choices.optimistic, usual.optimistic),
        copy_tos=_said(choices.copy_tos, usual.copy_tos),
        fast_open=_said(choices.fast_open, usual.fast_open),
        tfo_without_token=_said(choices.tfo_without_token, SERVE) == SERVE,
        quic_backend=_said(choices.quic_backend, usual.quic_backend),
        tls=_tls(choices),
        sessions=_sessions(choices),
        bind=replace(
            choices.bind or usual.bind,
            advertise=choices.advertise or (),
            ports=_said(choices.bind_ports, usual.bind.ports),
        ),
        udp=replace(choices.udp or usual.udp, enabled=_said(choices.udp_enabled, usual.udp.enabled)),
        relay=RelaySettings(
            idle_timeout=_said(choices.idle_timeout, usual.relay.idle_timeout),
            fin_timeout=_said(choices.fin_timeout, usual.relay.fin_timeout),
        ),
    )


def _sessions(choices: Choices) -> SessionSettings:
    usual = SessionSettings()
    return SessionSettings(
        enabled=_said(choices.sessions, usual.enabled),
        total=_said(choices.sessions_total, usual.total),
        per_user=_said(choices.sessions_per_user, usual.per_user),
        per_source=_said(choices.sessions_per_source, usual.per_source),
        idle_timeout=_said(choices.session_timeout, usual.idle_timeout),
        window=_said(choices.session_window, usual.window),
        anonymous=_said(choices.sessions_anonymous, usual.anonymous),
        close_connections=_said(choices.sessions_close, usual.close_connections),
    )


def _tls(choices: Choices) -> TlsParameters:
    if choices.tls_key is not None and choices.tls_certificate is None:
        raise ConfigurationError("there is a key of TLS, but not its certificate")
    return TlsParameters(
        certificate=choices.tls_certificate,
        key=choices.tls_key,
        client_ca=choices.tls_client_ca,
        min_version=None if choices.tls_min_version == DEFAULT_MINIMUM else choices.tls_min_version,
    )


def _said(value: ValueT | None, usual: ValueT) -> ValueT:
    return usual if value is None else value
