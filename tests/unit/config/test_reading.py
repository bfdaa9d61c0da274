"""Configuration files, and everything that can be wrong with them."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from socks6.config.faults import InvalidConfiguration
from socks6.config.reading import ConfigurationFile, ConfigValues, read_configuration, read_texts
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.transports.registry import TRANSPORTS
from socks6.net.url import ProxyUrl, schemes
from socks6.policy.rules import Rule
from socks6.policy.stack import OPTION_NAMES, StackRule
from socks6.proxy.authentication.hashes import hash_password
from socks6.proxy.authentication.users_file import UsersFile
from socks6.setting import settings_of
from tests.kit.settings import SPECIFIED

EVERYTHING: Final[dict[str, object]] = {
    **SPECIFIED,
    "direct": False,
    "via-check": False,
    "via-spare": "2",
    "via-through": (ProxyUrl.parse("socks5://first.example"),),
    "status-line": False,
    "log-db-keep": timedelta(hours=12),
    "sessions.per-user": 1,
    "sessions.per-source": 2,
    "sessions.window": 16,
    "sessions.anonymous": True,
    "sessions.close-connections": False,
    "bind.advertise": ("198.51.100.1", "2001:db8::1", "proxy.example"),
    "bind.accept-timeout": 5,
    "bind.listeners": 6,
    "bind.listeners-per-user": 0,
    "bind.backlog": 7,
    "bind.backlog-without-session": True,
    "bind.announce": True,
    "udp.associations": 1,
    "udp.associations-per-user": 2,
    "udp.first-timeout": 3,
    "udp.idle-timeout": 4,
    "udp.remote-timeout": 5,
    "udp.multicast-interface": "lo",
    "metrics.listen": ("127.0.0.1", 9106),
    "metrics.users": 3,
    "traces.otlp": "http://127.0.0.1:4318",
    "admin.socket": "/run/socks6/admin.sock",
    "admin.http": ProxyUrl(protocol="http", host="127.0.0.1", port=8390),
    "admin.token-file": "/etc/admin.token",
    "admin.certificate": "/etc/admin.pem",
    "admin.key": "/etc/admin.key",
    "admin.names": ("admin.example",),
    "tls.certificate": "/etc/a.pem",
    "tls.key": "/b.key",
}
EVERY_KEY = """
listen = ["socks6://127.0.0.1:1080", "mixed+unix:///run/mixed.sock"]
via = ["socks6://proxy.example", "socks6://other.example"]
via-order = "round-robin"
via-through = "socks5://first.example"
direct = false
via-fast-open = true
via-session = false
via-spare = 2
via-check = false
optimistic = true
copy-tos = true
fast-open = 7
tfo-without-token = "refuse"
tcp-congestion = "bbr"
open = true
dialect-212 = true
quiet-failures = true
ignore-fragmented = true
verbose = 2
log-format = "json"
log-db-keep = "12h"
log-file = "/var/log/socks6.log"
log-destinations = true
loop = "asyncio"
status-line = false
[policy]
allow-private = true
[happy-eyeballs]
race = false
first-family = "ipv6"
delay = 0.5
[limits]
connections = 5
connections-per-source = 0
connections-per-user = 6
[sessions]
enabled = false
total = 9
per-user = 1
per-source = 2
idle = 8
window = 16
anonymous = true
close-connections = false
[timeouts]
handshake = 1
lookup = 2
connect = 3.5
idle = 0
fin = 5
drain = 6
[tls]
certificate = "a.pem"
key = "/b.key"
client-ca = "ca.pem"
min-version = "1.2"
[quic]
backend = "aioquic"
[bind]
advertise = ["198.51.100.1", "2001:DB8:0::1", "Proxy.example"]
ports = "20000-20999"
accept-timeout = 5
listeners = 6
listeners-per-user = 0
backlog = 7
backlog-without-session = true
announce = true
[udp]
enabled = false
associations = 1
associations-per-user = 2
first-timeout = 3
idle-timeout = 4
filtering = "address-dependent"
remote-timeout = 5
multicast-interface = "lo"
[traces]
otlp = "http://127.0.0.1:4318/v1/traces"
[metrics]
listen = "127.0.0.1:9106"
users = 3
[admin]
socket = "/run/socks6/admin.sock"
http = "127.0.0.1:8390"
token-file = "admin.token"
certificate = "admin.pem"
key = "admin.key"
names = ["admin.example"]
"""
SECRET = "correct horse"
BY_KEY: Final = {declared.key: declared for declared in settings_of(ServerConfig)}


def file_of(folder: Path, text: str) -> ConfigurationFile:
    path = folder / "socks6.toml"
    path.write_text(text)
    path.chmod(0o600)
    os.utime(path, (0, 0))  # one that has just changed would be waited for
    return read_configuration(path)


def values_of(folder: Path, text: str) -> ConfigValues:
    return file_of(folder, text).values


def faults_of(folder: Path, text: str) -> list[str]:
    """Return what is wrong, without the folder's name."""
    with pytest.raises(InvalidConfiguration) as caught:
        file_of(folder, text)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


def test_an_empty_file_specifies_nothing(tmp_path: Path) -> None:
    assert values_of(tmp_path, "[limits]\n") == {}


def test_every_plain_key(tmp_path: Path) -> None:
    """Paths begin at the folder of the file."""
    values = values_of(tmp_path, EVERY_KEY)
    there = {
        name: value.replace("/etc/", f"{tmp_path}/") if isinstance(value, str) else value
        for name, value in EVERYTHING.items()
    }
    assert values == there
    others = {"via-file", "log-db", "policy.rules", "stack"}
    keys = {declared.key for declared in settings_of(ServerConfig) if declared.table != "users"}  # below
    assert keys == {*EVERYTHING, *others}


def test_one_listener_needs_no_brackets(tmp_path: Path) -> None:
    values = values_of(tmp_path, 'listen = "http://[::1]:0"')
    assert values["listen"] == (ProxyUrl(protocol="http", host="::1", port=0),)


def test_users_in_the_clear(tmp_path: Path) -> None:
    users = values_of(tmp_path, f'[users.plain]\nalice = "{SECRET}"')["users.plain"]
    assert isinstance(users, dict)
    assert users["alice"].matches(SECRET.encode())


def test_passwords_that_others_may_read_are_warned_of(tmp_path: Path) -> None:
    file = file_of(tmp_path, '[users]\nurl = "http://proxy:secret@auth.example/"\ntimeout = 2')
    assert file.values == {"users.url": "http://proxy:secret@auth.example/", "users.timeout": 2}
    assert file.warnings == ("--auth-url: passwords go to auth.example in the clear; try https",)
    (tmp_path / "socks6.toml").chmod(0o644)
    assert "read the passwords" in read_configuration(tmp_path / "socks6.toml").warnings[0]


def test_a_users_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{hash_password(SECRET)}\n")
    users = values_of(tmp_path, '[users]\nfile = "users"')["users.file"]
    assert isinstance(users, UsersFile)
    assert list(users.entries) == ["bob"]


def test_a_database_of_the_log_beside_the_configuration(tmp_path: Path) -> None:
    assert values_of(tmp_path, 'log-db = "a.db"\nlog-db-keep = "ever"') == {
        "log-db": f"{tmp_path}/a.db",
        "log-db-keep": None,
    }
    faults = faults_of(tmp_path, 'log-db = "no/a.db"\nlog-db-keep = "30"')
    assert "log-db: " in faults[0]
    assert faults[1] == "socks6.toml:2: log-db-keep: '30' is no time such as 30m, 12h or 7d"


def test_an_upstream_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("socks6://alice:secret@proxy.example\n# and\nsocks6://other.example\n")
    via = values_of(tmp_path, 'via-file = "upstream"')["via-file"]
    assert via == (
        ProxyUrl.parse("socks6://alice:secret@proxy.example"),
        ProxyUrl.parse("socks6://other.example"),
    )


def test_rules_with_lists_and_single_values(tmp_path: Path) -> None:
    text = """
    [[policy.rules]]
    action = "deny"
    ports = [25, "6881-6999"]
    users = "bob"
    [[policy.rules]]
    action = "allow"
    hosts = "10.1.0.0/16"
    commands = ["connect"]
    """
    assert values_of(tmp_path, text)["policy.rules"] == (
        Rule.parse("deny", ports=["25", "6881-6999"], users=["bob"]),
        Rule.parse("allow", hosts=["10.1.0.0/16"], commands=["connect"]),
    )


def test_bounds_of_stack_options_in_their_order(tmp_path: Path) -> None:
    text = """
    [[stack]]
    users = ["alice", "bob"]
    [[stack]]
    forbid = ["tfo", "multipath"]
    lowest-ttl = 5
    dscp = [0, "AF11", "cs1", 0x2e]
    """
    assert values_of(tmp_path, text)["stack"] == (
        StackRule.parse(users=["alice", "bob"]),
        StackRule.parse(forbid=["tfo", "multipath"], lowest_ttl=5, dscp=[0, 10, 8, 46]),
    )


def test_single_values_need_no_brackets(tmp_path: Path) -> None:
    text = '[[stack]]\nusers = "alice"\nforbid = "ttl"\ndscp = "ef"'
    assert values_of(tmp_path, text)["stack"] == (
        StackRule.parse(users=["alice"], forbid=["ttl"], dscp=[46]),
    )


def test_no_code_point_at_all_may_be_asked_for(tmp_path: Path) -> None:
    assert values_of(tmp_path, "[[stack]]\ndscp = []")["stack"] == (StackRule.parse(dscp=[]),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("\nlisten = 5", "socks6.toml:2: listen: expected text in quotes or a list, got a whole number"),
        ('listen = ["mixed://",\n 5]', "socks6.toml:2: listen[1]: expected text in quotes, got a whole number"),
        (
            'listen = [\n"mixed://",\n"socks7://",\n]',
            "socks6.toml:3: listen[1]: 'socks7://': has an unknown scheme; there are " + ", ".join(schemes(TRANSPORTS)),
        ),
        ("open = 1", "socks6.toml:1: open: expected true or false, got a whole number"),
        ("verbose = 4", "socks6.toml:1: verbose: expected a whole number <= 3"),
        ('loop = "trio"', "socks6.toml:1: loop: expected one of auto, asyncio, uvloop"),
        ('via = "direct://"', "socks6.toml:1: via[0]: direct:// is no proxy to go through"),
        ('via = "mixed://proxy"', "socks6.toml:1: via[0]: mixed://proxy:1080 is a listener's: name one of the protocols that it speaks"),
        ("[limits]\nconnection = 1", "socks6.toml:2: limits.connection: unknown key, did you mean connections?"),
        ("[sessions]\nwindow = 4096", "socks6.toml:2: sessions.window: expected a whole number <= 2048"),
        ("[sessions]\ntotal = 0", "socks6.toml:2: sessions.total: expected a whole number >= 1"),
        ("[limits]\nconnections = -1", "socks6.toml:2: limits.connections: expected a whole number >= 0"),
        ("[limits]\nconnections = 1.5", "socks6.toml:2: limits.connections: expected a whole number, got a number"),
        ("[limit]\nconnections = 1", "socks6.toml:1: limit: unknown key, did you mean limits?"),
        ("limits = []", "socks6.toml:1: limits: expected a table, got a list"),
        ("[timeouts]\nconnect = 0", "socks6.toml:2: timeouts.connect: expected a number > 0"),
        ("[timeouts]\nidle = inf", "socks6.toml:2: timeouts.idle: expected a finite number"),
        ("[timeouts]\nidle = nan", "socks6.toml:2: timeouts.idle: expected a finite number"),
        ("[timeouts]\nidle = 1e10", "socks6.toml:2: timeouts.idle: expected a number <= 1000000000"),
        ("[timeouts]\nidle = 1979-05-27", "socks6.toml:2: timeouts.idle: expected a number, got a date"),
        ("[users.plain]\nalice = 5", "socks6.toml:2: users.plain.alice: expected text in quotes, got a whole number"),
        ('[users.plain]\n"a:b" = "x"', "socks6.toml:2: users.plain.\"a:b\": user name 'a:b': has a colon, a # at its start or spaces around"),
        ("fast-open = 65536", "socks6.toml:1: fast-open: expected a whole number <= 65535"),
        ("[happy-eyeballs]\ndelay = 0", "socks6.toml:2: happy-eyeballs.delay: expected a number > 0"),
        ('[happy-eyeballs]\nfirst-family = "ipx"', "socks6.toml:2: happy-eyeballs.first-family: expected one of auto, ipv4, ipv6"),
        ("[policy]\nrules = [\n5]", "socks6.toml:3: policy.rules[0]: expected a table, got a whole number"),
        ("[[policy.rules]]\nhosts = []", "socks6.toml:1: policy.rules[0]: has no action: write allow or deny"),
        ('[[policy.rules]]\naction = "drop"', "socks6.toml:2: policy.rules[0].action: expected one of allow, deny"),
        (
            '[[policy.rules]]\naction = "deny"\n[[policy.rules]]\naction = "deny"\nports = [\n1,\n"b"]',
            "socks6.toml:7: policy.rules[1].ports[1]: 'b' is no port, nor a range of ports such as 8000-8999",
        ),
        (
            '[[policy.rules]]\naction = "deny"\ncommands = "fly"',
            "socks6.toml:3: policy.rules[0].commands[0]: 'fly' is no command: write noop, connect, bind, udp, peer",
        ),
        ("stack = 5", "socks6.toml:1: stack: expected a list of tables, got a whole number"),
        ("stack = [\n5]", "socks6.toml:2: stack[0]: expected a table, got a whole number"),
        ("[[stack]]\nforbids = []", "socks6.toml:2: stack[0].forbids: unknown key, did you mean forbid?"),
        (
            '[[stack]]\n[[stack]]\nforbid = ["ttl",\n"tls"]',
            f"socks6.toml:4: stack[1].forbid[1]: 'tls' is no stack option: write {', '.join(OPTION_NAMES)}",
        ),
        ("[[stack]]\nforbid = [5]", "socks6.toml:2: stack[0].forbid[0]: expected text in quotes, got a whole number"),
        ("[[stack]]\nlowest-ttl = 0", "socks6.toml:2: stack[0].lowest-ttl: expected a whole number >= 1"),
        ("[[stack]]\nlowest-ttl = 256", "socks6.toml:2: stack[0].lowest-ttl: expected a whole number <= 255"),
        (
            '[[stack]]\ndscp = [\n"ef",\n64]',
            "socks6.toml:4: stack[0].dscp[1]: '64' is no code point: write 0 to 63, or a name such as ef",
        ),
        (
            "[[stack]]\ndscp = -1",
            "socks6.toml:2: stack[0].dscp[0]: '-1' is no code point: write 0 to 63, or a name such as ef",
        ),
        (
            '[[stack]]\ndscp = "best"',
            "socks6.toml:2: stack[0].dscp[0]: 'best' is no code point: write 0 to 63, or a name such as ef",
        ),
        ("[[stack]]\nusers = 5", "socks6.toml:2: stack[0].users: expected text in quotes or a list, got a whole number"),
        ('[bind]\nadvertise = "0.0.0.0"', "socks6.toml:2: bind.advertise[0]: '0.0.0.0' leads nowhere"),
        ('[bind]\nadvertise = ["a.example", "::"]', "socks6.toml:2: bind.advertise[1]: '::' leads nowhere"),
        ('[bind]\nadvertise = "::ffff:0.0.0.0"', "socks6.toml:2: bind.advertise[0]: '::ffff:0.0.0.0' leads nowhere"),
        ('[bind]\nadvertise = "a b"', "socks6.toml:2: bind.advertise[0]: 'a b' is no host: b'a b' is no host name"),
        ('[bind]\nports = "20-10"', "socks6.toml:2: bind.ports: '20-10' is no range of ports between 0 and 65535"),
        ("[bind]\nports = 0", "socks6.toml:2: bind.ports: port 0 is none"),
        ("[bind]\nbacklog = 65536", "socks6.toml:2: bind.backlog: expected a whole number <= 65535"),
        ("[bind]\naccept-timeout = 0", "socks6.toml:2: bind.accept-timeout: expected a number > 0"),
        (
            '[udp]\nfiltering = "cone"',
            "socks6.toml:2: udp.filtering: expected one of endpoint-independent, address-dependent, address-and-port-dependent",
        ),
    ],
)  # fmt: skip
def test_a_fault_has_line_and_key(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text)[0] == fault


@pytest.mark.parametrize("text", ["a = 1\nb =", "a = 1\nb = 'c", "open = true\nopen = false"])
def test_what_is_no_toml_has_a_line(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith("socks6.toml:2: not TOML: ")


def test_a_quote_that_is_not_closed_is_called_that(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'listen = "socks6://127.0.0.1:1\n[limits]')
    assert fault == "socks6.toml:1: not TOML: a quote is not closed"


def test_a_value_that_is_not_to_be_chosen_may_be_a_slip(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'loop = "uvlop"')
    assert fault == "socks6.toml:1: loop: expected one of auto, asyncio, uvloop, did you mean uvloop?"


def test_every_fault_is_told_in_the_order_of_lines(tmp_path: Path) -> None:
    text = 'open = 1\n[timeouts]\nidle = "x"\nsit = 4\n[limits]\nconnections = true\n[users]\nfile = 1'
    keys = [fault.split(": ")[:2] for fault in faults_of(tmp_path, text)]
    assert keys == [
        ["socks6.toml:1", "open"],
        ["socks6.toml:3", "timeouts.idle"],
        ["socks6.toml:4", "timeouts.sit"],
        ["socks6.toml:6", "limits.connections"],
        ["socks6.toml:8", "users.file"],
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"nowhere\.toml: No such file or directory"):
        read_configuration(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_bytes(b"open = true\n# \xff\n")
    with pytest.raises(InvalidConfiguration, match=r"socks6\.toml:2: not UTF-8"):
        read_configuration(path)


def test_a_users_file_that_is_not_there(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, '[users]\nfile = "users"')
    assert fault == f"socks6.toml:2: users.file: {tmp_path}/users: No such file or directory"


def test_a_fault_in_the_users_file_names_its_line_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"# the users\nalice:{SECRET}\n")
    (fault,) = faults_of(tmp_path, '[users]\nfile = "users"')
    assert fault.startswith(f"socks6.toml:2: users.file: {tmp_path}/users:2: ")
    assert SECRET not in fault


def test_two_ways_to_name_the_upstream(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("socks6://proxy.example\n")
    text = 'via = "socks6://proxy.example"\nvia-file = "upstream"'
    assert faults_of(tmp_path, text) == ["socks6.toml:2: via-file: there is via already"]


def test_a_broken_url_keeps_its_password_to_itself(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'via = "socks6://alice:s3cret@host:port"')
    assert "s3cret" not in fault


def test_a_password_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text(f'[users.plain]\nalice = "{SECRET}"')
    path.chmod(0o644)
    assert read_configuration(path).warnings == (
        f"{path}: every user of this machine can read the passwords; try chmod o-r",
    )


def test_an_upstreams_password_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text('via = "socks6://alice:secret@proxy.example"')
    path.chmod(0o644)
    assert len(read_configuration(path).warnings) == 1


def test_a_file_without_passwords_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text("open = true")
    path.chmod(0o644)
    assert read_configuration(path).warnings == ()


def test_warnings_about_the_users_file_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody\n")
    (tmp_path / "users").chmod(0o600)
    (warning,) = file_of(tmp_path, '[users]\nfile = "users"').warnings
    assert "holds no users" in warning


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "socks6.toml").write_bytes(b"\xef\xbb\xbflisten = ['socks6://127.0.0.1:1080']\n")
    assert read_configuration(tmp_path / "socks6.toml").values["listen"]
    (tmp_path / "socks6.toml").write_bytes(b"\xef\xbb\xbf\nlisten = 1\n")
    with pytest.raises(InvalidConfiguration, match=r"socks6\.toml:2: listen"):
        read_configuration(tmp_path / "socks6.toml")


@pytest.mark.parametrize(
    ("key", "texts", "value"),
    [
        ("timeouts.idle", ["2", "1.5"], 1.5),  # the last of several
        ("limits.connections", ["5"], 5),
        ("bind.advertise", ["::ffff:192.0.2.1", "[2001:DB8::1]"], ("192.0.2.1", "2001:db8::1")),
        ("tfo-without-token", ["refuse"], False),
        ("tls.key", ["a.key"], "a.key"),
    ],
)
def test_texts_of_flags(key: str, texts: list[str], value: object) -> None:
    assert read_texts(BY_KEY[key], texts) == value


@pytest.mark.parametrize(
    ("key", "text", "fault"),
    [
        ("timeouts.connect", "0", "expected a number > 0"),
        ("timeouts.idle", "inf", "expected a finite number"),
        ("timeouts.idle", "soon", "expected a number, got 'soon'"),
        ("limits.connections", "1.5", "expected a whole number, got '1.5'"),
        ("limits.connections", "-1", "expected a whole number >= 0"),
        ("users.plain", "alice", "not of the form NAME:PASSWORD"),
    ],
)
def test_what_is_wrong_with_texts_of_flags(key: str, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_texts(BY_KEY[key], [text])
    assert str(caught.value) == fault


def test_what_is_too_deep_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"x = {'[' * 10_000}{']' * 10_000}\n")
    with pytest.raises(InvalidConfiguration, match="deeper than can be read"):
        read_configuration(tmp_path / "c.toml")
