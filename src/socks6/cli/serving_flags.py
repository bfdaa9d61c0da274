"""The flags of the commands that listen. A configuration file says the same; a test holds them together."""

import argparse
from typing import Final, TypeAlias

from socks6.cli.values import count, positive_count, positive_seconds, seconds, small_count

BACKENDS: Final = ("qh3", "aioquic")  # as net.url has them, which help need not import
LOOPS: Final = ("auto", "asyncio", "uvloop")
DOUBTS: Final = ("serve", "refuse")
FAMILIES: Final = ("auto", "ipv4", "ipv6")
TLS_VERSIONS: Final = ("1.2", "1.3")

Group: TypeAlias = argparse._ArgumentGroup  # noqa: SLF001 - what add_argument_group returns has no other name


def add_serving_flags(parser: argparse.ArgumentParser, *, listen: str) -> None:
    """Add them all; `listen` is the default listener."""
    _add_ways(parser.add_argument_group("ways in and out"), listen)
    _add_rights(parser.add_argument_group("who may come in, and where to"))
    _add_tls(
        parser.add_argument_group("encryption of listeners such as socks6+tls://HOST, socks6+quic://HOST")
    )
    _add_limits(parser.add_argument_group("limits"))
    _add_habits(parser.add_argument_group("manner of serving"))
    _add_stack(parser.add_argument_group("the layers below"))
    parser.set_defaults(via_url=None)
    _add_bind(parser.add_argument_group("listening for clients (BIND)"))
    _add_udp(parser.add_argument_group("relaying datagrams"))
    _add_process(parser.add_argument_group("process"))


def add_upstream_flags(group: Group) -> None:
    """Add the ways to name the proxy to go through."""
    group.add_argument(
        "--via",
        metavar="URL",
        help="go out through this SOCKS 6 proxy; if it has a password, SOCKS6_PROXY or --via-file is a better"
        " place than the command line, which everybody on this machine can read",
    )
    group.add_argument("--via-file", metavar="FILE", help="read that URL from a file")


def _add_ways(group: Group, listen: str) -> None:
    group.add_argument(
        "--listen",
        metavar="URL",
        action="append",
        help="where clients come in: socks6://HOST:PORT, mixed:// (SOCKS 4, 4a, 5, 6 and HTTP on one port),"
        " socks5://, http://, each also encrypted, as socks6+tls://HOST, or on a Unix socket,"
        " socks6+unix:///PATH; SOCKS 6 over QUIC, socks6+quic://HOST;"
        f" port 0 is any free one; repeatable (default: {listen})",
    )
    add_upstream_flags(group)
    group.add_argument(
        "--direct",
        action="store_true",
        default=None,
        help="go out through no proxy, whatever is said elsewhere",
    )
    group.add_argument(
        "--via-fast-open",
        action=argparse.BooleanOptionalAction,
        help="send requests to --via within the SYN (TCP Fast Open), with the client's first data where the proxy"
        " gives tokens against doubled ones",
    )
    group.add_argument(
        "--via-session",
        action=argparse.BooleanOptionalAction,
        help="keep a session with --via, so that the password goes there once (default: if there is a password)",
    )


def _add_rights(group: Group) -> None:
    group.add_argument(
        "--user",
        metavar="NAME:PASSWORD",
        action="append",
        help="let this user in; repeatable. SOCKS6_USERS (one a line) and --users are better places for passwords",
    )
    group.add_argument(
        "--users", metavar="FILE", help="let the users of a file in; `socks6 passwd` makes its lines"
    )
    group.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        dest="open_to_all",
        help="let anybody in, even on addresses that others can reach",
    )
    group.add_argument(
        "--allow-private",
        action=argparse.BooleanOptionalAction,
        help="let clients reach private networks and this machine (default: only where every --listen is a"
        " loopback address or a Unix socket)",
    )


def _add_tls(group: Group) -> None:
    group.add_argument(
        "--tls-cert",
        dest="tls_certificate",
        metavar="FILE",
        help="the certificate and its issuers, in PEM (default: one that the server makes for itself)",
    )
    group.add_argument("--tls-key", metavar="FILE", help="its key, where that has a file of its own")
    group.add_argument(
        "--tls-client-ca",
        metavar="FILE",
        help="let in only clients with certificates of these authorities: they are whom these name",
    )
    group.add_argument(
        "--tls-min-version", choices=TLS_VERSIONS, help="the oldest version of TLS (default: 1.3)"
    )
    group.add_argument("--quic-backend", choices=BACKENDS, help="the library that speaks QUIC (default: qh3)")


def _add_limits(group: Group) -> None:
    for name, dest, what in (
        ("connections", "connections", "at a time; 0 for any number (default: 10000)"),
        (
            "connections-per-source",
            "connections_per_source",
            "from one IPv4 address or IPv6 /64; 0 for any number (default: 1000)",
        ),
        (
            "connections-per-user",
            "connections_per_user",
            "of one user; 0 for any number (default: 1000)",
        ),
    ):
        group.add_argument(f"--max-{name}", dest=dest, metavar="NUMBER", type=count, help=what)
    group.add_argument(
        "--max-sessions",
        dest="sessions_total",
        metavar="NUMBER",
        type=positive_count,
        help="of SOCKS 6 at a time, 2 KiB each (default: 100000)",
    )
    for name, kind, what in (
        ("session", positive_seconds, "without a connection, then a session ends (default: 600)"),
        ("handshake", positive_seconds, "for a client to make its request (default: 10)"),
        ("lookup", positive_seconds, "to find the address of a name (default: 5)"),
        ("connect", positive_seconds, "to reach a destination (default: 30; 60 through another proxy)"),
        (
            "idle",
            seconds,
            "without a byte either way, then a connection is closed; 0 for never (default: 7440)",
        ),
        ("fin", seconds, "the same, once one side has ended; 0 for never (default: 60)"),
    ):
        group.add_argument(f"--{name}-timeout", metavar="SECONDS", type=kind, help=what)
    group.add_argument(
        "--drain",
        dest="drain_timeout",
        metavar="SECONDS",
        type=seconds,
        help="for open connections when told to stop (default: 30)",
    )


def _add_habits(group: Group) -> None:
    for name, dest, what in (
        ("quiet-failures", "quiet_failures", "answer nothing at all before a client has authenticated"),
        ("ignore-fragmented", "ignore_fragmented", "drop requests that do not arrive in one piece"),
        (
            "optimistic",
            "optimistic",
            "tell SOCKS 5 and HTTP CONNECT clients success at once, and reset them if it was none",
        ),
        (
            "sessions",
            "sessions",
            "give SOCKS 6 clients sessions, so that passwords cross the wire once (default: yes)",
        ),
        ("dialect212", "dialect_212", "also serve clients of the Go implementation (version byte 212)"),
    ):
        group.add_argument(f"--{name}", dest=dest, action=argparse.BooleanOptionalAction, help=what)


def _add_stack(group: Group) -> None:
    group.add_argument(
        "--fast-open",
        metavar="NUMBER",
        type=small_count,
        help="so many clients at a time may send data within their SYN (TCP Fast Open), which may come twice;"
        " 0 for none (default: 0)",
    )
    group.add_argument(
        "--tfo-without-token",
        choices=DOUBTS,
        help="whether to serve requests whose SYN brought a client's first bytes and that spend no token, so that the"
        " network may double them (default: serve)",
    )
    group.add_argument(
        "--copy-tos",
        action=argparse.BooleanOptionalAction,
        help="send on to the destination with the TOS that a client sends with, unless it asks for another",
    )
    group.add_argument(
        "--happy-eyeballs",
        dest="racing",
        action=argparse.BooleanOptionalAction,
        help="race the addresses of a name when the client does not say whether to (default: yes)",
    )
    group.add_argument(
        "--first-family",
        choices=FAMILIES,
        help="the addresses of a name that are tried first (default: auto, as the system would)",
    )
    group.add_argument(
        "--attempt-delay",
        metavar="SECONDS",
        type=positive_seconds,
        help="after which a race tries the next address (default: 0.25)",
    )


def _add_bind(group: Group) -> None:
    group.add_argument(
        "--advertise",
        metavar="HOST",
        action="append",
        help="what to tell clients that listen on every address of this machine: an address, one a family, or a"
        " name (default: the address by which the client came in)",
    )
    group.add_argument(
        "--bind-ports",
        metavar="FIRST-LAST",
        help="the ports that clients get, and may name without a rule (default: any free one, and none)",
    )


def _add_udp(group: Group) -> None:
    group.add_argument(
        "--udp",
        dest="udp_enabled",
        action=argparse.BooleanOptionalAction,
        help="let SOCKS 6 clients send datagrams over UDP, beside each TCP listener in the clear (default: yes;"
        " without, on their stream)",
    )


def _add_process(group: Group) -> None:
    group.add_argument("--config", metavar="FILE", help="read a TOML file first; `socks6 check` examines it")
    group.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="count",
        help="log each connection on standard error; -vv every event, -vvv every message",
    )
    group.add_argument(
        "--log-destinations",
        action=argparse.BooleanOptionalAction,
        help="have the log say where connections go",
    )
    group.add_argument("--loop", choices=LOOPS, help="the event loop (default: auto, uvloop if installed)")
