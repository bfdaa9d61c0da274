"""Turns the tables of a configuration file into choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from socks6.config import tables
from socks6.config.bind import read_advertised, read_bind_ports, read_bind_settings
from socks6.config.choices import DOUBTS, FAMILIES, LOOPS, Choices
from socks6.config.faults import Fault, Key, blaming
from socks6.config.stack import read_stack_rule
from socks6.config.udp import read_udp_settings
from socks6.config.upstream import parse_upstream, read_url_file
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import MINIMUM_VERSIONS
from socks6.net.url import QUIC_BACKENDS, ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.table import plain_entries
from socks6.proxy.authentication.users_file import UsersFile, read_users_file

TABLES: Final[Mapping[str, type[Struct]]] = {
    "users": tables.Users,
    "policy": tables.Policy,
    "limits": tables.Limits,
    "sessions": tables.Sessions,
    "bind": tables.Bind,
    "udp": tables.Udp,
    "timeouts": tables.Timeouts,
    "happy-eyeballs": tables.HappyEyeballs,
    "tls": tables.Tls,
    "quic": tables.Quic,
}

ValueT = TypeVar("ValueT")


def read_document(document: dict[str, object], directory: Path, faults: list[Fault]) -> Choices:
    """Return what a file says; what it says wrongly is left out and told to `faults`.

    Paths in the file begin at `directory`.
    """
    return _Reading(document, directory, faults).choices()


class _Reading:
    def __init__(self, document: dict[str, object], directory: Path, faults: list[Fault]) -> None:
        self._directory = directory
        self._faults = faults
        self._tables = {name: document.get(name, {}) for name in TABLES}
        rest = {name: value for name, value in document.items() if name not in TABLES}
        self._top = tables.decode_table(rest, tables.Top, (), faults, others=TABLES)

    def choices(self) -> Choices:
        top = self._top
        policy = self._table("policy", tables.Policy)
        users = self._table("users", tables.Users)
        eyeballs = self._table("happy-eyeballs", tables.HappyEyeballs)
        choices = Choices(
            listen=self._listen(),
            via=self._via(),
            direct=top.direct,
            via_fast_open=top.via_fast_open,
            via_session=top.via_session,
            open_to_all=top.open,
            users=self._plain_users(users),
            users_file=self._users_file(users),
            allow_private=policy.allow_private,
            rules=self._rules(policy),
            stack=self._stack(),
            dialect_212=top.dialect_212,
            quiet_failures=top.quiet_failures,
            ignore_fragmented=top.ignore_fragmented,
            optimistic=top.optimistic,
            copy_tos=top.copy_tos,
            fast_open=top.fast_open,
            tfo_without_token=self._one_of(DOUBTS, top.tfo_without_token, ("tfo-without-token",)),
            racing=eyeballs.race,
            first_family=self._one_of(FAMILIES, eyeballs.first_family, ("happy-eyeballs", "first-family")),
            attempt_delay=eyeballs.delay,
            verbosity=top.verbose,
            log_destinations=top.log_destinations,
            loop=self._one_of(LOOPS, top.loop, ("loop",)),
        )
        return self._with_tls(self._with_bounds(choices))

    def _with_bounds(self, choices: Choices) -> Choices:
        limits = self._table("limits", tables.Limits)
        timeouts = self._table("timeouts", tables.Timeouts)
        sessions = self._table("sessions", tables.Sessions)
        bind = self._table("bind", tables.Bind)
        udp = self._table("udp", tables.Udp)
        return replace(
            choices,
            connections=limits.connections,
            connections_per_source=limits.connections_per_source,
            connections_per_user=limits.connections_per_user,
            handshake_timeout=timeouts.handshake,
            lookup_timeout=timeouts.lookup,
            connect_timeout=timeouts.connect,
            idle_timeout=timeouts.idle,
            fin_timeout=timeouts.fin,
            drain_timeout=timeouts.drain,
            advertise=read_advertised(bind, self._faults),
            bind_ports=read_bind_ports(bind, self._faults),
            bind=read_bind_settings(bind),
            udp_enabled=udp.enabled,
            udp=read_udp_settings(udp, self._faults),
            sessions=sessions.enabled,
            sessions_total=sessions.total,
            sessions_per_user=sessions.per_user,
            sessions_per_source=sessions.per_source,
            session_timeout=sessions.idle,
            session_window=sessions.window,
            sessions_anonymous=sessions.anonymous,
            sessions_close=sessions.close_connections,
        )

    def _table(self, name: str, kind: type[tables.TableT]) -> tables.TableT:
        return tables.decode_table(self._tables[name], kind, (name,), self._faults)

    def _attempt(self, key: Key, read: Callable[[], ValueT]) -> ValueT | None:
        try:
            return read()
        except ConfigurationError as error:
            self._faults.append(Fault(key=key, what=str(error)))
            return None

    def _listen(self) -> tuple[ProxyUrl, ...] | None:
        if self._top.listen is None:
            return None
        urls = []
        for index, text in enumerate(tables.texts(self._top.listen)):
            with blaming(("listen", index), self._faults):
                urls.append(ProxyUrl.parse_listener(text))
        return tuple(urls)

    def _via(self) -> ProxyUrl | None:
        via, via_file = self._top.via, self._top.via_file
        if via is not None and via_file is not None:
            self._faults.append(Fault(key=("via-file",), what="there is via already"))
        if via is not None:
            return self._attempt(("via",), lambda: parse_upstream(via))
        if via_file is not None:
            return self._attempt(("via-file",), lambda: read_url_file(self._directory / via_file))
        return None

    def _with_tls(self, choices: Choices) -> Choices:
        tls = self._table("tls", tables.Tls)
        quic = self._table("quic", tables.Quic)
        versions = tuple(MINIMUM_VERSIONS)
        return replace(
            choices,
            tls_certificate=self._path(tls.certificate),
            quic_backend=self._one_of(QUIC_BACKENDS, quic.backend, ("quic", "backend")),
            tls_key=self._path(tls.key),
            tls_client_ca=self._path(tls.client_ca),
            tls_min_version=self._one_of(versions, tls.min_version, ("tls", "min-version")),
        )

    def _path(self, name: str | None) -> str | None:
        return None if name is None else str(self._directory / name)

    def _one_of(self, known: Sequence[str], value: str | None, key: Key) -> str | None:
        if value is not None and value not in known:
            self._faults.append(Fault(key=key, what=f"expected one of {', '.join(known)}"))
        return value

    def _users_file(self, users: tables.Users) -> UsersFile | None:
        name = users.file
        if name is None:
            return None
        return self._attempt(("users", "file"), lambda: read_users_file(self._directory / name))

    def _plain_users(self, users: tables.Users) -> dict[str, PasswordHash] | None:
        if users.plain is None:
            return None
        entries: dict[str, PasswordHash] = {}
        for name, password in users.plain.items():
            with blaming(("users", "plain", name), self._faults):
                if not isinstance(password, str):
                    raise ConfigurationError("expected a password as text in quotes")
                entries |= plain_entries({name: password})
        return entries

    def _stack(self) -> tuple[StackRule, ...] | None:
        if self._top.stack is None:
            return None
        rules = (read_stack_rule(raw, index, self._faults) for index, raw in enumerate(self._top.stack))
        return tuple(rule for rule in rules if rule is not None)

    def _rules(self, policy: tables.Policy) -> tuple[Rule, ...] | None:
        if policy.rules is None:
            return None
        rules = (self._rule(raw, index) for index, raw in enumerate(policy.rules))
        return tuple(rule for rule in rules if rule is not None)

    def _rule(self, raw: object, index: int) -> Rule | None:
        key: Key = ("policy", "rules", index)
        table = tables.decode_table(raw, tables.Rule, key, self._faults)
        if table.action is None:
            self._faults.append(Fault(key=key, what="has no action: write allow or deny"))
            return None
        parts = {
            "users": tables.texts(table.users),
            "hosts": tables.texts(table.hosts),
            "ports": tables.texts(table.ports),
            "commands": tables.texts(table.commands),
        }
        before = len(self._faults)
        with blaming((*key, "action"), self._faults):
            Rule.parse(table.action)
        for name, texts in parts.items():
            for number, text in enumerate(texts):
                with blaming((*key, name, number), self._faults):
                    Rule.parse("allow", **{name: (text,)})
        return Rule.parse(table.action, **parts) if len(self._faults) == before else None
