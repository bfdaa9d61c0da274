"""All that can be set about a server or a converter: the root of the settings, and the tables of its policy.

`Settings` and the dataclasses within it, which stand beside the code that uses them, are the rest. A new setting is
one line in any of them; `socks6.setting` says what follows from it.
"""

import socket
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from socks6.admin.settings import AdminSettings
from socks6.config.upstream import UPSTREAM_VARIABLE, parse_upstream, read_urls_file
from socks6.dataclass import dataclass
from socks6.net.dial import ATTEMPT_DELAY
from socks6.net.resolve import LOOKUP_SECONDS
from socks6.net.transports.base import MAX_SPARES
from socks6.net.url import ProxyUrl
from socks6.observability.settings import DEFAULT_KEEP, MetricsSettings, parse_collector, parse_keep
from socks6.policy.rules import Policy, Rule
from socks6.policy.stack import StackRule
from socks6.proxy.authentication.base import (
    AUTH_SECONDS,
    CACHE_SECONDS,
    Authenticator,
    NoAuthentication,
)
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.proxy.authentication.users_file import UsersFile, read_users_file
from socks6.proxy.settings import Settings
from socks6.setting import TABLE, DeclaredSetting, setting, settings_of

if TYPE_CHECKING:
    from socks6.proxy.authentication.users_database import UsersDatabase

SERVER_LISTEN: Final = "socks6://127.0.0.1:1080"
CLIENT_LISTEN: Final = "mixed://127.0.0.1:1080"
USERS_VARIABLE: Final = "SOCKS6_USERS"
LOOPS: Final = ("auto", "asyncio", "uvloop")
UPSTREAM_ORDERS: Final = ("failover", "round-robin", "least-latency")
LOG_FORMATS: Final = ("auto", "text", "json", "journal")
MAX_VERBOSITY: Final = 3
FAMILIES: Final[Mapping[str, int | None]] = {"auto": None, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

TABLES: Final[Mapping[str, str]] = {
    "": "serving",
    "users": "who may use the proxy",
    "policy": "where clients may go",
    "happy-eyeballs": "names with several addresses (RFC 8305)",
    "tls": "encryption of listeners such as socks6+tls://HOST, socks6+quic://HOST",
    "quic": "listeners such as socks6+quic://HOST",
    "limits": "how many clients may be there at a time",
    "sessions": "sessions of SOCKS 6 clients",
    "bind": "listening for clients (BIND)",
    "udp": "datagrams of SOCKS 6 clients",
    "timeouts": "time-outs",
    "metrics": "what Prometheus reads",
    "traces": "what OpenTelemetry gets",
    "admin": "seeing and steering a running proxy",
}
"""What each table of a configuration file is about."""


def by_table(root: type) -> dict[str, list[DeclaredSetting]]:
    """Return the settings of each table, in the order of TABLES; those above all tables come first."""
    tables: dict[str, list[DeclaredSetting]] = {name: [] for name in TABLES}
    for declared in settings_of(root):
        tables.setdefault(declared.table, []).append(declared)
    return {name: settings for name, settings in tables.items() if settings}


def _check_database(path: str) -> str:
    from socks6.proxy.authentication.users_database import check_database  # noqa: PLC0415 - SQLite takes 10 ms

    return check_database(path)


def _parse_user(name: str, password: str) -> PasswordHash:
    return plain_entries({name: password})[name]


def _check_log_database(path: str) -> str:
    from socks6.observability.access_database import check_database  # noqa: PLC0415 - SQLite takes 10 ms

    check_database(path)
    return path


def _check_auth_command(text: str) -> str:
    from socks6.proxy.authentication.command import command_words  # noqa: PLC0415 - which few need

    command_words(text)
    return text


def _check_auth_url(text: str) -> str:
    from socks6.proxy.authentication.http_service import AuthUrl  # noqa: PLC0415 - as above

    AuthUrl.parse(text)
    return text


def _check_auth_ca(path: str) -> str:
    from socks6.proxy.authentication.http_service import read_roots  # noqa: PLC0415 - as above

    read_roots(path)
    return path


def _check_auth_pam(text: str) -> str:
    from socks6.proxy.authentication.pam import check_service  # noqa: PLC0415 - as above

    check_service(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All that a server is made of. Times are seconds."""

    listen: tuple[ProxyUrl, ...] = setting(
        (ProxyUrl.parse_listener(SERVER_LISTEN),),
        "where clients connect: socks6://HOST:PORT, mixed:// (SOCKS 4, 4a, 5, 6 and HTTP on one port), socks5://, http://,"
        " each also encrypted, as socks6+tls://HOST, or on a Unix socket, socks6+unix:///PATH; SOCKS 6 over QUIC,"
        " socks6+quic://HOST; port 0 is any free one; repeatable",
        unit="URL",
        many=True,
        parse=ProxyUrl.parse_listener,
        common=True,
    )
    via: tuple[ProxyUrl, ...] = setting(
        (),
        "go out through this proxy, which speaks SOCKS 6, or what its URL says: socks5://, socks4a://, socks4://, http://, https://; if"
        " it has a password, SOCKS6_PROXY or --via-file is a better place than the command line, which every user of this"
        " machine can read; repeatable: see --via-order",
        unit="URL",
        many=True,
        environment=UPSTREAM_VARIABLE,
        parse=parse_upstream,
        example='"socks6://proxy.example:1080"',
        common=True,
    )
    via_file: tuple[ProxyUrl, ...] = setting(
        (),
        "read that URL from a file, or several, one a line",
        unit="FILE",
        parse=read_urls_file,
        example='"upstream.url"',
        common=True,
    )
    via_through: tuple[ProxyUrl, ...] = setting(
        (),
        "reach those proxies through this one; repeatable: each is reached through the one before it",
        unit="URL",
        many=True,
        parse=parse_upstream,
        example='"socks5://first.example:1080"',
    )
    via_order: str = setting(
        "failover",
        "of several such proxies that work, use the first one, each in its turn, or the one that answers soonest",
        values={name: name for name in UPSTREAM_ORDERS},
    )
    direct: bool = setting(False, "go out through no proxy, whatever is set elsewhere")
    via_fast_open: bool = setting(
        False,
        "send requests to that proxy within the SYN (TCP Fast Open), with the client's first data where the proxy gives"
        " tokens against doubled ones",
    )
    via_session: bool | None = setting(
        None,
        "keep a session with that proxy, so that the password goes there once",
        default_text="where there is a password",
        example="false",
    )
    via_spare: str = setting(
        "auto",
        "how many connections over TLS to make ahead of requests, for a proxy whose URL does not say (?spare=); auto is as"
        " many as requests need",
        values={str(spares): str(spares) for spares in ("auto", *range(MAX_SPARES + 1))},
        numbers=True,
    )
    via_check: bool = setting(
        True, "ask that proxy at the start whether it answers, and again while it does not"
    )
    open_to_all: bool = setting(
        False,
        "let every client in, even on addresses that others can reach",
        key="open",
        common=True,
    )
    settings: Settings = field(default_factory=Settings, metadata={TABLE: ""})
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    traces: str | None = setting(
        None,
        "send traces to an OpenTelemetry collector (OTLP over HTTP, such as http://127.0.0.1:4318); each request is a span, with"
        " its handshake, lookup, connecting and relay within it. Needs the extra otel",
        key="traces.otlp",
        flag="--otel",
        unit="URL",
        parse=parse_collector,
        default_text="what OTEL_EXPORTER_OTLP_ENDPOINT says",
        example='"http://127.0.0.1:4318"',
        common=True,
    )
    admin: AdminSettings = field(default_factory=AdminSettings)
    verbosity: int = setting(
        0,
        "1, or -v, logs each connection; 2, or -vv, every event; 3, or -vvv, every message, decoded (its secrets are masked; destinations are not)",
        key="verbose",
        short="-v",
        maximum=MAX_VERBOSITY,
        common=True,
    )
    log_format: str = setting(
        "auto",
        "the form of the log; auto is the journal's where systemd's journal reads standard error, otherwise text",
        values={name: name for name in LOG_FORMATS},
    )
    log_file: str | None = setting(
        None,
        "append the log to this file, which may be renamed at any time: it is then made anew",
        unit="FILE",
        default_text="standard error",
        example='"/var/log/socks6/main.log"',
        common=True,
    )
    log_db: str | None = setting(
        None,
        "write each connection that has ended to this database (SQLite), too, which `socks6 log` reads",
        unit="FILE",
        parse=_check_log_database,
        example='"access.db"',
        common=True,
    )
    log_db_keep: timedelta | None = setting(
        DEFAULT_KEEP,
        "how long connections stay in it: a number with h, d or w; or ever",
        unit="TIME",
        parse=parse_keep,
        default_text="30d",
        example='"90d"',
    )
    log_destinations: bool = setting(False, "log where connections go", common=True)
    loop: str = setting(
        "auto", "the event loop; auto is uvloop if it is installed", values={name: name for name in LOOPS}
    )
    status_line: bool = setting(
        True, "show at the bottom of a terminal how the upstream proxy is, where there is one"
    )
    stack: tuple[StackRule, ...] = setting((), "bounds of stack options", items=StackRule, reload=True)

    users_file: UsersFile | None = setting(
        None,
        "let the users of a file in; `socks6 passwd` makes its lines",
        key="users.file",
        flag="--users",
        unit="FILE",
        parse=read_users_file,
        secret=True,
        reload=True,
        example='"users"',
        common=True,
    )
    users_database: str | None = setting(
        None,
        "let the users of a database in, whose limits and changes hold at once; `socks6 users` makes it",
        key="users.database",
        flag="--users-db",
        unit="FILE",
        parse=_check_database,
        example='"users.db"',
    )
    users: Mapping[str, PasswordHash] | None = setting(
        None,
        "let this user in; repeatable. SOCKS6_USERS (one a line) and --users are better places for passwords",
        key="users.plain",
        flag="--user",
        environment=USERS_VARIABLE,
        unit="NAME:PASSWORD",
        entry=_parse_user,
        secret=True,
        reload=True,
        example='{ alice = "correct horse battery" }',
        common=True,
    )
    auth_command: str | None = setting(
        None,
        "let those users in that this program knows, which is kept running: a line of JSON in for each, a line out",
        key="users.command",
        flag="--auth-command",
        unit="COMMAND",
        parse=_check_auth_command,
        secret=True,
        reload=True,
        example='"sh check-user.sh"',
    )
    auth_url: str | None = setting(
        None,
        "let those users in that this HTTP service knows: a POST of JSON for each",
        key="users.url",
        flag="--auth-url",
        unit="URL",
        parse=_check_auth_url,
        secret=True,
        reload=True,
        example='"https://auth.example/check"',
    )
    auth_ca: str | None = setting(
        None,
        "the certificates, in PEM, that prove that service",
        key="users.url-ca",
        flag="--auth-ca",
        unit="FILE",
        parse=_check_auth_ca,
        default_text="the system's",
        reload=True,
        example='"auth-ca.pem"',
    )
    auth_pam: str | None = setting(
        None,
        "let those users in that this service of PAM lets in, such as login (extra pam)",
        key="users.pam",
        flag="--auth-pam",
        unit="SERVICE",
        parse=_check_auth_pam,
        reload=True,
        example='"login"',
    )
    auth_timeout: float = setting(
        AUTH_SECONDS,
        "seconds for --auth-command, --auth-url or --auth-pam to answer; later the client is told that the proxy is busy",
        key="users.timeout",
        flag="--auth-timeout",
        positive=True,
        reload=True,
    )
    auth_cache: float = setting(
        CACHE_SECONDS,
        "seconds that their answer holds for the same user, password and client's address; a refusal holds for 5 at most; 0 to"
        " ask each time",
        key="users.cache",
        flag="--auth-cache",
        maximum=86_400,
        reload=True,
    )
    allow_private: bool | None = setting(
        None,
        "let clients reach private networks and this machine",
        key="policy.allow-private",
        flag="--allow-private",
        default_text="only where every listener is a loopback address or a Unix socket",
        example="true",
        reload=True,
        common=True,
    )
    rules: tuple[Rule, ...] = setting(
        (), "rules of what clients may do", key="policy.rules", items=Rule, reload=True
    )

    racing: bool = setting(
        True,
        "race the addresses of a name when the client does not say whether to",
        key="happy-eyeballs.race",
        flag="--happy-eyeballs",
    )
    first_family: int | None = setting(
        None,
        "the addresses of a name that are tried first; auto is the system's order",
        key="happy-eyeballs.first-family",
        flag="--first-family",
        values=FAMILIES,
    )
    attempt_delay: float = setting(
        ATTEMPT_DELAY,
        "seconds after which a race tries the next address",
        key="happy-eyeballs.delay",
        flag="--attempt-delay",
        positive=True,
    )
    lookup_timeout: float = setting(
        LOOKUP_SECONDS,
        "seconds to find the address of a name",
        key="timeouts.lookup",
        flag="--lookup-timeout",
        positive=True,
    )
    connect_timeout: float | None = setting(
        None,
        "seconds to reach a destination",
        key="timeouts.connect",
        flag="--connect-timeout",
        positive=True,
        default_text="30; 60 through another proxy",
        example="30",
    )

    @property
    def upstreams(self) -> tuple[ProxyUrl, ...]:
        """The proxies to go through, one of them at a time; none to go out directly."""
        return () if self.direct else self.via or self.via_file

    @property
    def policy(self) -> Policy:
        """Who may do what."""
        allow_private = self.allow_private
        if allow_private is None:
            allow_private = all(url.is_local for url in self.listen)
        return Policy(allow_private=allow_private, rules=self.rules, stack=self.stack)

    def open_users_database(self) -> "UsersDatabase | None":
        """Return the database, to be opened when it is first used; None if there is none."""
        if self.users_database is None:
            return None
        from socks6.proxy.authentication.users_database import UsersDatabase  # noqa: PLC0415 - as above

        return UsersDatabase(self.users_database)

    def authenticator(self, database: "UsersDatabase | None" = None) -> Authenticator:
        """Return a new authenticator; a user of both kinds has the plain password. Without a `database` it opens its own."""
        members = list(self._authenticators(database or self.open_users_database()))
        if len(members) > 1:
            from socks6.proxy.authentication.chain import AuthenticatorChain  # noqa: PLC0415 - which few need

            return AuthenticatorChain(members)
        return members[0] if members else NoAuthentication()

    def _authenticators(self, database: "UsersDatabase | None") -> Iterator[Authenticator]:
        """Return those that know users, in the order that they are asked."""
        if self.users is not None or self.users_file is not None:
            in_file = self.users_file.entries if self.users_file else {}
            yield UserTable(ChainMap(dict(self.users), in_file) if self.users else in_file)  # type: ignore[arg-type]  # it is only read
        if database is not None:
            from socks6.proxy.authentication.database_users import DatabaseUsers  # noqa: PLC0415 - as above

            yield DatabaseUsers(database)
        if self.auth_command or self.auth_url or self.auth_pam:
            yield from self._outside()

    def _outside(self) -> Iterator[Authenticator]:
        """Return those that are outside of this process."""
        from socks6.proxy.authentication.external import ExternalSettings  # noqa: PLC0415 - which few need

        settings = ExternalSettings(timeout=self.auth_timeout, cache=self.auth_cache)
        if self.auth_command:
            from socks6.proxy.authentication.command import (  # noqa: PLC0415 - as above
                CommandAuthenticator,
                command_words,
            )

            yield CommandAuthenticator(command_words(self.auth_command), settings)
        if self.auth_url:
            from socks6.proxy.authentication.http_service import (  # noqa: PLC0415 - as above
                AuthUrl,
                UrlAuthenticator,
            )

            yield UrlAuthenticator(AuthUrl.parse(self.auth_url), settings, ca_file=self.auth_ca)
        if self.auth_pam:
            from socks6.proxy.authentication.pam import PamAuthenticator  # noqa: PLC0415 - as above

            yield PamAuthenticator(self.auth_pam, settings)
