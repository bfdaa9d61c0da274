"""What --help says besides the flags."""

from typing import Final, NamedTuple


class Help(NamedTuple):
    """A command's help: in the list of commands, above its flags, and below them."""

    summary: str
    description: str
    examples: str = ""


SOCKS6: Final = "SOCKS version 6: a server, a converter for SOCKS 4, 4a, 5 and HTTP clients, and tools."
EXAMPLES: Final = """\
examples:
  socks6 server --listen socks6://:1080 --users users.txt
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 client
  curl --socks5-hostname 127.0.0.1:1080 https://example.com/

exit codes: 0 all went well, 1 it failed, 2 wrong usage or configuration
"""

HELP: Final = {
    "server": Help(
        "serve SOCKS 6 clients",
        "Serve SOCKS 6 clients, and others where a listener says so.",
        """\
examples:
  socks6 server                                     for this machine alone
  socks6 server --listen socks6://:1080 --users users.txt
  socks6 server --listen mixed://192.0.2.1:1080 --listen socks6+unix:///run/socks6.sock --config socks6.toml
  socks6 server --listen socks6+tls://:8389 --users users.txt
  socks6 server --listen socks6://:1080 --users users.txt --via socks6://next.example

SIGTERM or SIGINT ends it when its connections have ended or --drain is over, a second one at once. SIGHUP has it
read its files again: users and policy are new for new connections, and nobody is dropped.
""",
    ),
    "client": Help(
        "carry SOCKS 4, 5 and HTTP clients to a SOCKS 6 proxy",
        "Serve SOCKS 4, 4a, 5, 6 and HTTP clients, and carry them through a SOCKS 6 proxy.",
        """\
examples:
  socks6 client --via socks6://proxy.example
  socks6 client 'socks6+tls://proxy.example?pin-sha256=PIN'
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 client --listen socks5://127.0.0.1:9050
  socks6 client --via-file proxy.url --listen http://127.0.0.1:8080 --user bob:secret

Then, for instance: curl --socks5-hostname 127.0.0.1:1080 https://example.com/
""",
    ),
    "ping": Help(
        "see whether a proxy answers",
        "Ask a SOCKS 6 proxy for nothing (NOOP), again and again, and tell how long that takes.",
        """\
examples:
  socks6 ping socks6://proxy.example -c 4
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 ping
  socks6 ping --options socks6://proxy.example --target example.com:80

Each round is a connection of its own: its time is that of connecting, authenticating and the answer. The exit
code is 1 if no answer came back at all.
""",
    ),
    "trace": Help(
        "show the routers between a proxy and a host",
        "Show the routers between a SOCKS 6 proxy and a host, by packets whose TTL lets them die on their way.",
        """\
examples:
  socks6 trace --via socks6://proxy.example example.com
  socks6 trace --via socks6://proxy.example -q 1 -m 20 2001:db8::1 443
  socks6 trace --via socks6://proxy.example --udp 192.0.2.53

Times include the way to the proxy and back. * is a probe without an answer, ? a router without a name, !H !N !X say
that there is no way on to the host, to its network, or that it is forbidden. The exit code is 1 unless the host is
reached.
""",
    ),
    "connect": Help(
        "join standard input and output to a host",
        "Connect standard input and output to a host, through a SOCKS 6 proxy.",
        """\
examples:
  ssh -o ProxyCommand='socks6 connect --via socks6://proxy.example %h %p' host.example
  printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | SOCKS6_PROXY=socks6://proxy.example socks6 connect example.com 80
""",
    ),
    "forward": Help(
        "bring a host behind a proxy near",
        "Listen on this machine, and carry each connection, or each peer's datagrams, to one host behind a SOCKS 6 proxy.",
        """\
examples:
  socks6 forward --via socks6://proxy.example 5432 db.internal:5432
  socks6 forward --via socks6://proxy.example --udp 5353 192.0.2.53:53      then: dig @127.0.0.1 -p 5353 example.com
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 forward --udp 0.0.0.0:27015 game.example:27015

With --udp every local peer gets a port of its own at the proxy. When it listens, `listening on HOST:PORT` stands on
standard error. SIGTERM or SIGINT ends it.
""",
    ),
    "bind": Help(
        "publish a local service at a proxy",
        "Have a SOCKS 6 proxy listen, and carry those who connect there to a service of this machine, or near it.",
        """\
examples:
  socks6 bind --via socks6://proxy.example localhost:8080
  SOCKS6_PROXY=socks6://alice:secret@proxy.example socks6 bind --listen-on :8080 localhost:80
  socks6 bind --via socks6://proxy.example --listen-on 192.0.2.1:2222 192.168.1.7:22

Standard output has one line, published at HOST:PORT, and another one whenever that changes. When the proxy goes away it
publishes again as soon as it can, at the same port if the proxy lets it. A peer is reset if the service cannot be
reached. SIGTERM or SIGINT ends it when its connections have ended or --drain is over, a second one at once.
""",
    ),
    "check": Help(
        "find what is wrong with a configuration file",
        "Tell everything that is wrong with a configuration file: its line, its key, and why.",
        """\
examples:
  socks6 check socks6.toml && systemctl reload socks6
""",
    ),
    "passwd": Help(
        "make a line for a users file",
        "Ask for a password, and write a line for a users file, or into it: NAME:HASH.",
        """\
examples:
  socks6 passwd alice --file users.txt              adds alice, or changes her password
  pwgen 20 1 | tee secret | socks6 passwd alice --file users.txt
  socks6 passwd alice                               prints the line
""",
    ),
    "cert": Help(
        "make a certificate, or show one",
        "Make a certificate that signs itself, or show what is in one.",
        """\
examples:
  socks6 cert new proxy.example 192.0.2.1           writes proxy.example.pem and proxy.example.key
  socks6 cert show proxy.example.pem

Clients know such a server by its pin, the SHA-256 of its public key: socks6+tls://proxy.example?pin-sha256=PIN.
""",
    ),
    "share": Help(
        "print a URL and a QR code for clients of a server",
        "Print a URL, and a QR code of it, that hold all a client needs to use a server.",
        """\
examples:
  socks6 share proxy.example                        the server's own certificate's pin goes along
  socks6 share proxy.example --user alice --password
  socks6 share proxy.example --user alice --password --file proxy.url
  socks6 client --via-file proxy.url

With --password the output holds a password: show it to nobody else.
""",
    ),
    "completion": Help(
        "have a shell complete these commands",
        "Write a script that completes socks6 commands in a shell.",
        """\
examples:
  source <(socks6 completion bash)                  also in ~/.bashrc; or zsh in ~/.zshrc, after compinit
  socks6 completion fish > ~/.config/fish/completions/socks6.fish
""",
    ),
}
