"""The command line: which commands there are, and their flags. Imports nothing that takes time."""

import argparse
import functools
import re
import sys
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from socks6.cli.argument_types import (
    endpoint,
    endpoint_to_bind,
    local_endpoint,
    network,
    past,
    port,
    positive_seconds,
    seconds,
    whole,
)
from socks6.distribution import VERSION
from socks6.suggestion import suggestion, suggestion_or_all

DESCRIPTION: Final = "SOCKS version 6: a server, a converter for SOCKS 4, 4a, 5 and HTTP clients, and tools."
EXAMPLES: Final = """\
examples:
  socks6 passwd alice --file users
  socks6 server --listen socks6+tls://:8389 --users users
  socks6 share far.example --user alice --password --file alice.url

  socks6 client --via-file alice.url                    on another machine
  curl --proxy socks5h://127.0.0.1:1080 https://example.com/

exit codes: 0 all went well, 1 it failed, 2 wrong usage or configuration
"""

UDP_PATHS: Final = ("auto", "datagram", "stream")
SHELLS: Final = ("bash", "zsh", "fish")
WHO_COLUMNS: Final = ("id", "user", "source", "inbound", "command", "destination", "age", "up", "down")

# What argparse quotes of a command line and may hold a password: URLs, NAME:PASSWORD.
_SECRET: Final = re.compile(r"'[^']*[:@][^']*'|\"[^\"]*[:@][^\"]*\"")


_CHOICE: Final = re.compile(r"invalid choice: '(?P<word>[^']*)' \(choose from (?P<known>.*)\)")


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, without quoting what may be a password."""

    def error(self, message: str) -> NoReturn:  # type: ignore[explicit-override]  # importing that takes 15 ms
        """End with exit code 2."""
        if (found := _CHOICE.search(message)) is not None:
            meant = suggestion_or_all(found["word"], re.findall(r"[\w-]+", found["known"]))
            message = f"{message[: found.start()]}unknown {found['word']!r}{meant}"
        self.exit(2, f"socks6: {_SECRET.sub('...', message)} (see {self.prog} --help)\n")


class CliCommand(NamedTuple):
    """One command: the module of socks6.cli that runs it, its flags, and what --help says above and below them."""

    module: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    summary: str
    description: str
    examples: str = ""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return what a command line says; ends the process when it is wrong, or asks for help."""
    if not arguments:
        build_parser("").print_help(sys.stderr)
        raise SystemExit(2)
    if arguments[0] == "help":  # as others have it
        arguments = [*arguments[1:2], "--help"]
    if arguments[0] in COMMANDS:
        parser = build_parser(arguments[0], alone=True)
    else:
        parser = build_parser(next((word for word in arguments if word in COMMANDS), ""))
    if arguments[:1] == ["--version"]:
        print(f"socks6 {VERSION}")
        parser.exit()
    parsed, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [word.partition("=")[0] for word in rest if word.startswith("-")]
        what = f"unknown flag {flags[0]}{_meant(parsed.command, flags[0])}" if flags else "too many arguments"
        parser.exit(2, f"socks6: {what} (see socks6 {parsed.command} --help)\n")
    return parsed


def _meant(command: str, flag: str) -> str:
    COMMANDS[command].add_flags(its := argparse.ArgumentParser())
    return suggestion(flag, its._option_string_actions)  # noqa: SLF001 - argparse has no public list of them


def build_parser(wanted: str, *, alone: bool = False) -> Parser:
    """Return the parser of the command line, with the flags of one command: those of others take time to import.

    `alone`: it knows no other command, which is enough for what begins with this one.
    """
    parser = Parser(
        prog="socks6",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version, and end")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in ({wanted: COMMANDS[wanted]} if alone else COMMANDS).items():
        its = commands.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.examples,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        if name == wanted:
            command.add_flags(its)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the examples as they are, and gives flags more room than argparse does."""

    def __init__(self, prog: str, *, hidden: frozenset[argparse.Action] = frozenset()) -> None:
        super().__init__(prog, max_help_position=32)
        self._hidden = hidden

    def add_argument(self, action: argparse.Action) -> None:  # type: ignore[explicit-override]
        """Leave out what is hidden."""
        if action not in self._hidden:
            super().add_argument(action)


class _Once(argparse.Action):
    """Keeps the value of a flag that may not be given again: the last one would win without a word."""

    def __call__(  # type: ignore[explicit-override]
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, *_: object
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{self.option_strings[0]} twice: there is one proxy to go through")
        setattr(namespace, self.dest, values)


class _HelpAll(argparse.Action):
    """Shows all flags, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:  # type: ignore[explicit-override]
        parser.formatter_class = _Formatter
        parser.print_help()
        parser.exit()


def _add_serving_flags(parser: argparse.ArgumentParser, usage: str, listen: str) -> None:
    from socks6.cli.load import add_setting_flags  # noqa: PLC0415 - what the settings stand in takes time

    parser.usage = usage
    parser.add_argument("--help-all", action=_HelpAll, nargs=0, help="show the other flags too, and exit")
    uncommon = add_setting_flags(parser, listen=listen)
    parser.add_argument(
        "--no-admin", dest="admin.socket", action="store_const", const=["none"], help=argparse.SUPPRESS
    )
    parser.formatter_class = functools.partial(_Formatter, hidden=uncommon)


def _add_upstream_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the proxy to talk to."""
    group = parser.add_argument_group("the proxy")
    group.add_argument(
        "--via",
        metavar="URL",
        action=_Once,
        help="go out through this proxy; if it has a password, SOCKS6_PROXY or --via-file is a better"
        " place than the command line, which every user of this machine can read",
    )
    group.add_argument("--via-file", metavar="FILE", action=_Once, help="read that URL from a file")


def _server(parser: argparse.ArgumentParser) -> None:
    _add_serving_flags(parser, "socks6 server [--listen URL]... [flags]", "socks6://127.0.0.1:1080")


def _client(parser: argparse.ArgumentParser) -> None:
    _add_serving_flags(parser, "socks6 client [URL] [--listen URL]... [flags]", "mixed://127.0.0.1:1080")
    parser.add_argument(
        "via_url", metavar="URL", nargs="?", help="the proxy to go through, as --via names it"
    )


def _ping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("via", metavar="URL", nargs="?", help="the proxy (default: SOCKS6_PROXY)")
    parser.add_argument("--via-file", metavar="FILE", action=_Once, help="read the proxy's URL from a file")
    _add_number(parser, "-c", "--count", kind=whole(1), what="rounds, then it ends")
    _add_number(parser, "-i", "--interval", kind=positive_seconds, what="between rounds", default=1.0)
    _add_number(parser, "-t", "--timeout", kind=positive_seconds, what="for each round", default=10.0)
    parser.add_argument(
        "--options",
        action="store_true",
        help="show instead which stack options the proxy supports and honours",
    )
    parser.add_argument(
        "--target",
        metavar="HOST:PORT",
        type=endpoint,
        help="where --options has the proxy connect to (default: to itself, or a port that it binds)",
    )
    _add_dialect(parser)


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "via", metavar="URL", nargs="?", help="the proxy to try (default: SOCKS6_PROXY, or none)"
    )
    parser.add_argument("--via-file", metavar="FILE", action=_Once, help="read the proxy's URL from a file")
    _add_number(parser, "-t", "--timeout", kind=positive_seconds, what="for each step", default=5.0)
    parser.add_argument("--json", action="store_true", help="print one list in JSON at the end")


def _trace(parser: argparse.ArgumentParser) -> None:
    _add_upstream_flags(parser)
    parser.add_argument("host", metavar="HOST", help="a name, which the proxy looks up, or an address")
    parser.add_argument("port", metavar="PORT", nargs="?", type=port, help="(default: 80, with --udp 53)")
    parser.add_argument(
        "--udp",
        action="store_true",
        help="probe with datagrams, which the host must answer to be seen, as name servers do on port 53",
    )
    _add_number(parser, "-m", "--max-hops", kind=whole(1, 255), what="routers at most", default=30)
    _add_number(parser, "-q", "--queries", kind=whole(1, 10), what="probes of each router", default=3)
    _add_number(
        parser,
        "-w",
        "--timeout",
        kind=positive_seconds,
        what="for each probe, the way to the proxy included",
        default=5.0,
    )
    _add_dialect(parser)


def _connect(parser: argparse.ArgumentParser) -> None:
    _add_upstream_flags(parser)
    parser.add_argument("host", metavar="HOST", help="a name, which the proxy looks up, or an address")
    parser.add_argument("port", metavar="PORT", type=port)
    _add_number(parser, "-t", "--timeout", kind=positive_seconds, what="to connect", default=60.0)
    _add_dialect(parser)


def _bind(parser: argparse.ArgumentParser) -> None:
    _add_upstream_flags(parser)
    parser.add_argument(
        "target", metavar="TARGET_HOST:TARGET_PORT", type=endpoint, help="the service to publish"
    )
    parser.add_argument(
        "--listen-on",
        metavar="HOST:PORT",
        type=endpoint_to_bind,
        default=("", 0),
        help="where the proxy shall listen: an address of its own, or none as in :8080 for any; port 0 is any free"
        " one; [::]:0 is IPv6 (default: :0)",
    )
    _add_number(
        parser,
        "--backlog",
        kind=whole(0, 65535),
        what="peers that the proxy keeps waiting; 0 for none",
        default=64,
    )
    _add_number(parser, "--max-connections", kind=whole(1), what="peers at a time", default=1000)
    _add_number(parser, "--connect-timeout", kind=positive_seconds, what="to reach the service", default=10.0)
    _add_number(parser, "--timeout", kind=positive_seconds, what="for the proxy to answer", default=60.0)
    _add_number(
        parser, "--drain", kind=seconds, what="for open connections to end when it is stopped", default=30.0
    )
    parser.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="count",
        help="log each connection on standard error; -vv more, -vvv every message",
    )
    _add_dialect(parser)


def _forward(parser: argparse.ArgumentParser) -> None:
    _add_upstream_flags(parser)
    parser.add_argument(
        "local",
        metavar="[HOST:]PORT",
        type=local_endpoint,
        help="where to listen on this machine: 127.0.0.1 unless named; port 0 is any free one",
    )
    parser.add_argument(
        "remote", metavar="HOST:PORT", type=endpoint, help="where it leads to, as the proxy sees it"
    )
    parser.add_argument("--udp", action="store_true", help="forward datagrams instead of TCP connections")
    parser.add_argument(
        "--udp-path",
        choices=UDP_PATHS,
        help="how datagrams travel to the proxy: over UDP, within DTLS if the proxy is reached over TLS (datagram);"
        " on a connection to it (stream); or as can be (default: as the URL says with udp=, else auto)",
    )
    _add_number(
        parser,
        "--idle-timeout",
        kind=seconds,
        what="without a byte either way, then a connection is closed or a peer forgotten; 0 for never (default: 7440, with"
        " --udp 300)",
    )
    _add_number(
        parser,
        "--max-peers",
        kind=whole(1),
        what="connections or UDP peers at a time (default: 1000, with --udp 150)",
    )
    _add_number(parser, "--timeout", kind=positive_seconds, what="to connect", default=60.0)
    _add_dialect(parser)


def _add_number(
    parser: argparse.ArgumentParser,
    *names: str,
    kind: Callable[[str], float],
    what: str,
    default: float | None = None,
) -> None:
    """Add a flag whose value is a number."""
    metavar = "SECONDS" if kind in (seconds, positive_seconds) else "NUMBER"
    text = what if default is None else f"{what} (default: {default:g})"
    parser.add_argument(*names, metavar=metavar, type=kind, default=default, help=text)


def _add_dialect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dialect212",
        dest="dialect_212",
        action="store_true",
        help="the proxy is of the Go implementation (version byte 212)",
    )


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="in TOML")
    parser.add_argument(
        "--schema", action="store_true", help="print a JSON Schema of such files, for editors"
    )


def _passwd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the user's name")
    parser.add_argument(
        "--file", metavar="FILE", help="the users file to change, all at once (default: print the line)"
    )


LIMIT_FLAGS: Final = {
    "connections": ("NUMBER", "at a time; 0 for what the server's setting says, here and in the next two"),
    "associations": ("NUMBER", "UDP associations at a time"),
    "bindings": ("NUMBER", "listeners of BIND at a time"),
    "up": ("SIZE", "bytes per second from client to remote, of all connections together; 0 for any"),
    "down": ("SIZE", "bytes per second from remote to client"),
    "burst": ("SIZE", "bytes that may go at once after a pause; 0 for what goes in 1/8 s"),
    "quota": ("SIZE", "bytes of both directions in a period; 0 for any"),
    "quota-period": ("day|month|ever", "the period, in UTC (default: month)"),
    "expires": ("TIME", "when the user's time is over, such as 2027-01-31 (its first moment in UTC); never"),
    "sources": ("NETWORKS", "that the user may log in from, such as 192.0.2.0/24,2001:db8::/32; '' for all"),
    "outgoing": (
        "ADDRESS",
        "of the server, that the user's connections and datagrams go out from; '' for any",
    ),
}
"""The flags of a user's limits: what stands for a value, and what it means."""


def _users(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="add|set|list|show|remove|import|export", required=True
    )

    def action(
        name: str, words: str, *, of_user: bool = True, as_json: bool = True
    ) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=words, description=f"{words.capitalize()}.", allow_abbrev=False)
        if of_user:
            made.add_argument("name", metavar="NAME", help="the user's name")
        where = made.add_mutually_exclusive_group()
        where.add_argument(
            "--users-db", metavar="FILE", help="the database (default: that of a running proxy)"
        )
        _add_admin(where)
        if as_json:
            made.add_argument("--json", action="store_true", help="write JSON, one user a line")
        return made

    add = action("add", "add a user, whose password is asked for, or read from standard input")
    change = action("set", "change a user, at once also for its open connections")
    for made in (add, change):
        made.add_argument("--generate", action="store_true", help="make a password, and print it")
        for limit, (value, words) in LIMIT_FLAGS.items():
            made.add_argument(f"--{limit}", metavar=value, help=words)
        made.add_argument("--note", metavar="TEXT", help="for people")
        made.add_argument("--disable", action="store_true", help="let the user in no more")
    change.add_argument("--enable", action="store_true", help="let the user in again")
    change.add_argument(
        "--password", action="store_true", help="ask for a new password, or read it from standard input"
    )
    action("list", "list the users, and what is left of their quotas", of_user=False)
    action("show", "show a user")
    action("remove", "remove a user, whose open connections end", as_json=False)
    load = action("import", "add the users of a file, all or none", of_user=False, as_json=False)
    load.add_argument(
        "file", metavar="FILE", help="lines of a users file or of htpasswd -B, or JSON; - for standard input"
    )
    load.add_argument("--replace", action="store_true", help="change users that are there already")
    action("export", "write all users as JSON, one a line, with their hashes", of_user=False, as_json=False)


def _cert(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="new|show", required=True)
    new = actions.add_parser("new", help="make a certificate that signs itself", allow_abbrev=False)
    new.add_argument("hosts", metavar="HOST", nargs="+", help="a name or address of the server")
    new.add_argument("--cert", metavar="FILE", help="where to write the certificate (default: HOST.pem)")
    new.add_argument("--key", metavar="FILE", help="where to write the key (default: HOST.key)")
    new.add_argument(
        "--days",
        metavar="DAYS",
        type=whole(1, 36500),
        default=3650,
        help="how long it is valid (default: 3650)",
    )
    show = actions.add_parser(
        "show", help="show the pin, the names and the end of a certificate", allow_abbrev=False
    )
    show.add_argument("file", metavar="FILE", help="in PEM")


def _share(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "server", metavar="HOST[:PORT]|URL", help="where clients reach it; the port is 8389 unless named"
    )
    parser.add_argument(
        "--cert", metavar="FILE", help="its certificate (default: the one that the server made for itself)"
    )
    parser.add_argument(
        "--no-pin", action="store_true", help="let clients know it by their system's roots, not by its pin"
    )
    parser.add_argument("--user", metavar="NAME", help="whom the URL is for")
    parser.add_argument(
        "--password", action="store_true", help="ask for that user's password, and print it within the URL"
    )
    parser.add_argument("--no-qr", action="store_true", help="print no QR code")
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="write the URL to a file for --via-file, which only you can read; print neither",
    )


def _add_admin(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--admin",
        metavar="PATH",
        help="the socket of the proxy's admin interface (default: that of the only proxy that runs)",
    )


def _who(parser: argparse.ArgumentParser) -> None:
    _add_admin(parser)
    parser.add_argument("--user", metavar="NAME", help="only this user's; empty for clients without a name")
    parser.add_argument(
        "--sort",
        choices=WHO_COLUMNS,
        default="id",
        metavar="COLUMN",
        help="the order: id, user, ... (default: id)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="show it again every 2 s, until interrupted")


def _kick(parser: argparse.ArgumentParser) -> None:
    _add_admin(parser)
    parser.add_argument("ids", metavar="ID", nargs="*", type=whole(1), help="as `socks6 who` shows it")
    parser.add_argument("--user", metavar="NAME", help="all of this user")
    parser.add_argument("--source", metavar="NET", help="all from an address or a network, or unix")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the proxy's log")


def _penalties(parser: argparse.ArgumentParser) -> None:
    _add_admin(parser)
    parser.add_argument("action", metavar="lift", nargs="?", choices=("lift",), help="let a source in again")
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="an address or a network")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-db", metavar="FILE", required=True, help="the database that the server writes")
    parser.add_argument("--user", metavar="NAME", help="only this user's connections")
    parser.add_argument(
        "--source",
        metavar="NET",
        action="append",
        type=network,
        help="only those from this address or network; repeatable",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=past,
        help="only those that have ended since: 30m, 12h, 7d ago, or 2027-01-31, 2027-01-31T18:00 (local time)",
    )
    parser.add_argument("--until", metavar="TIME", type=past, help="only those that ended before")
    parser.add_argument("--limit", metavar="NUMBER", type=whole(0), help="only the last ones")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with those to come")
    parser.add_argument("--json", action="store_true", help="an object a line, with every field, in UTC")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


COMMANDS: Final = {
    "server": CliCommand(
        module="serve",
        add_flags=_server,
        summary="serve SOCKS 6 clients",
        description="Serve SOCKS 6 clients, and others where a listener says so.",
        examples="""\
examples:
  socks6 server                                     for this machine alone
  socks6 server --listen socks6://:1080 --users users.txt
  socks6 server --listen mixed://192.0.2.1:1080 --listen socks6+unix:///run/socks6.sock --config socks6.toml
  socks6 server --listen socks6+tls://:8389 --users users.txt
  socks6 server --listen socks6://:1080 --users users.txt --via socks6://next.example

SIGTERM or SIGINT ends it when its connections have ended or --drain is over, a second one at once. At SIGHUP it
reads its files again: users and policy are new for new requests, and no connection is dropped.
""",
    ),
    "client": CliCommand(
        module="serve",
        add_flags=_client,
        summary="carry SOCKS 4, 5, 6 and HTTP clients to a proxy",
        description="Serve SOCKS 4, 4a, 5, 6 and HTTP clients, and carry them through a proxy: of SOCKS 6, or of an older protocol.",
        examples="""\
examples:
  socks6 client --via socks6://proxy.example
  socks6 client 'socks6+tls://proxy.example?pin-sha256=PIN'
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 client --listen socks5://127.0.0.1:9050
  socks6 client --via-file proxy.url --listen http://127.0.0.1:8080 --user bob:secret

Then, for instance: curl --socks5-hostname 127.0.0.1:1080 https://example.com/
""",
    ),
    "ping": CliCommand(
        module="ping",
        add_flags=_ping,
        summary="see whether a proxy answers",
        description="Ask a proxy for nothing (NOOP), again and again, and show how long that takes.",
        examples="""\
examples:
  socks6 ping socks6://proxy.example -c 4
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 ping
  socks6 ping --options socks6://proxy.example --target example.com:80

Each round is a connection of its own: its time is that of connecting, authenticating and the answer. The exit
code is 1 if no answer came back at all.
""",
    ),
    "doctor": CliCommand(
        module="doctor",
        add_flags=_doctor,
        summary="find out what does not work, and what to do",
        description="Check the installation, what the system has and, step by step, the way to a proxy; say what to do.",
        examples="""\
examples:
  socks6 doctor                                     this machine alone
  socks6 doctor 'socks6+tls://alice:secret@proxy.example?pin-sha256=PIN'
  socks6 doctor --via-file alice.url --json

Each line is ok, warning or failed, and what to do about it. Nothing is changed, and no password is shown. The exit code
is 1 if anything failed.
""",
    ),
    "trace": CliCommand(
        module="trace",
        add_flags=_trace,
        summary="show the routers between a proxy and a host",
        description="Show the routers between a SOCKS 6 proxy and a host, by packets whose TTL lets them die on their way.",
        examples="""\
examples:
  socks6 trace --via socks6://proxy.example example.com
  socks6 trace --via socks6://proxy.example -q 1 -m 20 2001:db8::1 443
  socks6 trace --via socks6://proxy.example --udp 192.0.2.53

Times include the way to the proxy and back. * is a probe without an answer, ? a router without a name, !H !N !X say
that there is no way on to the host, to its network, or that it is forbidden. The exit code is 1 unless the host is
reached.
""",
    ),
    "connect": CliCommand(
        module="connect",
        add_flags=_connect,
        summary="join standard input and output to a host",
        description="Connect standard input and output to a host, through a proxy.",
        examples="""\
examples:
  ssh -o ProxyCommand='socks6 connect --via socks6://proxy.example %h %p' host.example
  printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | SOCKS6_PROXY=socks6://proxy.example socks6 connect example.com 80
""",
    ),
    "forward": CliCommand(
        module="forward",
        add_flags=_forward,
        summary="forward a local port to a host behind a proxy, like ssh -L",
        description="Local port forwarding, like ssh -L: listen on this machine, and carry each connection, or each peer's datagrams, to one host behind a proxy.",
        examples="""\
examples:
  socks6 forward --via socks6://proxy.example 5432 db.internal:5432
  socks6 forward --via socks6://proxy.example --udp 5353 192.0.2.53:53      then: dig @127.0.0.1 -p 5353 example.com
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 forward --udp 0.0.0.0:27015 game.example:27015

With --udp every local peer gets a port of its own at the proxy. When it listens, `listening on HOST:PORT` stands on
standard error. SIGTERM or SIGINT ends it.
""",
    ),
    "bind": CliCommand(
        module="bind",
        add_flags=_bind,
        summary="forward a port of a proxy to a local service, like ssh -R",
        description="Remote port forwarding, like ssh -R: let a proxy listen, and carry its peers to a service that this machine reaches.",
        examples="""\
examples:
  socks6 bind --via socks6://proxy.example localhost:8080
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 bind --listen-on :8080 localhost:80
  socks6 bind --via socks6://proxy.example --listen-on 192.0.2.1:2222 192.168.1.7:22

Standard output has one line, published at HOST:PORT, and another one whenever that changes. When the proxy goes away it
publishes again as soon as it can, at the same port if the proxy lets it. A peer is reset if the service cannot be
reached. SIGTERM or SIGINT ends it when its connections have ended or --drain is over, a second one at once.
""",
    ),
    "who": CliCommand(
        module="operate",
        add_flags=_who,
        summary="show who uses a running proxy",
        description="Show the connections, associations, bindings and sessions of a running proxy.",
        examples="""\
examples:
  socks6 who                                        of the only proxy that runs
  socks6 who --user alice --sort down --watch
  socks6 who --admin /run/socks6/admin.sock --json
""",
    ),
    "kick": CliCommand(
        module="operate",
        add_flags=_kick,
        summary="end connections of a running proxy",
        description="End connections of a running proxy, whatever they are about: both sides are reset.",
        examples="""\
examples:
  socks6 kick 17 23
  socks6 kick --user alice --reason 'too much'
  socks6 kick --source 192.0.2.0/24

The exit code is 1 if there was no such connection. Whoever is kicked may connect again.
""",
    ),
    "top": CliCommand(
        module="top",
        add_flags=_add_admin,
        summary="show a running proxy on the whole terminal",
        description="Show rates, connections, users and events of a running proxy on the whole terminal, until q is pressed.",
        examples="""\
examples:
  socks6 top
  socks6 top --admin /run/socks6/admin.sock

Keys: arrows select, k ends the connection, u all of its user, both after a question; s sorts by the next column, / filters,
escape shows all again, q quits.
""",
    ),
    "penalties": CliCommand(
        module="operate",
        add_flags=_penalties,
        summary="show and lift penalties for wrong passwords",
        description="Show the sources that a running proxy refuses after too many wrong passwords, or let one in again.",
        examples="""\
examples:
  socks6 penalties
  socks6 penalties lift 192.0.2.7
""",
    ),
    "check": CliCommand(
        module="check",
        add_flags=_check,
        summary="find what is wrong with a configuration file",
        description="Find everything that is wrong with a configuration file: its line, its key, and why.",
        examples="""\
examples:
  socks6 check socks6.toml && systemctl reload socks6
""",
    ),
    "log": CliCommand(
        module="access_log",
        add_flags=_log,
        summary="show which connections a server had",
        description="Show the connections in the database that a server writes with --log-db, by the time of their end.",
        examples="""\
examples:
  socks6 log --log-db access.db --since 1h --user alice
  socks6 log --log-db access.db --source 192.0.2.0/24 --since 2027-01-31 --json | jq .down
  socks6 log --log-db access.db --limit 20 --follow

Where connections went is there only if the server logs that (--log-destinations).
""",
    ),
    "passwd": CliCommand(
        module="passwd",
        add_flags=_passwd,
        summary="make a line for a users file",
        description="Ask for a password, and write a line for a users file, or into it: NAME:HASH.",
        examples="""\
examples:
  socks6 passwd alice --file users.txt              adds alice, or changes her password
  pwgen 20 1 | tee secret | socks6 passwd alice --file users.txt
  socks6 passwd alice                               prints the line
""",
    ),
    "users": CliCommand(
        module="users",
        add_flags=_users,
        summary="add, change, list and remove the users of a database, and their limits",
        description="Manage the users of a database: of its file, which servers may be using, or through a running server.",
        examples="""\
examples:
  socks6 users add alice --users-db users.db --quota 10G --down 1M --expires 2027-01-31
  pwgen 20 1 | tee secret | socks6 users add bob --users-db users.db
  socks6 users set bob --users-db users.db --connections 5 --sources 192.0.2.0/24
  socks6 users set bob --users-db users.db --disable
  socks6 users list --users-db users.db
  socks6 users import users.txt --users-db users.db
  socks6 server --users-db users.db

SIZE is a number of bytes, or one with k, M, G or T for powers of 1000.
""",
    ),
    "cert": CliCommand(
        module="certificates",
        add_flags=_cert,
        summary="make a certificate, or show one",
        description="Make a certificate that signs itself, or show what is in one.",
        examples="""\
examples:
  socks6 cert new proxy.example 192.0.2.1           writes proxy.example.pem and proxy.example.key
  socks6 cert show proxy.example.pem

Clients know such a server by its pin, the SHA-256 of its public key: socks6+tls://proxy.example?pin-sha256=PIN.
""",
    ),
    "share": CliCommand(
        module="share",
        add_flags=_share,
        summary="print a URL and a QR code for clients of a server",
        description="Print a URL, and a QR code of it, that hold all a client needs to use a server.",
        examples="""\
examples:
  socks6 share proxy.example                        the server's own certificate's pin goes along
  socks6 share proxy.example --user alice --password
  socks6 share proxy.example --user alice --password --file proxy.url
  socks6 client --via-file proxy.url

With --password the output holds a password: show it only to the user.
""",
    ),
    "completion": CliCommand(
        module="completion",
        add_flags=_completion,
        summary="complete these commands in a shell",
        description="Write a script that completes socks6 commands in a shell.",
        examples="""\
examples:
  source <(socks6 completion bash)                  also in ~/.bashrc; or zsh in ~/.zshrc, after compinit
  socks6 completion fish > ~/.config/fish/completions/socks6.fish
""",
    ),
}
