"""The command line: which commands there are, and their flags. Imports nothing that takes time."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, NoReturn

from socks6.cli.serving_flags import add_serving_flags, add_upstream_flags
from socks6.cli.texts import EXAMPLES, HELP, SOCKS6
from socks6.cli.values import (
    days,
    hops,
    place,
    place_here,
    place_to_bind,
    port,
    positive_count,
    positive_seconds,
    probes,
    seconds,
    small_count,
)

UDP_PATHS: Final = ("auto", "datagram", "stream")
SHELLS: Final = ("bash", "zsh", "fish")

# What argparse quotes of a command line and may hold a password: URLs, NAME:PASSWORD.
_SECRET: Final = re.compile(r"'[^']*[:@][^']*'|\"[^\"]*[:@][^\"]*\"")

FORWARD_NUMBERS: Final = (
    (
        "idle-timeout",
        "idle",
        "SECONDS",
        seconds,
        None,
        (
            "without a byte either way, then a connection is closed or a peer forgotten; 0 for never (default: 7440,"
            " with --udp 300)"
        ),
    ),
    (
        "max-peers",
        "max_peers",
        "NUMBER",
        positive_count,
        None,
        "connections or UDP peers at a time (default: 1000, with --udp 150)",
    ),
    ("timeout", "timeout", "SECONDS", positive_seconds, 60.0, "to connect (default: 60)"),
)
BIND_NUMBERS: Final = (
    ("backlog", "backlog", "NUMBER", small_count, 64, "how many peers the proxy keeps waiting; 0 for none"),
    ("max-connections", "connections", "NUMBER", positive_count, 1000, "peers at a time"),
    ("connect-timeout", "connect_timeout", "SECONDS", positive_seconds, 10, "to reach the service"),
    ("timeout", "timeout", "SECONDS", positive_seconds, 60, "for the proxy to answer"),
    ("drain", "drain_timeout", "SECONDS", seconds, 30, "for open connections when told to stop"),
)


class Parser(argparse.ArgumentParser):
    """Tells of an error in one line, without quoting what may be a password."""

    def error(self, message: str) -> NoReturn:  # type: ignore[explicit-override]  # importing that takes 15 ms
        """End with exit code 2."""
        self.exit(2, f"socks6: {_SECRET.sub('...', message)} (see {self.prog} --help)\n")


class Command(NamedTuple):
    """One command: the module of socks6.cli that runs it, and its flags."""

    module: str
    add_flags: Callable[[argparse.ArgumentParser], None]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what a command line says; ends the process when it says something wrong, or asks for help."""
    parser = build_parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [word.partition("=")[0] for word in rest if word.startswith("-")]
        what = f"unknown flag {flags[0]}" if flags else "too many arguments"
        parser.exit(2, f"socks6: {what} (see socks6 {parsed.command} --help)\n")
    return parsed


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="socks6",
        description=SOCKS6,
        epilog=EXAMPLES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        texts = HELP[name]
        command.add_flags(
            commands.add_parser(
                name,
                help=texts.summary,
                description=texts.description,
                epilog=texts.examples,
                formatter_class=_Formatter,
                allow_abbrev=False,
            )
        )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the examples as they are, and gives flags more room than argparse does."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


class _Version(argparse.Action):
    """Shows the version, which is looked up only then."""

    def __call__(  # type: ignore[explicit-override]  # as above
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse calls it so
        values: object,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - takes 20 ms

        print(f"socks6 {version('socks6')}")
        parser.exit()


def _server(parser: argparse.ArgumentParser) -> None:
    parser.usage = "socks6 server [--listen URL]... [flags]"
    add_serving_flags(parser, listen="socks6://127.0.0.1:1080")


def _client(parser: argparse.ArgumentParser) -> None:
    parser.usage = "socks6 client [URL] [--listen URL]... [flags]"
    add_serving_flags(parser, listen="mixed://127.0.0.1:1080")
    parser.add_argument(
        "via_url", metavar="URL", nargs="?", help="the proxy to go through, as --via names it"
    )


def _ping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("via", metavar="URL", nargs="?", help="the proxy (default: SOCKS6_PROXY)")
    parser.add_argument("--via-file", metavar="FILE", help="read the proxy's URL from a file")
    parser.add_argument(
        "-c", "--count", metavar="COUNT", type=positive_count, help="end after so many rounds"
    )
    parser.add_argument(
        "-i",
        "--interval",
        metavar="SECONDS",
        type=positive_seconds,
        default=1.0,
        help="between rounds (default: 1)",
    )
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=10.0,
        help="for each round (default: 10)",
    )
    parser.add_argument(
        "--options",
        action="store_true",
        help="tell instead which stack options the proxy supports and honours",
    )
    parser.add_argument(
        "--target",
        metavar="HOST:PORT",
        type=place,
        help="where --options has the proxy connect to (default: to itself, or a port that it binds)",
    )
    _add_dialect(parser)


def _trace(parser: argparse.ArgumentParser) -> None:
    add_upstream_flags(parser.add_argument_group("the proxy"))
    parser.add_argument("host", metavar="HOST", help="a name, which the proxy looks up, or an address")
    parser.add_argument("port", metavar="PORT", nargs="?", type=port, help="(default: 80, with --udp 53)")
    parser.add_argument(
        "--udp",
        action="store_true",
        help="probe with datagrams, which the host must answer to be seen, as name servers do on port 53",
    )
    for short, name, metavar, kind, default, what in (
        ("-m", "max-hops", "HOPS", hops, 30, "end after so many routers"),
        ("-q", "queries", "NUMBER", probes, 3, "probes of each router"),
        ("-w", "timeout", "SECONDS", positive_seconds, 5, "for each probe, the way to the proxy included"),
    ):
        parser.add_argument(
            short,
            f"--{name}",
            metavar=metavar,
            type=kind,
            default=default,
            help=f"{what} (default: {default})",
        )
    _add_dialect(parser)


def _connect(parser: argparse.ArgumentParser) -> None:
    add_upstream_flags(parser.add_argument_group("the proxy"))
    parser.add_argument("host", metavar="HOST", help="a name, which the proxy looks up, or an address")
    parser.add_argument("port", metavar="PORT", type=port)
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=60.0,
        help="to connect (default: 60)",
    )
    _add_dialect(parser)


def _bind(parser: argparse.ArgumentParser) -> None:
    add_upstream_flags(parser.add_argument_group("the proxy"))
    parser.add_argument(
        "target", metavar="TARGET_HOST:TARGET_PORT", type=place, help="the service to publish"
    )
    parser.add_argument(
        "--listen-on",
        metavar="HOST:PORT",
        type=place_to_bind,
        default=("", 0),
        help="where the proxy shall listen: an address of its own, or none as in :8080 for any; port 0 is any free"
        " one; [::]:0 is IPv6 (default: :0)",
    )
    for name, dest, metavar, kind, default, what in BIND_NUMBERS:
        parser.add_argument(
            f"--{name}",
            dest=dest,
            metavar=metavar,
            type=kind,
            default=default,
            help=f"{what} (default: {default})",
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
    add_upstream_flags(parser.add_argument_group("the proxy"))
    parser.add_argument(
        "local",
        metavar="[HOST:]PORT",
        type=place_here,
        help="where to listen on this machine: 127.0.0.1 unless named; port 0 is any free one",
    )
    parser.add_argument(
        "remote", metavar="HOST:PORT", type=place, help="where it leads to, as the proxy sees it"
    )
    parser.add_argument("--udp", action="store_true", help="forward datagrams instead of TCP connections")
    parser.add_argument(
        "--udp-path",
        choices=UDP_PATHS,
        help="how datagrams travel to the proxy: over UDP, within DTLS if the proxy is reached over TLS (datagram);"
        " on a connection to it (stream); or as can be (default: as the URL says with udp=, else auto)",
    )
    for name, dest, metavar, kind, default, what in FORWARD_NUMBERS:
        parser.add_argument(f"--{name}", dest=dest, metavar=metavar, type=kind, default=default, help=what)
    _add_dialect(parser)


def _add_dialect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dialect212",
        dest="dialect_212",
        action="store_true",
        help="the proxy is of the Go implementation (version byte 212)",
    )


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="in TOML")


def _passwd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the user's name")
    parser.add_argument(
        "--file", metavar="FILE", help="the users file to change, all at once (default: print the line)"
    )


def _cert(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="new|show", required=True)
    new = actions.add_parser("new", help="make a certificate that signs itself", allow_abbrev=False)
    new.add_argument("hosts", metavar="HOST", nargs="+", help="a name or address of the server")
    new.add_argument("--cert", metavar="FILE", help="where to write the certificate (default: HOST.pem)")
    new.add_argument("--key", metavar="FILE", help="where to write the key (default: HOST.key)")
    new.add_argument(
        "--days", metavar="DAYS", type=days, default=3650, help="how long it is valid (default: 3650)"
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
        "--no-pin", action="store_true", help="have clients know it by their system's roots, not by its pin"
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


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


COMMANDS: Final = {
    "server": Command("serve", _server),
    "client": Command("serve", _client),
    "ping": Command("ping", _ping),
    "trace": Command("trace", _trace),
    "connect": Command("connect", _connect),
    "forward": Command("forward", _forward),
    "bind": Command("bind", _bind),
    "check": Command("check", _check),
    "passwd": Command("passwd", _passwd),
    "cert": Command("certificates", _cert),
    "share": Command("share", _share),
    "completion": Command("completion", _completion),
}
